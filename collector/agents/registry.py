"""The agents that this collector knows, their latest state, and what of it waits to be stored."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from collector.agents.state import AgentState, Beat, Registration
from collector.ingest.refusal import Later
from fleetprof.protocol import SILENT_AFTER_S

MAX_AGENTS = 50_000
"""Bounds the memory to some 200 MB: an agent's id may be anything."""
HISTORY_S = 300
"""A heartbeat out of each so many seconds of an agent goes into the history."""


@dataclass(frozen=True, slots=True)
class Pending:
    """What waits to be stored: latest states, and those whose heartbeat belongs into the history."""

    states: list[AgentState]
    history: list[AgentState]


class AgentRegistry:
    """Latest states by agent id. Safe to use from several threads."""

    def __init__(
        self, seen_before: dict[str, float] | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        """`seen_before`: agents of the store, with the Unix time when each was heard last."""
        self._clock = clock
        self._lock = threading.Lock()
        self._states: dict[str, AgentState] = {}
        self._seen_s: dict[str, float] = dict(seen_before or {})
        self._changed: set[str] = set()
        self._history: dict[str, AgentState] = {}
        self._recorded_s: dict[str, float] = {}
        self.registered = threading.Event()
        """Set at each registration, for whom it may concern to clear."""

    def register(self, registration: Registration) -> bool:
        """Keep an agent's registration, accepted or refused; true when that is news (to be logged once).

        Raises Later when there are too many agents.
        """
        name = registration.agent_id
        with self._lock:
            self._check_room(name)
            before = self._states.get(name)
            beat = before.beat if before and before.registration.run_id == registration.run_id else None
            self._states[name] = AgentState(registration, beat)
            self._seen(name, registration.registered_at_s)
            self._changed.add(name)
            self.registered.set()
            return before is None or _news(before.registration, registration)

    def heartbeat(self, agent_id: str, run_id: int, beat: Beat) -> bool:
        """Keep a heartbeat; false when this run of the agent is not registered here."""
        with self._lock:
            state = self._states.get(agent_id)
            if state is None or state.registration.run_id != run_id or state.registration.refused_because:
                return False
            state = self._states[agent_id] = replace(state, beat=beat)
            self._seen(agent_id, beat.received_at_s)
            self._changed.add(agent_id)
            if beat.received_at_s - self._recorded_s.get(agent_id, 0.0) >= HISTORY_S:
                self._recorded_s[agent_id] = beat.received_at_s
                self._history[agent_id] = state
            return True

    def window(self, agent_id: str) -> None:
        """A window of the agent came."""
        with self._lock:
            if agent_id in self._seen_s or len(self._seen_s) < MAX_AGENTS:
                self._seen(agent_id, self._clock())

    def counts(self) -> tuple[int, int]:
        """(agents heard within SILENT_AFTER_S, silent ones)."""
        since_s = self._clock() - SILENT_AFTER_S
        with self._lock:
            reporting = sum(seen_s >= since_s for seen_s in self._seen_s.values())
            return reporting, len(self._seen_s) - reporting

    def take(self) -> Pending:
        """What changed since the last call."""
        with self._lock:
            names, self._changed = self._changed, set()
            history, self._history = self._history, {}
            return Pending(
                [self._states[name] for name in sorted(names & self._states.keys())], list(history.values())
            )

    def give_back(self, pending: Pending) -> None:
        """Take again what could not be stored, where nothing newer came since."""
        with self._lock:
            self._changed.update(state.registration.agent_id for state in pending.states)
            for state in pending.history:
                self._history.setdefault(state.registration.agent_id, state)

    def forget(self, older_than_s: float) -> None:
        """Forget agents that were not heard for so long; what is stored of them stays."""
        before_s = self._clock() - older_than_s
        with self._lock:
            for name in [name for name, seen_s in self._seen_s.items() if seen_s < before_s]:
                del self._seen_s[name]
                self._states.pop(name, None)
                self._recorded_s.pop(name, None)
                self._changed.discard(name)

    def _check_room(self, name: str) -> None:
        if name not in self._states and len(self._states) >= MAX_AGENTS:
            raise Later(f"This collector knows {MAX_AGENTS} agents and takes no more.", overloaded=True)

    def _seen(self, name: str, at_s: float) -> None:
        self._seen_s[name] = max(at_s, self._seen_s.get(name, 0.0))


def _news(before: Registration, now: Registration) -> bool:
    """Whether the log should say it: a new run, a new version, or another verdict."""
    return (before.run_id, before.host, before.protocol_version, before.refused_because) != (
        now.run_id,
        now.host,
        now.protocol_version,
        now.refused_because,
    )
