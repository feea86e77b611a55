"""`fleetprof simulate`: what it says it sent is what the store holds, and the roll-ups agree."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.product import Command, free_port

pytestmark = pytest.mark.store

BIN = Path(sys.executable).parent


def simulate(*arguments: str) -> Any:
    command = [BIN / "fleetprof", "simulate", "--services", "3", "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


REPORT = """
import json, sys
from pathlib import Path
from collector.store.chdb import ChdbStore
from collector.store.consistency import differences
store = ChdbStore(Path(sys.argv[1]))
def one(sql):
    return [int(column[0]) for column in store.query((sql, {})).values()]
sql = "SELECT type, sum(value) AS v, sum(captures) AS c, count() AS n FROM samples GROUP BY type"
found = store.query((sql, {}))
types = {str(t): [int(v), int(c)] for t, v, c in zip(found["type"], found["v"], found["c"])}
print(json.dumps({
    "types": types, "rows": int(found["n"].sum()),
    "windows": one("SELECT count() AS n, uniqExact(agent_id, run_id, sequence) AS u FROM windows"),
    "losses": one("SELECT sum(count) AS n FROM losses WHERE origin = 'agent'")[0],
    "agents": one("SELECT uniqExact(agent_id) AS n FROM agents")[0],
    "versions": one("SELECT uniqExact(service, version) AS n FROM series WHERE service != ''")[0],
    "differences": [str(each) for each in differences(store)],
}))
store.close()
"""


def report(data: Path) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", REPORT, str(data)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def expect_the_same(sent: Any, stored: Any) -> None:
    sums = {name: [each["value_ns"], each["captures"]] for name, each in sent["types"].items()}
    assert stored["types"] == {name: each for name, each in sums.items() if any(each)}
    assert stored["rows"] == sent["rows"]
    assert stored["windows"] == [sent["windows"]] * 2
    assert stored["losses"] == sent["losses"]
    assert stored["differences"] == []


def test_history_in_a_collector_of_its_own(tmp_path: Path) -> None:
    sent = simulate("--hosts", "5", "--hours", "0.3", "--data", str(tmp_path / "data"), "--seed", "5")
    stored = report(tmp_path / "data")
    expect_the_same(sent, stored)
    assert sent["windows"] > 200
    # A push that got no answer in time, on a busy machine, may have been stored.
    more = sent["duplicate_answers"] - sent["repeated_windows"]
    assert 0 <= more <= sent["failed_pushes"]
    assert not sent["refused_windows"]
    assert 0 < stored["agents"] <= 5
    assert stored["versions"] >= 3 + any(release["grown"] for release in sent["releases"])
    assert sent["tables"]["samples"]["rows"] == sent["rows"]
    assert sent["tables"]["samples"]["bytes"] > sent["rows"]


def test_live_windows_reach_a_collector_that_is_killed_meanwhile(tmp_path: Path) -> None:
    port, data = free_port(), tmp_path / "data"
    where = {"FLEETPROF_GRPC": f"127.0.0.1:{port}", "FLEETPROF_DATA": str(data)}
    collector = Command("fleetprof-collector", "run", **where)
    collector.wait_to_say("Taking profiles")
    answers: list[Any] = []
    live = ("--rate", "realtime", "--hosts", "4", "--hours", "0.006", "--server", f"127.0.0.1:{port}")
    sender = threading.Thread(target=lambda: answers.append(simulate(*live)))
    sender.start()
    while not list(data.glob("clickhouse/store/*/*/2*")) and sender.is_alive():
        time.sleep(0.05)  # until the first windows are being stored
    collector.kill()
    again = Command("fleetprof-collector", "run", **where)
    sender.join(100)
    assert answers
    assert again.end() == 0
    sent = answers[0]
    expect_the_same(sent, report(data))
    assert sent["windows"] >= 4


def test_what_makes_no_sense_is_refused_in_words() -> None:
    command = [BIN / "fleetprof", "simulate", "--hours", "500"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert "--hours 500.0 is out of range" in done.stderr
