"""Sends the past of a fleet as fast as the collector takes it: hour after hour, all hosts together."""

from collections.abc import Callable, Iterator

import numpy as np

from query_ui.simulate.agents import Agents
from query_ui.simulate.draw import Drawer
from query_ui.simulate.fleet import WINDOW_S, Fleet, Host
from query_ui.simulate.push import Pusher
from query_ui.simulate.totals import Totals

CHUNK_S = 300
"""So much of a host is drawn at once."""
REPEATED_SHARE = 0.005
"""Windows that are sent again although they were acknowledged, as agents do when an answer was lost."""


def send_history(
    fleet: Fleet, pusher: Pusher, agents: Agents, totals: Totals, progress: Callable[[int], None]
) -> None:
    """Push every window of the plan and wait until all are answered; `progress` is told the time reached."""
    drawer, random = Drawer(fleet), np.random.default_rng(fleet.plan.seed + 2)
    for host, start_s, count, late in _chunks(fleet):
        run = host.run_at(start_s)
        if run is None:
            continue
        count = min(count, (run.end_s - start_s) // WINDOW_S)
        repeated = random.random(count) < REPEATED_SHARE
        for place, drawn in enumerate(drawer.draw(host, start_s, count)):
            out = agents.outgoing(host, run, drawn, start_s + place * WINDOW_S)
            out.repeats = int(repeated[place])
            totals.late += late
            pusher.push(out)
        pusher.look()
        progress(start_s)
    pusher.finish()


def _chunks(fleet: Fleet) -> Iterator[tuple[Host, int, int, bool]]:
    """(host, start, windows, whether they come late): what waited while a host was away comes when it is back."""
    waiting: dict[int, list[tuple[int, int]]] = {}
    start_s, end_s = fleet.plan.start_s, fleet.plan.end_s
    for chunk_s in range(start_s, end_s, CHUNK_S):
        for host in fleet.hosts:
            parts = _parts(host, chunk_s, min(chunk_s + CHUNK_S, end_s))
            if host.is_away(chunk_s) and chunk_s + CHUNK_S < end_s:
                waiting.setdefault(host.number, []).extend(parts)
                continue
            for start, count in waiting.pop(host.number, []):
                yield host, start, count, True
            for start, count in parts:
                yield host, start, count, False


def _parts(host: Host, start_s: int, end_s: int) -> list[tuple[int, int]]:
    """(start, windows) of the lives of a host's agent between two times."""
    found = []
    for run in host.runs:
        first, last = max(run.start_s, start_s), min(run.end_s, end_s)
        if first < last:
            found.append((first, (last - first) // WINDOW_S))
    return found
