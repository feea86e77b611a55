"""What a backend measures, as columns: captured stacks and exact thread times.

These arrays are the agent's inner contract: backends fill them, the scaler makes values add up, the
symbolizer turns addresses into frames and the aggregator groups rows by series and stack.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]
U16 = npt.NDArray[np.uint16]
U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Comm = npt.NDArray[np.bytes_]


@dataclass(frozen=True, slots=True)
class Stacks:
    """Stacks of addresses as one flat array: row i is addrs[starts[i]:starts[i + 1]], leaf first."""

    addrs: U64
    starts: I64

    def __len__(self) -> int:
        return len(self.starts) - 1


class UserEnd(IntEnum):
    """Why a user stack has no more frames than it has: enum fp_end of bpf/capture.h."""

    UNKNOWN = 0
    """The kernel walked along frame pointers, which does not tell."""
    ROOT = 1
    """The thread's outermost frame."""
    DEPTH = 2
    NO_TABLE = 3
    NO_RULE = 4
    UNREADABLE = 5
    BUDGET = 6
    NEW = 7
    """Its tables are not loaded yet; as UNKNOWN if none was."""


@dataclass(frozen=True, slots=True)
class Captures:
    """Captured samples, one row each (or one per identical stack where the kernel counted them).

    Row i of `user` and of `kernel` belongs to row i of the columns; an absent stack is an empty row. A stack
    that the kernel cut at its depth limit is marked in `truncated`.
    """

    pid: U32
    """Process (thread group) id in the initial pid namespace."""
    tid: U32
    comm: Comm
    """Thread name, at most 16 bytes."""
    type: U8
    """A ProfileType: CPU, RUNQ or OFFCPU."""
    wait: U8
    """Wait class 0..15 of OFFCPU rows (fleetprof.series.WAIT_CLASSES), else 0."""
    time_ns: U64
    """CLOCK_MONOTONIC; 0 where the kernel counted samples without their times."""
    count: U32
    """Captured stacks behind the row, 1 unless the kernel counted."""
    value_ns: U64
    """Weight: CPU rows count x period, waits their unbiased weight."""
    truncated: npt.NDArray[np.bool_]
    user_end: U8
    """A UserEnd."""
    user: Stacks
    kernel: Stacks

    def __len__(self) -> int:
        return len(self.pid)


@dataclass(frozen=True, slots=True)
class ThreadTimes:
    """Exact times of each thread inside one window, one row per thread that existed in it.

    cpu_ns + runq_ns + wait_ns.sum(axis=1) equals wall_ns. Threads that ended inside the window are included.
    """

    pid: U32
    tid: U32
    start_ns: U64
    """Start of the thread (CLOCK_BOOTTIME): tells a reused tid apart."""
    comm: Comm
    wall_ns: U64
    cpu_ns: U64
    runq_ns: U64
    wait_ns: U64
    """Shape (threads, 16): blocked time by wait class."""

    def __len__(self) -> int:
        return len(self.pid)


def no_stacks(rows: int) -> Stacks:
    """`rows` empty stacks."""
    return Stacks(np.empty(0, np.uint64), np.zeros(rows + 1, np.int64))


def concat_stacks(parts: list[Stacks]) -> Stacks:
    """The rows of all parts, in order."""
    lengths = [np.diff(part.starts) for part in parts]
    starts = np.concatenate([np.zeros(1, np.int64), *lengths]).cumsum(dtype=np.int64)
    addrs = np.concatenate([part.addrs for part in parts]) if parts else np.empty(0, np.uint64)
    return Stacks(addrs, starts)


def concat(parts: list[Captures]) -> Captures:
    """The rows of all parts, in order; no parts give no rows."""
    if not parts:
        return empty()
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in (
            "pid",
            "tid",
            "comm",
            "type",
            "wait",
            "time_ns",
            "count",
            "value_ns",
            "truncated",
            "user_end",
        )
    }
    return Captures(
        **columns,
        user=concat_stacks([part.user for part in parts]),
        kernel=concat_stacks([part.kernel for part in parts]),
    )


def empty() -> Captures:
    """No rows."""
    u32, u8, u64 = np.empty(0, np.uint32), np.empty(0, np.uint8), np.empty(0, np.uint64)
    return Captures(
        pid=u32,
        tid=u32,
        comm=np.empty(0, "S16"),
        type=u8,
        wait=u8,
        time_ns=u64,
        count=u32,
        value_ns=u64,
        truncated=np.empty(0, np.bool_),
        user_end=u8,
        user=no_stacks(0),
        kernel=no_stacks(0),
    )
