"""kill -9 of evaluator and sender at every kind of step, a receiver that fails: the arithmetic must hold."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from collector.alerts.outbox import Outbox
from tests.e2e.alert_crash import FAULTS, ROUNDS
from tests.unit.alert_data import open_book
from tests.unit.alert_receiver import receiving

ROOT = Path(__file__).resolve().parents[2]
FAILURES: list[int | str] = [200, 200, 200, 500, "reset", "drop", 503]
KILLS = 40


def play(folder: Path, url: str, steps: list[int]) -> int:
    """How many of the processes were killed."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.e2e.alert_crash", str(folder), url, ",".join(map(str, steps))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'proto'}:{ROOT}"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_lost_or_told_under_two_keys(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    with receiving() as receiver:
        receiver.plan = [chance.choice(FAILURES) for _ in range(60)]
        steps = [chance.randint(3, 60) for _ in range(KILLS)]
        killed = play(tmp_path, receiver.url, steps)
        assert killed > KILLS // 2
        check(tmp_path, receiver.keys)


def check(folder: Path, keys: list[str]) -> None:
    """Each fault came four times and went three times."""
    book = open_book(folder)
    assert len(book.looks("hot")) == ROUNDS
    assert sorted(alert.subject.node for alert in book.open_alerts()) == sorted(FAULTS)
    ended = book.recent(100)
    assert sorted(alert.subject.node for alert in ended) == sorted(FAULTS * 3)
    expected = {f"{alert.id}-firing" for alert in [*book.open_alerts(), *ended]}
    expected |= {f"{alert.id}-resolved" for alert in ended}
    assert set(keys) == expected
    for alert in ended:
        assert keys.index(f"{alert.id}-firing") < keys.index(f"{alert.id}-resolved")
    assert not Outbox(book).waiting()
    book.database.close()
