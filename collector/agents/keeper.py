"""Keeps the registry's agents in the store: one small block every ten seconds, however many they are."""

import logging
import threading
import time
import uuid

from collector.agents.blocks import agents_block, heartbeats_block
from collector.agents.registry import AgentRegistry, Pending
from collector.store.errors import StoreError
from collector.store.interface import Store

log = logging.getLogger("fleetprof.agents")

KEEP_EVERY_S = 10.0
LINGER_S = 1.0
"""A registration is stored sooner, with those that come in the meantime: a new host is looked for at once."""
FORGET_AFTER_S = 7 * 86400
"""An agent that was silent for this long was taken away: it is no longer counted or shown."""


def seen_before(store: Store, now_s: float | None = None) -> dict[str, float]:
    """Agents that the store knows from other runs of collectors, and when each was heard last."""
    since_s = int(time.time() if now_s is None else now_s) - FORGET_AFTER_S
    rows = store.query(
        (
            "SELECT agent_id, toUInt32(max(seen_at)) AS seen_s FROM agents"
            " WHERE seen_at >= toDateTime(%(since)s) GROUP BY agent_id",
            {"since": max(since_s, 0)},
        )
    )
    return dict(zip(rows["agent_id"].tolist(), map(float, rows["seen_s"].tolist()), strict=True))


class AgentKeeper:
    """A thread that stores what changed. What cannot be stored waits for the next time."""

    def __init__(self, store: Store, registry: AgentRegistry, every_s: float = KEEP_EVERY_S) -> None:
        self._store, self._registry, self._every_s = store, registry, every_s
        self._stopping = threading.Event()
        self._failing = False
        self._keeping = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="agents", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Store what waits, and end."""
        self._stopping.set()
        self._registry.registered.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._registry.registered.wait(self._every_s)
            self._registry.registered.clear()
            self._stopping.wait(LINGER_S)
            self.keep()
            self._registry.forget(FORGET_AFTER_S)

    def keep(self) -> None:
        """Store what changed since the last call."""
        with self._keeping:
            self._keep()

    def _keep(self) -> None:
        pending = self._registry.take()
        try:
            self._insert(pending)
        except StoreError as error:
            if not self._failing:
                log.error("Cannot store the agents' states, retrying: %s", error)
            self._failing = True
            self._registry.give_back(pending)
        else:
            self._failing = False

    def _insert(self, pending: Pending) -> None:
        if pending.states:
            self._store.insert("agents", agents_block(pending.states), uuid.uuid4().hex)
        if pending.history:
            self._store.insert("heartbeats", heartbeats_block(pending.history), uuid.uuid4().hex)
