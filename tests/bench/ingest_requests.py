"""Push requests of simulated hosts, encoded and compressed as agents send them, for benches of ingest.

The fleet is the simulator's default one (20 services, 4 a host) with as many hosts as are asked for. Each host's
first request lists and numbers all stacks that the host used in the minutes before, and defines those that no other
host did, and a few more for all its frames to have numbers. The windows that follow are what its agent sends from
then on: numbers, and definitions of what it did not use before.
"""

import gzip
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fleetprof.profile_types import ProfileType
from query_ui.simulate.agents import Agents, heartbeat
from query_ui.simulate.draw import PERIOD_NS, Drawer, Drawn
from query_ui.simulate.fleet import WINDOW_S, Fleet, Host, Plan, Run, make_fleet
from query_ui.simulate.stacks import I64
from tests.bench.bench_wire import holding_all
from tests.bench.http2_replay import Call, prefixed

SERVICES = 20
PUSH = b"/fleetprof.v1.IngestService/Push"
HEARTBEAT = b"/fleetprof.v1.AgentService/Heartbeat"
_DEFLATE = 6  # as gRPC


@dataclass(frozen=True, slots=True)
class HostCalls:
    """One agent's calls, in the order in which it makes them."""

    first: Call
    windows: list[Call]
    rows: list[int]
    """Sample rows of each window."""
    beat: Call


def encode_fleet(hosts: int, windows: int, start_s: int, warm: int, scale: float = 1.0) -> list[HostCalls]:
    """Calls of `hosts` agents: a first window at `start_s` (true time), and `windows` after it.

    Stacks of the `warm` windows before the first are known. `scale` makes hosts so many times as busy as in the
    default fleet, so that windows have more rows.
    """
    plan = Plan(hosts, SERVICES, start_s - warm * WINDOW_S, start_s + (windows + 1) * WINDOW_S)
    fleet = make_fleet(plan)
    drawer, agents = Drawer(fleet), _Agents(fleet)
    return [_calls(fleet, drawer, agents, _busy(host, scale), warm, windows, start_s) for host in fleet.hosts]


class _Agents(Agents):
    """In its first window an agent defines what none did before it, and enough for all frames to have numbers.

    From then on it defines what it did not use itself.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._book = fleet.book
        self._defined = np.zeros(len(fleet.book), np.bool_)
        self._again = np.empty(0, np.int64)
        super().__init__(fleet)

    def _nothing(self) -> npt.NDArray[np.bool_]:
        confirmed = self._defined | super()._nothing()
        confirmed[self._again] = False
        return confirmed

    def meet(self, first: Drawn) -> None:
        """The next request is a host's first one."""
        seen, again = set[int](), list[int]()
        for number in first.numbers.tolist():
            frames = self._book.frame_ids[number]
            if not seen.issuperset(frames):
                seen.update(frames)
                again.append(number)
        self._again = np.array(again, np.int64)

    def introduced(self, host: Host, first: Drawn) -> None:
        """The first window was encoded."""
        host.confirmed = super()._nothing()
        host.confirmed[first.numbers] = True
        self._defined[first.numbers] = True


def _busy(host: Host, scale: float) -> Host:
    instances = [replace(each, cores=each.cores * scale) for each in host.instances]
    return replace(host, instances=instances, skew_s=0.0)


def _calls(
    fleet: Fleet, drawer: Drawer, agents: _Agents, host: Host, warm: int, windows: int, start_s: int
) -> HostCalls:
    run = Run(host.number + 1, fleet.plan.start_s, fleet.plan.end_s)
    drawn = drawer.draw(host, fleet.plan.start_s, warm + 1 + windows)
    known = np.unique(np.concatenate([each.numbers for each in drawn[:warm]]))
    sent = [_also(fleet, drawn[warm], known), *drawn[warm + 1 :]]
    calls = []
    for place, each in enumerate(sent):
        if not place:
            agents.meet(each)
        out = agents.outgoing(host, run, each, start_s + place * WINDOW_S)
        if not place:
            agents.introduced(host, each)
        agents.answered(out, holding_all(out.numbered))
        calls.append(Call(PUSH, prefixed(gzip.compress(out.data, _DEFLATE, mtime=0), compressed=True)))
    beat = heartbeat(host, run, start_s, windows, windows).SerializeToString()
    return HostCalls(
        calls[0],
        calls[1:],
        [len(each.window.rows) for each in sent[1:]],
        Call(HEARTBEAT, prefixed(beat, False)),
    )


def _also(fleet: Fleet, drawn: Drawn, known: I64) -> Drawn:
    """The window with a row of each of these stacks, too: the collector's store then has them."""
    more = np.setdiff1d(known, drawn.numbers)
    rows, count, idle = drawn.window.rows, len(more), len(drawn.window.rows) - 1

    def put(column: Any, values: Any) -> Any:  # before the row of idle time, whose series has no service
        return np.insert(column, idle, values)

    rows = replace(
        rows,
        series=put(rows.series, np.full(count, rows.series[0])),
        stack=put(rows.stack, len(drawn.numbers) + np.arange(count)),
        type=put(rows.type, np.full(count, int(ProfileType.CPU))),
        value=put(rows.value, np.full(count, PERIOD_NS)),
        captures=put(rows.captures, np.ones(count, np.int64)),
        offset_starts=put(rows.offset_starts, np.full(count, rows.offset_starts[-1])),
    )
    ids = drawn.window.stack_ids + fleet.book.ids[more].tolist()
    return Drawn(replace(drawn.window, rows=rows, stack_ids=ids), np.concatenate([drawn.numbers, more]))
