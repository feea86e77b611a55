"""The clock of CPU sampling: a software cpu-clock perf event on each online CPU that runs a BPF program.

The kernel turns the frequency of this event into a fixed period (perf_swevent_init_hrtimer), so that each
sample stands for exactly 1e9 // frequency_hz nanoseconds. Idle ticks are left out before the program runs.
Programs are attached with the ioctl that every kernel since 4.9 has, by descriptor: when the process ends, in
whatever way, the kernel detaches them.
"""

import errno
import fcntl
import os
from pathlib import Path

from agent.cpus import ONLINE_CPUS, online_cpus
from agent.perf_events import COUNT_SW_CPU_CLOCK, PerfEventError, perf_event_open, software_event
from fleetprof.errors import InputError

_MAX_RATE = Path("/proc/sys/kernel/perf_event_max_sample_rate")
_IOC_ENABLE, _IOC_SET_BPF = 0x2400, 0x40042408  # include/uapi/linux/perf_event.h


def period_of(frequency_hz: int) -> int:
    """Nanoseconds between two samples; raises InputError beyond what the kernel allows."""
    limit_hz = int(_MAX_RATE.read_text()) if _MAX_RATE.exists() else 100_000
    if not 1 <= frequency_hz <= limit_hz:
        raise InputError(
            f"A sampling frequency of {frequency_hz} Hz is not possible: the kernel allows 1 to {limit_hz}.",
            "The limit is the sysctl kernel.perf_event_max_sample_rate.",
        )
    return 1_000_000_000 // frequency_hz


class CpuClock:
    """A BPF program of type perf_event, run `frequency_hz` times a second on each online CPU.

    Raises PerfEventError (an UnavailableError) when the kernel refuses.
    """

    def __init__(self, program_fd: int, frequency_hz: int, online: Path = ONLINE_CPUS) -> None:
        self._program_fd = program_fd
        self._event = software_event(
            COUNT_SW_CPU_CLOCK, sample_freq=frequency_hz, freq=1, exclude_idle=1, disabled=1, watermark=0
        )
        self._online = online
        self._fds: dict[int, int] = {}
        try:
            self.follow_hotplug()
        except BaseException:
            self.close()
            raise

    @property
    def cpus(self) -> set[int]:
        """The CPUs that are sampled."""
        return set(self._fds)

    def follow_hotplug(self) -> None:
        """Sample CPUs that came online since the last call and forget those that went: an event does not
        survive its CPU."""
        online = online_cpus(self._online)
        for cpu in self.cpus - online:
            os.close(self._fds.pop(cpu))
        for cpu in sorted(online - self.cpus):
            try:
                self._fds[cpu] = self._start(cpu)
            except PerfEventError as error:
                if error.number != errno.ENODEV:  # ENODEV: went offline since the list was read
                    raise

    def _start(self, cpu: int) -> int:
        fd = perf_event_open(self._event, cpu)
        try:
            fcntl.ioctl(fd, _IOC_SET_BPF, self._program_fd)
            fcntl.ioctl(fd, _IOC_ENABLE, 0)
        except OSError as error:
            os.close(fd)
            what = f"Cannot attach the sampling program on CPU {cpu}"
            raise PerfEventError(what, error.errno or errno.EINVAL) from error
        return fd

    def close(self) -> None:
        """Stop sampling; safe to call twice."""
        while self._fds:
            os.close(self._fds.popitem()[1])
