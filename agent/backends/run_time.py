"""What BPF programs cost, from the kernel's own statistics, taken in slices.

Counting a program's run time costs about 30–50 ns a run, which is much for a program that runs 100,000 times
a second. So the statistics are on for a second out of eleven and the slice stands for the whole interval.
The figure includes the counting itself, so it errs on the high side.
"""

import time
from collections.abc import Callable

from agent.libbpf import BpfError, enable_run_time_stats

SLICE_NS = 500_000_000
INTERVAL_NS = 11_000_000_000
"""Not that of windows, else the slice would always hold the end of one, with its walk over the maps, or never."""


class RunTime:
    """Cumulative run time of some BPF programs, extrapolated from slices.

    `read` returns the kernel's counter for them in nanoseconds, which moves only during slices.
    """

    def __init__(
        self,
        read: Callable[[], int],
        enable: Callable[[], Callable[[], None]] = enable_run_time_stats,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._read, self._enable, self._clock = read, enable, clock
        self._disable: Callable[[], None] | None = None
        self._told_from_ns = self._slice_from_ns = clock()
        self._slice_from_value = 0
        self.total_ns = 0
        """Run time up to the end of the last slice; stays 0 where the kernel has no statistics (< 5.8) or
        keeps them to itself (they need CAP_SYS_ADMIN): then the hook BPF_RUN_TIME is off."""
        self._start()

    def tick(self) -> None:
        """Start or end a slice when it is time; to be called at least once a second."""
        now = self._clock()
        if self._disable and now - self._slice_from_ns >= SLICE_NS:
            self._finish(now)
        elif not self._disable and now - self._slice_from_ns >= INTERVAL_NS:
            self._start()

    def _start(self) -> None:
        self._slice_from_ns = self._clock()
        try:
            self._disable = self._enable()
        except BpfError:
            return
        self._slice_from_value = self._read()

    def _finish(self, now: int) -> None:
        share = (self._read() - self._slice_from_value) / (now - self._slice_from_ns)
        self.total_ns += int(share * (now - self._told_from_ns))
        self._told_from_ns = now
        self.close()

    def close(self) -> None:
        """Turn the statistics off."""
        if self._disable:
            self._disable()
            self._disable = None
