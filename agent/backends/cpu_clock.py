"""The clock of CPU sampling: a software cpu-clock perf event on each online CPU that runs a BPF program.

The kernel turns the frequency of this event into a fixed period (perf_swevent_init_hrtimer), so that each
sample stands for exactly 1e9 // frequency_hz nanoseconds. Idle ticks are left out before the program runs.
Programs are attached with the ioctl that every kernel since 4.9 has, by descriptor: when the process ends, in
whatever way, the kernel detaches them.
"""

import ctypes
import errno
import fcntl
import os
import platform
import struct
from pathlib import Path

from fleetprof.errors import InputError, UnavailableError

ONLINE_CPUS = Path("/sys/devices/system/cpu/online")
_MAX_RATE = Path("/proc/sys/kernel/perf_event_max_sample_rate")

# include/uapi/linux/perf_event.h
_SYSCALL = {"x86_64": 298, "aarch64": 241}
_TYPE_SOFTWARE, _COUNT_CPU_CLOCK = 1, 0
_DISABLED, _EXCLUDE_IDLE, _FREQUENCY = 1 << 0, 1 << 7, 1 << 10
_CLOSE_ON_EXEC = 8
_IOC_ENABLE, _IOC_SET_BPF = 0x2400, 0x40042408
_ATTRIBUTES = struct.Struct("<IIQQQQQIIQ")
"""struct perf_event_attr as of its first version: type, size, config, sample_freq, sample_type, read_format,
flags, wakeup_events, bp_type, config1."""


def online_cpus(path: Path = ONLINE_CPUS) -> set[int]:
    """The numbers of the CPUs that are online, from a list such as "0-3,8"."""
    cpus: set[int] = set()
    for part in path.read_text().strip().split(","):
        first, _, last = part.partition("-")
        cpus.update(range(int(first), int(last or first) + 1))
    return cpus


def period_of(frequency_hz: int) -> int:
    """Nanoseconds between two samples; raises InputError beyond what the kernel allows."""
    limit_hz = int(_MAX_RATE.read_text()) if _MAX_RATE.exists() else 100_000
    if not 1 <= frequency_hz <= limit_hz:
        raise InputError(
            f"A sampling frequency of {frequency_hz} Hz is not possible: the kernel allows 1 to {limit_hz}.",
            "The limit is the sysctl kernel.perf_event_max_sample_rate.",
        )
    return 1_000_000_000 // frequency_hz


def open_cpu_clock(cpu: int, frequency_hz: int) -> int:
    """The descriptor of a disabled cpu-clock event on `cpu`; raises OSError."""
    attributes = _ATTRIBUTES.pack(
        _TYPE_SOFTWARE, _ATTRIBUTES.size, _COUNT_CPU_CLOCK, frequency_hz, 0, 0,
        _DISABLED | _EXCLUDE_IDLE | _FREQUENCY, 0, 0, 0,
    )  # fmt: skip
    number = _SYSCALL.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, f"perf_event_open is not known for {platform.machine()}")
    libc = ctypes.CDLL(None, use_errno=True)
    fd = int(libc.syscall(number, attributes, -1, cpu, -1, ctypes.c_ulong(_CLOSE_ON_EXEC)))
    if fd < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return fd


class CpuClock:
    """A BPF program of type perf_event, run `frequency_hz` times a second on each online CPU."""

    def __init__(self, program_fd: int, frequency_hz: int, online: Path = ONLINE_CPUS) -> None:
        self._program_fd = program_fd
        self._frequency_hz = frequency_hz
        self._online = online
        self._events: dict[int, int] = {}
        try:
            self.follow_hotplug()
        except BaseException:
            self.close()
            raise

    @property
    def cpus(self) -> set[int]:
        """The CPUs that are sampled."""
        return set(self._events)

    def follow_hotplug(self) -> None:
        """Sample CPUs that came online since the last call and forget those that went: an event does not
        survive its CPU."""
        online = online_cpus(self._online)
        for cpu in self.cpus - online:
            os.close(self._events.pop(cpu))
        for cpu in sorted(online - self.cpus):
            self._start(cpu)

    def _start(self, cpu: int) -> None:
        try:
            fd = open_cpu_clock(cpu, self._frequency_hz)
        except OSError as error:
            if error.errno == errno.ENODEV and self._events:
                return  # went offline since we read the list
            raise _refused("open a perf event", cpu, error) from error
        try:
            fcntl.ioctl(fd, _IOC_SET_BPF, self._program_fd)
            fcntl.ioctl(fd, _IOC_ENABLE, 0)
        except OSError as error:
            os.close(fd)
            raise _refused("attach the sampling program", cpu, error) from error
        self._events[cpu] = fd

    def close(self) -> None:
        """Stop sampling; safe to call twice."""
        while self._events:
            os.close(self._events.popitem()[1])


def _refused(what: str, cpu: int, error: OSError) -> UnavailableError:
    denied = error.errno in (errno.EPERM, errno.EACCES)
    return UnavailableError(
        f"Cannot {what} on CPU {cpu}: {error.strerror}.",
        "Run as root, or with CAP_PERFMON (and see the sysctl kernel.perf_event_paranoid)."
        if denied
        else "Run `fleetprof-agent doctor` to see what this host offers.",
    )
