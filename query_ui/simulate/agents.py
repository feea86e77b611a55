"""Simulated agents' requests: what a real one would send, with the definitions the collector lacks."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agent.encode import encode_definitions, encode_window
from agent.run_numbers import Encoded, RunNumbers
from fleetprof import __version__
from fleetprof.protocol import PROTOCOL_VERSION
from fleetprof.v1 import agent_pb2, ingest_pb2
from query_ui.simulate.draw import Drawn
from query_ui.simulate.fleet import WINDOW_S, Fleet, Host, Run
from query_ui.simulate.totals import Sums

_KERNELS = ("5.15.0-1052-aws", "6.1.0-18-amd64", "6.8.0-45-generic")


@dataclass(slots=True)
class Outgoing:
    """One window on its way, and what is needed to send it again."""

    host: Host
    drawn: Drawn
    data: bytes
    sums: Sums
    sequence: int
    run_id: int
    numbered: Encoded | None = None
    """What it gives numbers, where it uses any."""
    attempts: int = 0
    repeats: int = 0
    """How often it is to be sent again although it was acknowledged, as after an answer that was lost."""


class Agents:
    """Makes the requests of all hosts' agents."""

    def __init__(self, fleet: Fleet, long_running: bool = False) -> None:
        """`long_running`: what one agent defined counts as defined by all, as after days of their running.

        Else each run of an agent defines all that it refers to, as real ones do after their start, and numbers its
        stacks.
        """
        self._fleet = fleet
        self._by_all = self._nothing() if long_running else None
        self._runs: dict[int, int] = {}
        self._series: dict[int, set[int]] = {}
        self._numbers: dict[int, RunNumbers] = {}
        self.definitions = 0
        """How many stacks were defined, over and over for each agent."""

    def outgoing(self, host: Host, run: Run, drawn: Drawn, start_s: int) -> Outgoing:
        """The request of a window of `run`, with the definitions that this agent did not send before."""
        if self._runs.get(host.number) != run.run_id:
            self._runs[host.number] = run.run_id
            host.confirmed = self._nothing() if self._by_all is None else self._by_all
            self._series[host.number] = set()
            self._numbers[host.number] = RunNumbers()
        known = self._series[host.number]
        series = set(drawn.window.series_ids) - known
        known |= series
        places = np.flatnonzero(~host.confirmed[drawn.numbers])
        host.confirmed[drawn.numbers] = True
        sequence = (start_s - run.start_s) // WINDOW_S + 1
        out = Outgoing(host, drawn, b"", Sums.of(drawn.window), sequence, run.run_id)
        self._encode(
            out, places.tolist(), series, self._numbers[host.number] if self._by_all is None else None
        )
        return out

    def answered(self, out: Outgoing, answer: ingest_pb2.PushResponse) -> None:
        """The collector has the window."""
        if out.numbered and self._runs.get(out.host.number) == out.run_id:
            self._numbers[out.host.number].answered(out.numbered, answer)

    def _nothing(self) -> npt.NDArray[np.bool_]:
        """By number of stack: only the empty one is known."""
        confirmed = np.zeros(len(self._fleet.book), np.bool_)
        confirmed[0] = True
        return confirmed

    def answer_lack(self, out: Outgoing, stacks: set[int], series: set[int]) -> None:
        """Encode a window again, with the definitions that the collector asked for."""
        places = [place for place, number in enumerate(out.drawn.window.stack_ids) if number in stacks]
        self._numbers[out.host.number].forget()
        self._encode(out, places, series)

    def _encode(
        self, out: Outgoing, places: list[int], series: set[int], numbers: RunNumbers | None = None
    ) -> None:
        window, host = out.drawn.window, out.host
        defining = out.drawn.defining(self._fleet.book, places)
        stacks = set(defining.stack_ids)
        self.definitions += len(places)
        out.numbered = numbers.encode(window, host.name, defining, stacks, series) if numbers else None
        request = ingest_pb2.PushRequest(
            protocol_version=PROTOCOL_VERSION,
            agent_id=host.agent_id,
            run_id=out.run_id,
            sequence=out.sequence,
            window=out.numbered.window if out.numbered else encode_window(window, host.name),
        )
        if out.numbered:
            request.definitions.CopyFrom(out.numbered.definitions)
        elif places or series:
            request.definitions.CopyFrom(encode_definitions(defining, stacks, series))
        out.data = request.SerializeToString()


def registration(host: Host, run: Run) -> agent_pb2.RegisterRequest:
    """What the host's agent tells of itself when it starts."""
    return agent_pb2.RegisterRequest(
        protocol_version=PROTOCOL_VERSION,
        agent_id=host.agent_id,
        run_id=run.run_id,
        host=host.name,
        agent_version=__version__,
        kernel=_KERNELS[host.number % len(_KERNELS)],
        architecture="x86_64",
        cpu_count=host.cpu_count,
        memory_bytes=host.cpu_count * 4 << 30,
        backend="core",
        hooks=[agent_pb2.Hook(name="sched", available=True, is_program=True)],
        started_unix_ns=run.start_s * 10**9,
    )


def heartbeat(
    host: Host, run: Run, now_s: float, closed: int, acknowledged: int
) -> agent_pb2.HeartbeatRequest:
    """What the host's agent tells of how it fares; `closed` and `acknowledged` count its run's windows."""
    return agent_pb2.HeartbeatRequest(
        agent_id=host.agent_id,
        run_id=run.run_id,
        clock_unix_ns=round((now_s + host.skew_s) * 1e9),
        cost=ingest_pb2.AgentCost(
            cpu_ns=closed * 40_000_000, bpf_ns=closed * 8_000_000, rss_bytes=60 << 20, map_bytes=12 << 20
        ),
        queue_windows=max(closed - acknowledged, 0),
        windows_closed=closed,
        windows_acknowledged=acknowledged,
    )
