"""When windows begin and end: 10 s each, aligned to the wall clock, timed by the monotonic clock.

A window keeps the start it was given when it began. Its end is scheduled on CLOCK_MONOTONIC, so a step of the
wall clock can neither stretch nor skip the window it happens in; the next window is aligned again. Small
corrections (an NTP slew, a late wake-up) do not put two windows on one start.
"""

import time
from collections.abc import Callable

from agent.aggregate import WindowTimes
from fleetprof.profile_types import WINDOW_NS

SLEW_NS = 1_000_000_000
"""A wall clock this close to the expected boundary was slewed or woken late, not stepped."""

Clock = Callable[[], int]


class WindowClock:
    """The current window. `wall` and `monotonic` are clocks in nanoseconds, replaceable for tests."""

    def __init__(self, wall: Clock = time.time_ns, monotonic: Clock = time.monotonic_ns) -> None:
        self._wall, self._monotonic = wall, monotonic
        self._begin(wall() // WINDOW_NS * WINDOW_NS)

    def _begin(self, start_unix_ns: int) -> None:
        wall_ns, self._began_ns = self._wall(), self._monotonic()
        self._start_unix_ns = start_unix_ns
        self._start_monotonic_ns = self._began_ns - (wall_ns - start_unix_ns)
        self.end_monotonic_ns = self._start_monotonic_ns + WINDOW_NS

    def turn(self) -> WindowTimes:
        """End the current window now and begin the next; returns the times of the one that ended."""
        times = WindowTimes(
            start_unix_ns=self._start_unix_ns,
            start_monotonic_ns=self._start_monotonic_ns,
            covered_ns=self._monotonic() - self._began_ns,
        )
        wall_ns, following = self._wall(), self._start_unix_ns + WINDOW_NS
        near = abs(wall_ns - following) < SLEW_NS
        self._begin(following if near else wall_ns // WINDOW_NS * WINDOW_NS)
        return times
