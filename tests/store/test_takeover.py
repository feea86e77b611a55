"""What a collector left half-written counts once, though who takes over has neither its disk nor its journal."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from collector.store.server import ServerStore
from tests.store.pushes import recent_window_s
from tests.store.takeover import Life, check, lives

pytestmark = pytest.mark.store

DEATHS = (5, 6, 7, 8, 9)
"""A batch is eleven inserts: marks, its rows, its windows, three of definitions, samples, places, minutes, losses,
windows."""


def test_a_batch_that_a_dead_collector_left_half_written_counts_once(
    tmp_path: Path, connect: Callable[[], ServerStore]
) -> None:
    windows = lives(connect, tmp_path, DEATHS)
    check(connect(), windows)


@pytest.mark.parametrize("die_after", [7, 8, 9])
def test_windows_whose_samples_are_there_are_completed_though_nobody_pushes_them_again(
    tmp_path: Path, connect: Callable[[], ServerStore], die_after: int
) -> None:
    first = Life(connect(), tmp_path / "first", die_after)
    first.push(recent_window_s(30), [1], agents=1)
    assert first.dead.is_set()
    first.end()
    Life(connect(), tmp_path / "second", None).end()
    check(connect(), 1, agents=1)


def test_hours_whose_mark_was_cleared_by_a_recovery_are_marked_again(
    tmp_path: Path, connect: Callable[[], ServerStore]
) -> None:
    """Its roll-up came too late for the one who takes over next, and without a mark nobody would look."""
    start_s = recent_window_s(30)
    first = Life(connect(), tmp_path / "first", None)
    first.push(start_s, [1], agents=1)
    first.die_after(2)  # the roll-up's rows are there, what clears the hour's mark is not
    threading.Thread(target=first.committer.flush, daemon=True).start()
    assert first.dead.wait(30)
    first.end()
    again = Life(connect(), tmp_path / "first", None)
    again.push(start_s, [2], agents=1)
    again.die_after(0)
    again.dead.set()
    again.end()
    Life(connect(), tmp_path / "second", None).end()
    check(connect(), 2, agents=1)
