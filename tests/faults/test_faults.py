"""Every window counts exactly once whatever breaks; and a collector that forgets its windows is found out."""

import random
from pathlib import Path

import pytest

from tests.faults.faults import FAULTS, run_faults
from tests.faults.scene import scene
from tests.faults.verdict import Verdict

pytestmark = pytest.mark.store

SHORT = (
    *("kill_collector", "tear_connections", "lose_answers", "kill_agents"),
    *("fill_disk", "step_agents", "step_collector"),
)


def run(folder: Path, names: list[str], forget: bool = False) -> Verdict:
    with scene(folder, forget) as found:
        found.start()
        run_faults(found, names, random.Random(), print)
        return found.finish()


def test_every_window_counts_once(tmp_path: Path) -> None:
    verdict = run(tmp_path, list(SHORT))
    assert not verdict.wrong, str(verdict)
    assert verdict.stored > 30
    assert set(SHORT) <= set(FAULTS)


def test_a_collector_that_forgets_is_found_out(tmp_path: Path) -> None:
    verdict = run(tmp_path, ["lose_answers", "lose_answers"], forget=True)
    assert any("differ" in each for each in verdict.wrong), str(verdict)
