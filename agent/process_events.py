"""What the kernel tells about processes: forks, execs, names, executable mappings, exits, in order of time.

One dummy software event on each CPU carries these records; it samples nothing. A poller wakes once more than
WAKEUP_BYTES have come, so that on an idle host nothing ever wakes.
"""

import ctypes
import os
import select
from contextlib import suppress
from operator import itemgetter
from time import monotonic_ns
from typing import NamedTuple

from agent.cpus import online_cpus
from agent.perf_events import COUNT_SW_DUMMY, CpuRings, PerfEventError, ring_pages, software_event
from agent.perf_records import Record, RecordType, lost_of, split

WAKEUP_BYTES = 1
"""Any record wakes. With a larger number, what an exec leaves after a look in its middle can be too little to
wake again; the pipeline pauses between looks, so more wakes are no more looks."""


class Batch(NamedTuple):
    """Records by time, all that happened up to `until_ns` (CLOCK_MONOTONIC) and was not lost."""

    records: list[Record]
    lost: int
    """As far as the kernel told it by now."""
    until_ns: int
    incomplete_until_ns: int
    """Records that happened before may have been lost, told or not; 0 for none."""


class ProcessEvents:
    """The process records of all CPUs, from the start on. Raises PerfEventError where that is not allowed."""

    def __init__(self) -> None:
        attr = software_event(
            COUNT_SW_DUMMY,
            mmap=1,
            mmap2=1,
            comm=1,
            comm_exec=1,
            task=1,
            wakeup_watermark=WAKEUP_BYTES,
        )
        self._rings = CpuRings(attr, ring_pages(len(online_cpus())))
        self._held: list[Record] = []
        self._watched: dict[int, int] = {}
        self._poller = select.epoll()
        self._timer = _Timer()
        self._poller.register(self._timer.fd, select.EPOLLIN)
        self._watch()

    @property
    def fd(self) -> int:
        """Readable when records wait or the time given to `wake_after` has come; stays the same for ever."""
        return self._poller.fileno()

    @property
    def size_bytes(self) -> int:
        """Kernel memory of the rings."""
        return self._rings.size_bytes

    def read(self) -> Batch:
        """Records since the last read.

        Rings are read one after the other, so a record written meanwhile may be seen while an earlier one of
        another CPU is not: what is younger than the start of this read is held for the next. A process that
        moves between CPUs thereby never has its records swapped.
        """
        self._timer.clear()
        until_ns = monotonic_ns()
        records, self._held, lost = self._held, [], 0
        for data in self._rings.read():
            found, malformed = split(data)
            lost += malformed
            records += found
        incomplete_until_ns = monotonic_ns() if lost or self._rings.overflowed else 0
        records.sort(key=itemgetter(0))
        while records and records[-1].time_ns > until_ns:
            self._held.append(records.pop())
        for record in records:
            if record.type in (RecordType.LOST, RecordType.LOST_SAMPLES):
                lost += lost_of(record)
                incomplete_until_ns = max(incomplete_until_ns, record.time_ns)
        return Batch(records, lost, until_ns, incomplete_until_ns)

    def wake_after(self, delay_ns: int) -> None:
        """Make `fd` readable in `delay_ns`; replaces an earlier wish."""
        self._timer.set(delay_ns)

    def follow_hotplug(self) -> None:
        """Take in CPUs that came online."""
        self._rings.follow_hotplug()
        self._watch()

    def _watch(self) -> None:
        rings = self._rings.rings
        for cpu in self._watched.keys() - rings.keys():
            del self._watched[cpu]  # closed: epoll has let go of it
        for cpu in rings.keys() - self._watched.keys():
            self._poller.register(rings[cpu].fd, select.EPOLLIN)
            self._watched[cpu] = rings[cpu].fd

    def close(self) -> None:
        """Stop; safe to call twice."""
        self._poller.close()
        self._rings.close()
        self._timer.close()


class _TimerSpec(ctypes.Structure):
    """struct itimerspec: interval, then value."""

    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


class _Timer:
    """timerfd(2), which Python offers from 3.13 only."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        clock_monotonic, nonblocking, close_on_exec = 1, os.O_NONBLOCK, os.O_CLOEXEC
        self.fd = int(self._libc.timerfd_create(clock_monotonic, nonblocking | close_on_exec))
        if self.fd < 0:
            raise PerfEventError("Cannot create a timer", ctypes.get_errno())
        self._armed = False

    def set(self, delay_ns: int) -> None:
        seconds, rest = divmod(max(delay_ns, 1), 1_000_000_000)
        self._libc.timerfd_settime(self.fd, 0, ctypes.byref(_TimerSpec(0, 0, seconds, rest)), None)
        self._armed = True

    def clear(self) -> None:
        """Disarm: `fd` is not readable until set again."""
        if self._armed:
            self._libc.timerfd_settime(self.fd, 0, ctypes.byref(_TimerSpec()), None)
            with suppress(BlockingIOError):
                os.read(self.fd, 8)
            self._armed = False

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
