"""Every window counts exactly once when the collector is killed with SIGKILL while windows are pushed."""

from pathlib import Path
from typing import Any

import pytest

from tests.store import crash_rounds
from tests.store.crash_rounds import AGENTS, STEPS, WINDOWS

pytestmark = pytest.mark.store

ROUNDS = 6


def expect_each_window_once(found: dict[str, Any]) -> None:
    once = AGENTS * sum(4**sequence for sequence in range(1, WINDOWS + 1))
    windows = AGENTS * WINDOWS
    assert found["sums"] == {
        "samples": [4 * windows, 4 * once],
        "stack_1h": [3 * once, 3 * windows],
        "func_1h": [3 * once, (3 + 2 + 2) * once],
        "series_1m": [4 * once],
        "windows": [windows, windows],
        "losses": [AGENTS * WINDOWS * (WINDOWS + 1) // 2],
        "stacks": [2 + WINDOWS],
        "frames": [3 + WINDOWS],
        "series": [AGENTS],
    }
    assert found["differences"] == []
    assert found["left"] == []


def test_killed_after_each_step_of_a_batch(tmp_path: Path) -> None:
    assert crash_rounds.between(tmp_path) == len(STEPS)
    expect_each_window_once(crash_rounds.finish(tmp_path))


def test_killed_at_random_moments_and_power_lost(tmp_path: Path) -> None:
    """Each second time, parts that nothing had forced to disk are gone after the kill."""
    assert crash_rounds.anywhere(tmp_path, ROUNDS) > 0
    expect_each_window_once(crash_rounds.finish(tmp_path))
