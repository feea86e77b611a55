"""Windows stay aligned, whatever the wall clock does."""

from agent.window_clock import WindowClock

SECOND = 10**9


class Clocks:
    def __init__(self, wall_s: float) -> None:
        self.wall_ns, self.monotonic_ns = int(wall_s * SECOND), 500 * SECOND

    def advance(self, seconds: float) -> None:
        self.wall_ns += int(seconds * SECOND)
        self.monotonic_ns += int(seconds * SECOND)


def clock_at(wall_s: float) -> tuple[WindowClock, Clocks]:
    clocks = Clocks(wall_s)
    return WindowClock(lambda: clocks.wall_ns, lambda: clocks.monotonic_ns), clocks


def test_the_first_window_is_aligned_and_covers_only_its_rest() -> None:
    clock, clocks = clock_at(1003.5)
    assert clock.end_monotonic_ns - clocks.monotonic_ns == int(6.5 * SECOND)
    clocks.advance(6.5)
    times = clock.turn()
    assert (times.start_unix_ns, times.covered_ns) == (1000 * SECOND, int(6.5 * SECOND))
    assert times.start_monotonic_ns == int(496.5 * SECOND)


def test_windows_follow_each_other_without_gap_or_overlap() -> None:
    clock, clocks = clock_at(1000)
    starts, covered = [], 0
    for late_s in (10, 10.003, 9.998, 10):
        clocks.advance(late_s)
        times = clock.turn()
        starts.append(times.start_unix_ns // SECOND)
        covered += times.covered_ns
    assert starts == [1000, 1010, 1020, 1030]
    assert covered == int(40.001 * SECOND)


def test_an_early_wake_up_does_not_reuse_the_start() -> None:
    clock, clocks = clock_at(1000)
    clocks.advance(9.9999)
    assert clock.turn().start_unix_ns == 1000 * SECOND
    clocks.advance(10)
    assert clock.turn().start_unix_ns == 1010 * SECOND


def test_a_stepped_wall_clock_stretches_no_window() -> None:
    for step_s in (3600, -3600):
        clock, clocks = clock_at(10_000)
        clocks.advance(4)
        clocks.wall_ns += step_s * SECOND
        clocks.advance(6)
        before = clock.turn()
        assert (before.start_unix_ns, before.covered_ns) == (10_000 * SECOND, 10 * SECOND)
        clocks.advance(10)
        assert clock.turn().start_unix_ns == (10_010 + step_s) * SECOND
