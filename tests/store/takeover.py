"""Collectors that take over from each other without each other's journal, each dying in the middle of a batch."""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from collector.ingest.committer import Committer
from collector.ingest.journal import Journal
from collector.ingest.known import KnownDefinitions
from collector.ingest.limits import Limits
from collector.ingest.loss_ledger import LossLedger
from collector.ingest.refusal import Later
from collector.pipeline import Pipeline
from collector.store.consistency import differences, incomplete_hours
from collector.store.errors import StoreAway
from collector.store.interface import Store
from collector.store.server import ServerStore
from tests.store.crash_rounds import rows
from tests.store.pushes import add_places, push_request, recent_window_s

AGENTS = 3
SERVICE = "takeover"


class Life:
    """A collector in `folder` whose inserts fail for ever after the n-th."""

    def __init__(self, store: ServerStore, folder: Path, die_after: int | None) -> None:
        self.store, self._left = store, die_after
        self._check, self.dead = store._may_write, threading.Event()
        store._may_write = self._may_write  # type: ignore[method-assign]
        store.own(str(folder), wait=True)
        known, ledger = KnownDefinitions(store), LossLedger()
        self.committer = Committer(store, Journal(folder), known, ledger, linger_s=0.1)
        self._pipeline = Pipeline(known, self.committer, ledger, Limits())

    def die_after(self, inserts: int) -> None:
        """From now on."""
        self._left = inserts

    def _may_write(self) -> None:
        """Stands before each insert, of which the server has no row yet."""
        self._check()
        if self._left is not None:
            if not self._left:
                self.dead.set()
                raise StoreAway(0, "dead")
            self._left -= 1

    def push(self, start_s: int, sequences: Sequence[int], agents: int = AGENTS) -> None:
        """Push windows of all agents at once, until all are acknowledged or the collector is dead."""
        threads = [
            threading.Thread(target=self._push, args=(start_s, agent, sequence), daemon=True)
            for agent in range(agents)
            for sequence in sequences
        ]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads) and not self.dead.wait(0.01):
            pass

    def _push(self, start_s: int, agent: int, sequence: int) -> None:
        labels = {"host": f"host-{agent}", "service": SERVICE, "version": "1"}
        request = push_request(
            rows(sequence), labels, sequence, start_s + 10 * sequence, f"agent-{agent}", losses={1: sequence}
        )
        add_places(request, {16: 4**sequence, 32: 4**sequence})
        while not self.dead.is_set():
            try:
                self._pipeline.push(request.SerializeToString())
                return
            except Later:
                time.sleep(0.01)

    def end(self) -> None:
        """Die, or stop after all is stored."""
        if self.dead.is_set():
            self.committer._abandon.set()
        self.committer.stop(30)
        self.store.close()


def lives(connect: Callable[[], ServerStore], folder: Path, deaths: Sequence[int]) -> int:
    """Collectors that each take over from one before, which died after so many inserts; the last one lives.

    Each gets a new window of each agent, and those of before, as agents push what nobody acknowledged. Returns how
    many windows an agent has.
    """
    start_s = recent_window_s(len(deaths) + 30)
    for place, die_after in enumerate([*deaths, None], 1):
        life = Life(connect(), folder / str(place), die_after)
        life.push(start_s, range(1, place + 1))
        assert life.dead.is_set() == (die_after is not None)
        life.end()
    return len(deaths) + 1


def check(store: Store, windows: int, agents: int = AGENTS) -> None:
    """Every window is there once, `windows` of each agent: sums in base 4 tell how often each was counted."""
    once = agents * sum(4**sequence for sequence in range(1, windows + 1))
    count = agents * windows
    asked = {
        "SELECT count() AS n, sum(value) AS v FROM samples WHERE service = %(s)s": [4 * count, 4 * once],
        "SELECT sum(value) AS v, sum(captures) AS c FROM series_1m WHERE service = %(s)s": [
            4 * once,
            3 * count,
        ],
        "SELECT count() AS n, uniqExact(agent_id, sequence) AS u FROM windows": [count, count],
        "SELECT sum(count) AS n FROM losses": [agents * windows * (windows + 1) // 2],
        "SELECT count() AS n, sum(value) AS v FROM places WHERE service = %(s)s": [2 * count, 2 * once],
    }
    for sql, expected in asked.items():
        found = [int(column[0]) for column in store.query((sql, {"s": SERVICE})).values()]
        assert found == expected, sql
    assert not incomplete_hours(store)
    assert list(differences(store)) == []
