"""Every window counts exactly once when the ClickHouse server is killed with SIGKILL, again and again, while
windows are pushed; the sums' digits in base 4 tell how often each window was counted (crash_rounds.py)."""

import random
import signal
import threading
import time
from pathlib import Path

import pytest

from collector.ingest import writer
from collector.ingest.committer import Committer
from collector.ingest.journal import Journal
from collector.ingest.known import KnownDefinitions
from collector.ingest.limits import Limits
from collector.ingest.loss_ledger import LossLedger
from collector.pipeline import Pipeline
from collector.store.consistency import differences
from collector.store.interface import Store
from collector.store.migrate import migrate
from collector.store.open import open_store
from tests.store.clickhouse_server import ClickHouseServer
from tests.store.crash_rounds import AGENTS, WINDOWS, push_all
from tests.store.pushes import recent_window_s

pytestmark = pytest.mark.store

KILLS = 6


def sums(store: Store) -> dict[str, list[int]]:
    asked = {
        "samples": "SELECT count() AS n, sum(value) AS v FROM samples",
        "stack_1h": "SELECT sum(value) AS v, sum(captures) AS c FROM stack_1h",
        "func_1h": "SELECT sum(self) AS s, sum(total) AS t FROM func_1h",
        "series_1m": "SELECT sum(value) AS v FROM series_1m",
        "windows": "SELECT count() AS n, uniqExact(agent_id, sequence) AS u FROM windows",
        "losses": "SELECT sum(count) AS n FROM losses",
    }
    return {
        name: [int(column[0]) for column in store.query((sql, {})).values()] for name, sql in asked.items()
    }


def test_the_server_is_killed_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_LONGEST_RETRY_S", 0.5)
    server = ClickHouseServer(tmp_path / "server")
    server.wait()
    store = open_store(server.url("crash"))
    try:
        migrate(store)
        assert store.own("crash")
        known, ledger = KnownDefinitions(store), LossLedger()
        committer = Committer(store, Journal(tmp_path / "journal"), known, ledger, linger_s=0.002)
        pipeline = Pipeline(known, committer, ledger, Limits())
        start_s, acked = recent_window_s(WINDOWS + 60), [0] * AGENTS
        threads = [
            threading.Thread(
                target=push_all, args=(pipeline, agent, start_s, acked.__setitem__, 1), daemon=True
            )
            for agent in range(AGENTS)
        ]
        for thread in threads:
            thread.start()
        for kill in range(KILLS):
            # Kills are spread over the windows, each at some moment after another window was taken.
            until = (kill + 1) * WINDOWS // (KILLS + 1)
            deadline = time.monotonic() + 60
            while min(acked) < until and time.monotonic() < deadline:
                time.sleep(0.001)
            time.sleep(random.uniform(0, 0.02))
            assert server.process
            server.process.send_signal(signal.SIGKILL)
            server.process.wait()
            server.start()
            server.wait()
        for thread in threads:
            thread.join(100)
        assert acked == [WINDOWS] * AGENTS
        assert committer.stop(30)
        once = AGENTS * sum(4**sequence for sequence in range(1, WINDOWS + 1))
        windows = AGENTS * WINDOWS
        assert sums(store) == {
            "samples": [4 * windows, 4 * once],
            "stack_1h": [3 * once, 3 * windows],
            "func_1h": [3 * once, (3 + 2 + 2) * once],
            "series_1m": [4 * once],
            "windows": [windows, windows],
            "losses": [AGENTS * WINDOWS * (WINDOWS + 1) // 2],
        }
        assert list(differences(store)) == []
        store.close()
    finally:
        server.kill()
