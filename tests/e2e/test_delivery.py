"""Agent and collector are killed again and again while windows flow: what reached the disk counts once, and only
what was younger than the agent's patience is missing.

The sender is the agent's real delivery without sampling (steady_sender.py), so this needs no kernel features.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from agent.push import PUSH_TIMEOUT_S
from tests.e2e.product import Command, Up, free_port, wait_until
from tests.e2e.steady_sender import SERVICE, SPOOL_AFTER_S, VALUE_NS, function

pytestmark = pytest.mark.e2e

ROUNDS = 3
BOUND_S = SPOOL_AFTER_S + 2.5
"""What a kill may lose: the time until a window is on disk, and the machine's own delays."""


class Collector(Up):
    """`fleetprof up --no-agent`, always on the same ports and data."""

    ports = (0, 0)

    def __init__(self, data: Path) -> None:
        Command.__init__(
            self, "fleetprof", "up", "--no-agent",
            FLEETPROF_HTTP=f"127.0.0.1:{self.ports[0]}",
            FLEETPROF_GRPC=f"127.0.0.1:{self.ports[1]}",
            FLEETPROF_DATA=str(data),
        )  # fmt: skip
        self.http, self.grpc = self.ports


def sender(state: Path, run: int, *more: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.e2e.steady_sender", "--collector"]
    command += [f"127.0.0.1:{Collector.ports[1]}", "--state", str(state), "--run", str(run), *more]
    root = Path(__file__).resolve().parents[2]
    path = os.pathsep.join(filter(None, (str(root), str(root / "proto"), os.environ.get("PYTHONPATH"))))
    with (state / "log").open("a") as log:
        return subprocess.Popen(
            command, text=True, stderr=log, env={**os.environ, "PYTHONPATH": path}, cwd=root
        )


def offered(state: Path) -> dict[int, list[tuple[int, float]]]:
    """Run → (sequence, when) of each window that was offered."""
    found: dict[int, list[tuple[int, float]]] = {}
    path = state / "offered"
    for line in path.read_text().splitlines() if path.exists() else []:
        run, sequence, at_s = line.split()
        found.setdefault(int(run), []).append((int(sequence), float(at_s)))
    return found


def count_offered(state: Path, run: int) -> int:
    return len(offered(state).get(run, []))


def stored(collector: Collector) -> dict[str, int]:
    """Function → its CPU time in the store."""
    answer: Any = collector.get("top", query=f'service="{SERVICE}"', limit="10000", **{"from": "now-1h"})
    return {row["name"]: row["self"] for row in answer["rows"]}


def test_kills_on_both_sides(tmp_path: Path) -> None:
    chance = random.Random(4)
    Collector.ports = (free_port(), free_port())
    state, data = tmp_path / "state", tmp_path / "data"
    state.mkdir()
    collector = Collector(data)
    killed_s: dict[int, float] = {}
    senders: list[subprocess.Popen[str]] = []
    try:
        collector.wait_to_say("UI ready")
        for run in range(1, ROUNDS + 1):
            agent = sender(state, run)
            senders.append(agent)
            wait_until(lambda run=run: count_offered(state, run) > 3, "windows")
            collector.kill()
            wait_until(
                lambda run=run: count_offered(state, run) > 8 + chance.randrange(6),
                "windows while it is away",
            )
            if chance.random() < 0.5:
                collector = Collector(data)
                collector.wait_to_say("UI ready")
            agent.kill()
            agent.wait()
            killed_s[run] = time.monotonic()
            if collector.process.poll() is not None:
                collector = Collector(data)
        collector.wait_to_say("UI ready")
        last = sender(state, ROUNDS + 1)
        senders.append(last)
        wait_until(lambda: count_offered(state, ROUNDS + 1) > 3, "windows")
        last.send_signal(signal.SIGTERM)
        assert last.wait(PUSH_TIMEOUT_S) == 0, "an orderly end loses nothing"
        senders.append(sender(state, ROUNDS + 2, "--only-send"))
        assert senders[-1].wait(150) == 0, (state / "log").read_text()
        found = stored(collector)
        assert collector.end() == 0
    finally:
        collector.kill()
        for each in senders:
            each.kill()
    names = {
        function(run, sequence): (run, at_s)
        for run, windows in offered(state).items()
        for sequence, at_s in windows
    }
    assert set(found) <= set(names)
    assert set(found.values()) == {VALUE_NS}, "each stored window counts once"
    for name in set(names) - set(found):
        run, at_s = names[name]
        assert run in killed_s, f"{name} is missing, though its agent was not killed"
        assert killed_s[run] - at_s < BOUND_S, f"{name} was {killed_s[run] - at_s:.1f} s old when it was lost"
    assert len(found) > len(names) / 3, "most windows were old enough to be on disk"
    assert not list((state / "spool").glob("*.spool"))
    assert "damaged" not in (state / "log").read_text()
