"""perf_event_open through ctypes, and the ring buffer that the kernel writes a CPU's records into.

Layouts and flags are those of include/uapi/linux/perf_event.h; perf_event_open(2) describes them. Every event
stamps its records with CLOCK_MONOTONIC, the clock of the BPF programs, so that all times compare.
"""

import ctypes
import errno
import mmap
import os
import platform
import threading
from typing import Self

import numpy as np

from agent.cpus import online_cpus
from fleetprof.errors import UnavailableError

TYPE_SOFTWARE = 1
COUNT_SW_CPU_CLOCK = 0
COUNT_SW_DUMMY = 9
SAMPLE_TID = 1 << 1
SAMPLE_TIME = 1 << 2
SAMPLE_CALLCHAIN = 1 << 5

_SYSCALL = {"x86_64": 298, "aarch64": 241, "riscv64": 241, "ppc64le": 319, "s390x": 331}
_CLOSE_ON_EXEC = 1 << 3
_CLOCK_MONOTONIC = 1
_FLAGS = (
    "disabled", "inherit", "pinned", "exclusive", "exclude_user", "exclude_kernel", "exclude_hv",
    "exclude_idle", "mmap", "comm", "freq", "inherit_stat", "enable_on_exec", "task", "watermark",
)  # fmt: skip
_LATER_FLAGS = (
    "mmap_data", "sample_id_all", "exclude_host", "exclude_guest", "exclude_callchain_kernel",
    "exclude_callchain_user", "mmap2", "comm_exec", "use_clockid",
)  # fmt: skip


class PerfEventAttr(ctypes.Structure):
    """struct perf_event_attr up to sample_max_stack (version 5: Linux 4.8 and newer)."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("config", ctypes.c_uint64),
        ("sample_freq", ctypes.c_uint64),
        ("sample_type", ctypes.c_uint64),
        ("read_format", ctypes.c_uint64),
        *((name, ctypes.c_uint64, 1) for name in _FLAGS),
        ("precise_ip", ctypes.c_uint64, 2),
        *((name, ctypes.c_uint64, 1) for name in _LATER_FLAGS),
        ("reserved_flags", ctypes.c_uint64, 38),
        ("wakeup_watermark", ctypes.c_uint32),
        ("bp_type", ctypes.c_uint32),
        ("config1", ctypes.c_uint64),
        ("config2", ctypes.c_uint64),
        ("branch_sample_type", ctypes.c_uint64),
        ("sample_regs_user", ctypes.c_uint64),
        ("sample_stack_user", ctypes.c_uint32),
        ("clockid", ctypes.c_int32),
        ("sample_regs_intr", ctypes.c_uint64),
        ("aux_watermark", ctypes.c_uint32),
        ("sample_max_stack", ctypes.c_uint16),
        ("reserved", ctypes.c_uint16),
    )


def software_event(config: int, **fields: int) -> PerfEventAttr:
    """Attributes of a software event, enabled at once, whose records all end in (pid, tid, time).

    `wakeup_watermark` counts bytes. `fields` are those of PerfEventAttr.
    """
    given = {"sample_type": SAMPLE_TID | SAMPLE_TIME, "watermark": 1, "sample_id_all": 1, **fields}
    return PerfEventAttr(
        type=TYPE_SOFTWARE,
        size=ctypes.sizeof(PerfEventAttr),
        config=config,
        use_clockid=1,
        clockid=_CLOCK_MONOTONIC,
        **given,
    )


class PerfEventError(UnavailableError):
    """A perf event that the kernel refused; `number` is the errno."""

    def __init__(self, what: str, number: int) -> None:
        super().__init__(f"{what}: {os.strerror(number)} (errno {number}).", _hint(number))
        self.number = number


def _hint(number: int) -> str:
    if number in (errno.EPERM, errno.EACCES):
        return (
            "Run as root or with the capability CAP_PERFMON (before Linux 5.8: CAP_SYS_ADMIN), or lower the "
            "sysctl kernel.perf_event_paranoid to 0; in a container, seccomp must allow perf_event_open."
        )
    if number == errno.EMFILE:
        return "Raise the limit on open files (ulimit -n, LimitNOFILE=): one for each CPU is needed."
    if number in (errno.ENOSYS, errno.ENOENT):
        return "This kernel was built without perf events (CONFIG_PERF_EVENTS)."
    if number == errno.EOVERFLOW:
        return "The stack depth is above the sysctl kernel.perf_event_max_stack."
    return "Run `fleetprof-agent doctor` to see what this host offers."


def perf_event_open(attr: PerfEventAttr, cpu: int, pid: int = -1) -> int:
    """The descriptor of a new event on `cpu`, for all processes unless `pid` is given.

    Raises PerfEventError; ENODEV means that the CPU is offline.
    """
    number = _SYSCALL.get(platform.machine())
    if number is None:
        raise PerfEventError(f"perf_event_open is not known for {platform.machine()}", errno.ENOSYS)
    libc = ctypes.CDLL(None, use_errno=True)
    fd = int(libc.syscall(number, ctypes.byref(attr), pid, cpu, -1, ctypes.c_ulong(_CLOSE_ON_EXEC)))
    if fd < 0:
        raise PerfEventError(f"Cannot open a perf event on CPU {cpu}", ctypes.get_errno())
    return fd


_LOCK = threading.Lock()


def _fence() -> None:
    """Order the loads before against those after: records must not be read before the head that covers them.

    x86 never reorders loads. Elsewhere a lock's release followed by its acquisition orders all that is around
    them (ARMv8: STLR before LDAR), hence twice.
    """
    with _LOCK:
        pass
    with _LOCK:
        pass


LARGEST_RECORD_BYTES = 4096 + 512
"""No record is longer: a mapping's, with a path of PATH_MAX bytes; and a LOST record before it."""
_HEAD, _TAIL = 1024, 1032
"""Bytes of data_head and data_tail in struct perf_event_mmap_page."""


class PerfRing:
    """One event on one CPU and the ring of `pages` pages (a power of two) its records arrive in.

    Raises PerfEventError when the kernel refuses the event or the ring's memory.
    """

    def __init__(self, attr: PerfEventAttr, cpu: int, pages: int) -> None:
        self.fd = perf_event_open(attr, cpu)
        self.size_bytes = pages * mmap.PAGESIZE
        try:
            memory = mmap.mmap(self.fd, mmap.PAGESIZE + self.size_bytes)
        except OSError as error:
            os.close(self.fd)
            what = f"Cannot map {self.size_bytes >> 10} KiB for the perf event on CPU {cpu}"
            raise PerfEventError(what, error.errno or errno.ENOMEM) from error
        self._use(memory)

    @classmethod
    def over(cls, memory: bytearray) -> Self:
        """A ring over given memory, its control page first, instead of an event's."""
        ring = cls.__new__(cls)
        ring.fd = -1
        ring.size_bytes = len(memory) - mmap.PAGESIZE
        ring._use(memory)
        return ring

    def _use(self, memory: mmap.mmap | bytearray) -> None:
        # Aligned 8-byte loads and stores through numpy are single instructions: no position is ever torn.
        self._head = np.frombuffer(memory, np.uint64, 1, _HEAD)
        self._tail = np.frombuffer(memory, np.uint64, 1, _TAIL)
        self._data = memoryview(memory)[mmap.PAGESIZE :]
        self.overflowed = False
        """Whether the last read came when a record may have found no room. The kernel tells of a loss only
        with its next record on that CPU, perhaps hours later; the reader sees at once that the ring was full."""

    def read(self) -> bytes:
        """All complete records that arrived since the last read, contiguous; the space is given back."""
        head, tail = int(self._head[0]), int(self._tail[0])
        self.overflowed = False
        if head == tail:
            return b""
        _fence()
        start, end = tail % self.size_bytes, head % self.size_bytes
        if start < end:
            data = bytes(self._data[start:end])
        else:
            data = bytes(self._data[start:]) + bytes(self._data[:end])
        _fence()
        self._tail[0] = head
        _fence()
        # What came until the space was free again counts as well.
        self.overflowed = int(self._head[0]) - tail > self.size_bytes - LARGEST_RECORD_BYTES
        return data

    def close(self) -> None:
        """Stop the event and free the ring; safe to call twice."""
        # The map goes with the last reference to its memory: the three views.
        self._data = memoryview(b"")
        self._head = self._tail = np.zeros(1, np.uint64)
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class CpuRings:
    """The same event on every online CPU, each with a ring of `pages` pages; CPUs may come and go."""

    def __init__(self, attr: PerfEventAttr, pages: int) -> None:
        self._attr = attr
        self._pages = pages
        self.rings: dict[int, PerfRing] = {}
        """By CPU."""
        try:
            self.follow_hotplug()
        except BaseException:
            self.close()
            raise

    def follow_hotplug(self) -> None:
        """Open events on CPUs that came online, close those that went; raises PerfEventError."""
        online = online_cpus()
        for cpu in self.rings.keys() - online:
            self.rings.pop(cpu).close()
        for cpu in sorted(online - self.rings.keys()):
            try:
                self.rings[cpu] = PerfRing(self._attr, cpu, self._pages)
            except PerfEventError as error:
                if error.number != errno.ENODEV:  # ENODEV: went offline since the list was read
                    raise

    @property
    def size_bytes(self) -> int:
        """Kernel memory of all rings."""
        return sum(ring.size_bytes for ring in self.rings.values())

    def read(self) -> list[bytes]:
        """What each CPU wrote since the last read, empty rings left out."""
        return [data for ring in self.rings.values() if (data := ring.read())]

    @property
    def overflowed(self) -> bool:
        """Whether a record may have been lost before the last read had ended."""
        return any(ring.overflowed for ring in self.rings.values())

    def close(self) -> None:
        """Close all; safe to call twice."""
        while self.rings:
            self.rings.popitem()[1].close()


def ring_pages(cpus: int, total_bytes: int = 16 << 20, most: int = 64) -> int:
    """Pages for each CPU's ring, a power of two from 8 to `most`, so that all stay within `total_bytes`.

    Hosts with very many CPUs go above `total_bytes`, by 32 KiB a CPU.
    """
    share = total_bytes // mmap.PAGESIZE // max(cpus, 1)
    return min(max(1 << (share.bit_length() - 1) if share else 8, 8), most)
