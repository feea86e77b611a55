"""Sends a fleet's windows at the pace of real agents, with their registrations and heartbeats."""

import heapq
import threading
import time
from collections.abc import Callable

import numpy as np

from query_ui.simulate.agents import Agents
from query_ui.simulate.draw import Drawer, Drawn
from query_ui.simulate.fleet import WINDOW_S, Fleet, Host, Run
from query_ui.simulate.history import REPEATED_SHARE
from query_ui.simulate.presence import Presence
from query_ui.simulate.push import Pusher
from query_ui.simulate.totals import Totals

AHEAD = 6
"""Windows of a host that are drawn at once."""
SLOWEST_CLOSE_S = 1.5
"""Real agents close their windows at the same moment, and are done within this."""


class Live:
    """Windows as they come due, host by host."""

    def __init__(self, fleet: Fleet, pusher: Pusher, agents: Agents, totals: Totals) -> None:
        self._fleet, self._pusher, self._agents, self._totals = fleet, pusher, agents, totals
        self._drawer = Drawer(fleet)
        self._random = np.random.default_rng(fleet.plan.seed + 3)
        self._drawn: dict[int, list[tuple[int, Drawn]]] = {}
        self._due: list[tuple[float, int, int]] = []
        self._waiting: dict[int, list[tuple[int, Drawn]]] = {}

    def run(self, presence: Presence, stopping: threading.Event, progress: Callable[[int], None]) -> None:
        """Send until the plan's end, or until told to stop; then wait for what is under way."""
        for host in self._fleet.hosts:
            start_s = self._fleet.plan.start_s
            delay_s = float(self._random.uniform(0.05, SLOWEST_CLOSE_S))
            heapq.heappush(self._due, (start_s + WINDOW_S + delay_s, host.number, start_s))
        while self._due and not stopping.is_set():
            wait_s = min(self._due[0][0] - time.time(), 0.5)
            if wait_s > 0:
                self._pusher.look(wait_s)
            else:
                self._send(*heapq.heappop(self._due))
            presence.beat(time.time())
            progress(int(time.time()))
        self._pusher.finish()

    def _send(self, due_s: float, number: int, start_s: int) -> None:
        host = self._fleet.hosts[number]
        run = host.run_at(start_s)
        last = start_s + 2 * WINDOW_S > self._fleet.plan.end_s
        if run and host.is_away(int(due_s)) and not last:
            self._totals.late += 1
            self._waiting.setdefault(number, []).append((start_s, self._window(host, start_s)))
        else:
            for late_s, drawn in self._waiting.pop(number, []):
                self._push(host, host.run_at(late_s), late_s, drawn)
            if run:
                self._push(host, run, start_s, self._window(host, start_s))
        if not last:
            heapq.heappush(self._due, (due_s + WINDOW_S, number, start_s + WINDOW_S))

    def _push(self, host: Host, run: Run | None, start_s: int, drawn: Drawn) -> None:
        assert run, "only windows of a run are drawn"
        out = self._agents.outgoing(host, run, drawn, start_s)
        out.repeats = int(self._random.random() < REPEATED_SHARE)
        self._pusher.push(out)

    def _window(self, host: Host, start_s: int) -> Drawn:
        """The host's window, drawn with those that follow."""
        drawn = self._drawn.get(host.number, [])
        if not drawn or drawn[0][0] != start_s:
            starts = [start_s + place * WINDOW_S for place in range(AHEAD)]
            drawn = list(zip(starts, self._drawer.draw(host, start_s, AHEAD), strict=True))
        self._drawn[host.number] = drawn[1:]
        return drawn[0][1]
