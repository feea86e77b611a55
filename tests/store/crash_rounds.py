"""Kills a collector again and again while windows are pushed, then reports what its store holds.

Each life of the collector is a process of its own:

    python -m tests.store.crash_rounds FOLDER collect [N]   # push what waits; die after N steps
    python -m tests.store.crash_rounds FOLDER report        # print as JSON what the tables hold

`between` and `anywhere` run such lives: killed at every step of a batch and a roll-up, or at random moments. The
value of an agent's window s is 4**s on every row, so a sum's digits in base 4 tell how often each window was
counted.
"""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from collector.ingest import pending
from collector.ingest.committer import Committer
from collector.ingest.journal import Entry, Journal
from collector.ingest.known import KnownDefinitions
from collector.ingest.limits import Limits
from collector.ingest.loss_ledger import LossLedger
from collector.ingest.refusal import Later
from collector.pipeline import Pipeline
from collector.store.chdb import ChdbStore
from collector.store.consistency import differences
from collector.store.migrate import migrate
from fleetprof.profile_types import ProfileType
from fleetprof.v1 import ingest_pb2
from tests.store.pushes import Row, push_request, recent_window_s

JOURNAL = "journal"
WINDOWS = 20
AGENTS = 3
STEPS = range(17) if os.environ.get("FLEETPROF_SLOW") else (0, 1, 4, 6, 9, 10, 11, 13, 15, 16)
"""Of a batch and its roll-up: two to note, eight inserts, two to note, three inserts, two to forget."""


class Steps:
    """Ends the process with SIGKILL instead of the step after the n-th."""

    left: int | None = None

    def __call__(self) -> None:
        if self.left is not None:
            if not self.left:
                os.kill(os.getpid(), signal.SIGKILL)
            self.left -= 1


step = Steps()


class DyingStore(ChdbStore):
    """Each insert is a step."""

    def insert(self, table: str, block: Any, token: str) -> None:
        step()
        super().insert(table, block, token)


class DyingJournal(Journal):
    """Noting an entry is a step, having noted it another, and forgetting it."""

    def write(self, *arguments: Any, **more: Any) -> Entry:
        step()
        entry = super().write(*arguments, **more)
        step()
        return entry

    def _forget(self, number: int) -> None:
        step()
        super()._forget(number)


chance = random.Random()


def rows(sequence: int) -> list[Row]:
    """A window's rows: the same stacks always, and one that is new with each window."""
    value = 4**sequence
    return [
        Row("leaf;work;main", value, offsets=[1, 2]),
        Row("leaf;leaf;main", value, ProfileType.OFFCPU),
        Row(f"new{sequence};main", value, ProfileType.RUNQ),
        Row("", value, ProfileType.IDLE, captures=0),
    ]


def push_all(
    pipeline: Pipeline, agent: int, start_s: int, acked: Callable[[int, int], None], first: int
) -> None:
    """Push an agent's windows from `first` on, in order, each until acknowledged."""
    labels = {"host": f"host-{agent}", "service": "crash", "version": "1"}
    for sequence in range(first, WINDOWS + 1):
        request = push_request(
            rows(sequence), labels, sequence, start_s + 10 * sequence, f"agent-{agent}", losses={1: sequence}
        )
        while True:
            try:
                answer = pipeline.push(request.SerializeToString())
            except Later:
                continue
            assert answer.status in (
                ingest_pb2.PushResponse.STATUS_ACCEPTED,
                ingest_pb2.PushResponse.STATUS_DUPLICATE,
            ), answer
            acked(agent, sequence)
            break


def collect(folder: Path, die_after: int | None) -> None:
    """A collector's life: push what is not acknowledged yet (acks are kept in a file), or die."""
    start = folder / "start"
    if not start.exists():
        start.write_text(str(recent_window_s(WINDOWS + 60)))
    start_s = int(start.read_text())
    acks = folder / "acks"
    done = dict.fromkeys(range(AGENTS), 0)
    if acks.exists():
        for line in acks.read_text().splitlines():
            agent, sequence = map(int, line.split())
            done[agent] = max(done[agent], sequence)
    pending.ROLLUP_S = chance.choice([0.0, 0.0, 60.0])  # after each batch, or at the end
    store = DyingStore(folder / "data")
    migrate(store)
    step.left = die_after
    known, ledger = KnownDefinitions(store), LossLedger()
    committer = Committer(store, DyingJournal(folder / "data" / JOURNAL), known, ledger, linger_s=0.002)
    pipeline = Pipeline(known, committer, ledger, Limits())
    print("ready", flush=True)
    with acks.open("a") as file:

        def acked(agent: int, sequence: int) -> None:
            file.write(f"{agent} {sequence}\n")
            file.flush()

        threads = [
            threading.Thread(target=push_all, args=(pipeline, agent, start_s, acked, done[agent] + 1))
            for agent in range(AGENTS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert committer.stop(10)
    store.close()


def life(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    """A process that runs this program."""
    command = [sys.executable, "-m", "tests.store.crash_rounds", str(folder), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def between(folder: Path) -> int:
    """Kill a collector after each step of a batch and its roll-up; returns how many were killed."""
    lives = (life(folder, "collect", str(steps)) for steps in STEPS)
    return sum(each.wait(60) == -signal.SIGKILL for each in lives)


def anywhere(folder: Path, rounds: int) -> int:
    """Kill a collector at random moments after it began to take windows; returns how many were killed."""
    killed = 0
    for number in range(rounds):
        with life(folder, "collect") as each:
            assert each.stdout
            each.stdout.readline()
            try:
                each.wait(chance.uniform(0.0, 0.6))
            except subprocess.TimeoutExpired:
                each.kill()
            killed += each.wait(60) == -signal.SIGKILL
        if number % 2:
            lose_power(folder)
    return killed


def lose_power(folder: Path) -> int:
    """Take parts away that were not forced to disk when a collector was killed; returns how many.

    Those are at most the parts that came after the journal's oldest entry was noted.
    """
    headers = Journal(folder / "data" / JOURNAL).headers()
    written = {table for header in headers for table in header.lengths}
    lost = 0
    for table in folder.glob("data/clickhouse/data/default/*"):
        for part in table.iterdir() if headers else ():
            numbers = re.fullmatch(r"\w+?_(\d+)_(\d+)_(\d+)", part.name)
            newer = numbers and int(numbers[1]) > headers[0].newest_blocks.get(table.name, 0)
            if newer and table.name in written and chance.random() < 0.5:
                shutil.rmtree(part)
                lost += 1
    return lost


def finish(folder: Path) -> dict[str, Any]:
    """Let a collector take what is left, undisturbed, and report."""
    assert life(folder, "collect").wait(60) == 0
    with life(folder, "report") as each:
        output, _ = each.communicate(timeout=60)
    answer: dict[str, Any] = json.loads(output)
    return answer


def report(folder: Path) -> dict[str, Any]:
    """What the store holds."""
    store = ChdbStore(folder / "data")

    def one(sql: str) -> list[int]:
        return [int(column[0]) for column in store.query((sql, {})).values()]

    sums = {
        "samples": one("SELECT count() AS n, sum(value) AS v FROM samples"),
        "stack_1h": one("SELECT sum(value) AS v, sum(captures) AS c FROM stack_1h"),
        "func_1h": one("SELECT sum(self) AS s, sum(total) AS t FROM func_1h"),
        "series_1m": one("SELECT sum(value) AS v FROM series_1m"),
        "windows": one("SELECT count() AS n, uniqExact(agent_id, sequence) AS u FROM windows"),
        "losses": one("SELECT sum(count) AS n FROM losses"),
        "stacks": one("SELECT uniqExact(stack) AS n FROM stacks"),
        "frames": one("SELECT uniqExact(id) AS n FROM frames"),
        "series": one("SELECT uniqExact(series) AS n FROM series"),
    }
    found = {"sums": sums, "differences": [str(each) for each in differences(store)]}
    store.close()
    return found | {"left": [path.name for path in (folder / "data" / JOURNAL).glob("*.*")]}


def main() -> None:
    folder, mode = Path(sys.argv[1]), sys.argv[2]
    if mode == "report":
        print(json.dumps(report(folder)))
    else:
        collect(folder, int(sys.argv[3]) if len(sys.argv) > 3 else None)


if __name__ == "__main__":
    main()
