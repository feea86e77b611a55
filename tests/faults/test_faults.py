"""Every window counts exactly once whatever breaks; and a collector that forgets its windows is found out.

Runs are processes of their own, all at the same time: much of their time is waiting.
"""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.faults import FAULTS
from tests.faults.result import Result

pytestmark = [pytest.mark.store, pytest.mark.timeout(1200)]

SHORT = (
    *("kill_collector", "tear_connections", "lose_answers", "kill_agents"),
    *("fill_disk", "step_agents", "step_collector"),
)
SLOW = "FLEETPROF_SLOW" in os.environ
SECONDS = 1000.0


@dataclass
class Run:
    """A run under way."""

    child: "subprocess.Popen[bytes]"
    folder: Path

    @classmethod
    def start(cls, folder: Path, *only: str, forget: bool = False, store: str = "chdb") -> "Run":
        """Each of the faults once."""
        folder.mkdir()
        chosen = [part for name in only for part in ("--only", name)]
        command = [
            *(sys.executable, "-m", "tests.faults", "--store", store, "--faults", str(len(only))),
            *("--result", str(folder / "result.json"), "--seed", str(random.randrange(1 << 32)), *chosen),
            *(["--forget"] if forget else []),
        ]
        with (folder / "said").open("wb") as said:
            return cls(subprocess.Popen(command, stdout=said, stderr=said), folder)

    def result(self) -> Result:
        """Waits for its end."""
        self.child.wait(SECONDS)
        assert (self.folder / "result.json").exists(), self.said
        return Result.read(self.folder / "result.json")

    @property
    def said(self) -> str:
        return (self.folder / "said").read_text()

    def end(self) -> None:
        if self.child.poll() is None:
            self.child.terminate()
            self.child.wait()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Run]]:
    """One with the collector as it is, one with a collector that forgets."""
    folder = tmp_path_factory.mktemp("faults")
    started = {
        "usual": Run.start(folder / "usual", *SHORT),
        "forgetful": Run.start(folder / "forgetful", "lose_answers", forget=True),
    }
    yield started
    for run in started.values():
        run.end()


def test_a_collector_that_forgets_is_found_out(runs: dict[str, Run]) -> None:
    result = runs["forgetful"].result()
    assert any("differ" in each for each in result.verdict.wrong), runs["forgetful"].said


def test_every_window_counts_once(runs: dict[str, Run]) -> None:
    result = runs["usual"].result()
    assert not result.verdict.wrong, runs["usual"].said
    assert set(result.seconds) == set(SHORT)
    assert result.verdict.stored > 30


@pytest.mark.skipif(not SLOW, reason="FLEETPROF_SLOW=1 runs it")
@pytest.mark.parametrize("store", ["server", "cluster"])
def test_every_window_counts_once_whatever_of_the_store_dies(tmp_path: Path, store: str) -> None:
    run = Run.start(tmp_path / store, *FAULTS[store], store=store)
    try:
        assert not run.result().verdict.wrong, run.said
    finally:
        run.end()
