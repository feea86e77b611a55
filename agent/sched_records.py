"""The scheduler program's records about threads (bpf/sched.h), as numpy columns."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from agent.samples import Stacks

Records = npt.NDArray[np.void]
"""Structured rows of dtype RECORD or HEAD."""


class State(IntEnum):
    """enum fp_state."""

    UNKNOWN = 0
    RUNNING = 1
    RUNNABLE = 2
    BLOCKED = 3
    DEAD = 4


class Kind(IntEnum):
    """enum fp_record_kind; ENDING is the reader's own mark."""

    ENDING = 0
    FULL = 1
    SAME = 2
    EXIT = 3
    UNSTEADY = 4


_HEAD: list[Any] = [
    ("size", "<u4"), ("kind", "u1"), ("state", "u1"), ("wait", "u1"), ("pad", "u1"), ("id", "<u8"),
    ("now_ns", "<u8"),
]  # fmt: skip
HEAD = np.dtype(_HEAD)
"""struct fp_record_head."""
RECORD = np.dtype(
    [*_HEAD, ("born_ns", "<u8"), ("since_ns", "<u8"), ("cpu_ns", "<u8"), ("runq_ns", "<u8"),
     ("wait_ns", "<u8", 16), ("start_ns", "<u8"), ("pid", "<u4"), ("tid", "<u4"), ("comm", "S16"),
     ("depth", "<u8")]
)  # fmt: skip
"""struct fp_thread_record; its head's fields come first, flattened."""


@dataclass(frozen=True, slots=True)
class Told:
    """What one pass of the iterator told: full records with their kernel stacks, and heads only."""

    full: Records
    stacks: Stacks
    """Kernel stack of each full record, empty for a running thread."""
    heads: Records
    """Dtype HEAD, kind SAME or UNSTEADY."""


def parse(data: bytes) -> Told:
    """The records of one pass, in the iterator's order (by process id)."""
    starts = _starts(data)
    words = np.frombuffer(data, np.uint64, len(data) // 8)
    kinds = np.frombuffer(data, np.uint8)[starts + 4]
    first = starts[kinds == Kind.FULL] // 8
    full = _fixed(words, first, RECORD)
    stacks = _stacks(words, first + RECORD.itemsize // 8, full["depth"].astype(np.int64))
    return Told(full, stacks, _fixed(words, starts[kinds != Kind.FULL] // 8, HEAD))


def parse_exits(content: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64]) -> Records:
    """The last records of threads that ended, at byte offsets `starts` (multiples of 8)."""
    return _fixed(content[: len(content) & ~7].view(np.uint64), starts // 8, RECORD)


def _starts(data: bytes) -> npt.NDArray[np.int64]:
    sizes, position, starts = memoryview(data).cast("I"), 0, []
    while position < len(data):
        starts.append(position)
        position += sizes[position >> 2]
    return np.array(starts, np.int64)


def _fixed(words: npt.NDArray[np.uint64], first: npt.NDArray[np.int64], layout: np.dtype[np.void]) -> Records:
    rows = words[first[:, None] + np.arange(layout.itemsize // 8)]
    return np.ascontiguousarray(rows).view(layout)[:, 0]


def _stacks(
    words: npt.NDArray[np.uint64], first: npt.NDArray[np.int64], depths: npt.NDArray[np.int64]
) -> Stacks:
    starts = np.concatenate([np.zeros(1, np.int64), depths.cumsum()])
    return Stacks(words[np.repeat(first - starts[:-1], depths) + np.arange(starts[-1])], starts)
