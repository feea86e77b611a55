"""Every window counts exactly once whatever breaks; and a collector that forgets its windows is found out."""

import os
import random
from collections.abc import Sequence
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


SLOW = "FLEETPROF_SLOW" in os.environ


def run(folder: Path, names: Sequence[str], place: str = "chdb", forget: bool = False) -> Verdict:
    with scene(folder, forget, place) as found:
        found.start()
        run_faults(found, [FAULTS[place][name] for name in names], random.Random(), print)
        return found.finish()


def test_every_window_counts_once(tmp_path: Path) -> None:
    verdict = run(tmp_path, SHORT)
    assert not verdict.wrong, str(verdict)
    assert verdict.stored > 30


@pytest.mark.skipif(not SLOW, reason="FLEETPROF_SLOW=1 runs it")
@pytest.mark.parametrize("place", ["server", "cluster"])
def test_every_window_counts_once_whatever_of_the_store_dies(tmp_path: Path, place: str) -> None:
    verdict = run(tmp_path, list(FAULTS[place]), place)
    assert not verdict.wrong, str(verdict)


def test_a_collector_that_forgets_is_found_out(tmp_path: Path) -> None:
    verdict = run(tmp_path, ["lose_answers", "lose_answers"], forget=True)
    assert any("differ" in each for each in verdict.wrong), str(verdict)
