"""Sampling without BPF: a software cpu-clock perf event on each CPU writes call chains into a ring.

For hosts where BPF is not allowed. A sample stands for one period; waits and exact totals need the scheduler
program, which is BPF, so they are missing and `unavailable` says so.
"""

import mmap
from operator import itemgetter
from pathlib import Path

import numpy as np

from agent.backends.cpu_clock import period_of
from agent.backends.interface import BackendCost, BackendOptions, Closed, Drained, Unavailable, not_unwound
from agent.cpus import online_cpus
from agent.perf_events import (
    COUNT_SW_CPU_CLOCK,
    SAMPLE_CALLCHAIN,
    SAMPLE_TID,
    SAMPLE_TIME,
    CpuRings,
    ring_pages,
    software_event,
)
from agent.perf_records import (
    Record,
    RecordType,
    chain_fits,
    lost_of,
    pid_of,
    samples_of,
    split,
)
from agent.samples import I64, Captures, empty
from agent.thread_names import ThreadNames
from agent.unwind.kernel_tables import KernelTables
from fleetprof.losses import DropReason, Losses
from fleetprof.profile_types import ProfileType

MAX_STACK = Path("/proc/sys/kernel/perf_event_max_stack")


class PerfBackend:
    """See agent.backends.interface.Backend.

    User and kernel stack share one limit of frames, unlike in the BPF programs, where each has its own.
    Raises InputError for an impossible frequency, PerfEventError where the kernel does not allow perf events.
    """

    name = "perf"
    unwind_tables: KernelTables | None = None

    def __init__(self, options: BackendOptions) -> None:
        self.period_ns = period_of(options.frequency_hz)
        self.unavailable: tuple[Unavailable, ...] = (
            Unavailable(
                "sched", "the perf backend runs no BPF: waits and exact thread times are not measured"
            ),
            *not_unwound(options),
        )
        self._depth = max(min(options.max_depth, _deepest()), 1)
        self._only = frozenset(options.only_pids)
        self._names = ThreadNames()
        self._rings = CpuRings(
            software_event(
                COUNT_SW_CPU_CLOCK,
                sample_freq=options.frequency_hz,
                freq=1,
                sample_type=SAMPLE_TID | SAMPLE_TIME | SAMPLE_CALLCHAIN,
                exclude_idle=1,
                sample_max_stack=self._depth,
                comm=1,
                task=1,
                # Nobody polls these rings: they are read on every drain.
                wakeup_watermark=2**31,
            ),
            _ring_pages(options.frequency_hz, self._depth),
        )

    def drain(self) -> Drained:
        """See Backend."""
        records, losses = self._read()
        samples: list[bytes] = []
        names: list[bytes] = []
        for record in records:
            if record.type == RecordType.SAMPLE:
                if not self._only or pid_of(record.data) in self._only:
                    samples.append(record.data)
                    names.append(self._names.of(record.data))
            elif record.type in (RecordType.LOST, RecordType.LOST_SAMPLES):
                losses[DropReason.RING_FULL] += lost_of(record)
            elif record.type == RecordType.THROTTLE:
                losses[DropReason.PERF_LOST] += 1
            else:
                self._names.apply(record)
        captures = self._captures(samples, names)
        losses[DropReason.STACK_TRUNCATED] += int(captures.truncated.sum())
        losses[DropReason.STACK_UNREADABLE] += int((_depths(captures) == 0).sum())
        return Drained(captures, +losses)

    def _read(self) -> tuple[list[Record], Losses]:
        """All records by time; names must be applied in the order in which they were given."""
        records: list[Record] = []
        losses = Losses()
        for data in self._rings.read():
            found, malformed = split(data)
            fitting = [one for one in found if one.type != RecordType.SAMPLE or chain_fits(one.data)]
            losses[DropReason.MALFORMED] += malformed + len(found) - len(fitting)
            records += fitting
        records.sort(key=itemgetter(0))
        return records, losses

    def _captures(self, data: list[bytes], names: list[bytes]) -> Captures:
        if not data:
            return empty()
        samples = samples_of(data)
        rows = len(data)
        captures = Captures(
            pid=samples.pid,
            tid=samples.tid,
            comm=np.array(names, "S16"),
            type=np.full(rows, ProfileType.CPU, np.uint8),
            wait=np.zeros(rows, np.uint8),
            time_ns=samples.time_ns,
            count=np.ones(rows, np.uint32),
            value_ns=np.full(rows, self.period_ns, np.uint64),
            truncated=np.zeros(rows, np.bool_),
            user_end=np.zeros(rows, np.uint8),
            user=samples.user,
            kernel=samples.kernel,
        )
        np.greater_equal(_depths(captures), self._depth, out=captures.truncated)
        return captures

    def fill(self) -> float:
        """See Backend. These rings hold two seconds of the deepest stacks and are drained every second."""
        return 1.0

    def close_window(self) -> Closed:
        """See Backend. Also takes in CPUs that came online."""
        self._rings.follow_hotplug()
        return Closed(threads=None, open_waits=empty(), losses=Losses())

    def cost(self) -> BackendCost:
        """See Backend. The rings are the only memory; what a sample costs the kernel is not told."""
        return BackendCost(bpf_ns=0, map_bytes=self._rings.size_bytes)

    def close(self) -> None:
        """See Backend."""
        self._rings.close()


def _depths(captures: Captures) -> I64:
    """Frames of each row, user and kernel together."""
    return np.diff(captures.user.starts) + np.diff(captures.kernel.starts)


def _ring_pages(frequency_hz: int, depth: int) -> int:
    """Room for two seconds of the deepest stacks on a CPU: 256 KiB at 99 Hz; 32 MiB at most on all CPUs."""
    two_seconds = 2 * frequency_hz * (64 + 8 * depth) // mmap.PAGESIZE
    return ring_pages(len(online_cpus()), total_bytes=32 << 20, most=1 << max(two_seconds.bit_length(), 3))


def _deepest() -> int:
    """The limit that the kernel sets; 127 where it does not say."""
    try:
        return int(MAX_STACK.read_text())
    except OSError:
        return 127
