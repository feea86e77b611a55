"""The agents' process of bench_ingest: every host's first call, then, when told to, all of its windows.

    python -m tests.bench.ingest_agents PORT FILE max|real

It says "ready" once all first windows are stored, waits for a line, and says as JSON what it sent.
"""

import heapq
import json
import pickle
import random
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from fleetprof.v1 import ingest_pb2
from tests.bench.http2_replay import Call, Connection, Replay
from tests.bench.ingest_requests import PUSH, HostCalls

FIRST_AT_ONCE = 16
"""First windows on their way at a time: each defines thousands of stacks."""
WINDOW_S, HEARTBEAT_S = 10.0, 30.0
SPREAD_S = (0.05, 1.5)
"""When after a window's end it comes."""
LONGEST_S = 60.0
MOST_AGAIN = 2000

_STORED = {ingest_pb2.PushResponse.STATUS_ACCEPTED, ingest_pb2.PushResponse.STATUS_DUPLICATE}


@dataclass(frozen=True, slots=True)
class Sent:
    """What was sent, and what that took."""

    windows: int
    rows: int
    request_bytes: int
    """On the wire, compressed."""
    seconds: float
    cpu_s: float
    answer_ms: tuple[float, float]
    """Time to a window's answer: the middle one, and the one that 99 of 100 are below."""
    again: int
    """Calls that failed and were made again, those of first windows too."""


class Agents:
    """All hosts' agents, each with a connection and a call at a time."""

    def __init__(self, port: int, hosts: list[HostCalls]) -> None:
        self.hosts = hosts
        self.replay = Replay(("127.0.0.1", port), len(hosts), self._answered)
        self._queues: list[list[Call]] = [[] for _ in hosts]
        self._began_s = [0.0] * len(hosts)
        self._busy: set[int] = set()
        self.answer_s: list[float] = []
        self.again = 0
        """Calls that failed and were made again."""

    def send(self, number: int, calls: list[Call]) -> None:
        """Have a host make calls, after those it has yet to make."""
        self._queues[number] += calls
        if number not in self._busy:
            self._next(self.replay.connections[number])

    def settle(self, most: int = 0) -> None:
        """Wait until at most so many hosts wait for an answer."""
        while len(self._busy) > most:
            self.replay.look(LONGEST_S)
            assert self.replay.moved, "the collector does not answer"

    def _next(self, connection: Connection) -> None:
        number = connection.number
        if not self._queues[number]:
            self._busy.discard(number)
            return
        self._busy.add(number)
        self._began_s[number] = time.perf_counter()
        connection.call(self._queues[number].pop(0))

    def _answered(self, connection: Connection, call: Call, message: bytes | None) -> None:
        if self._failed(connection, call, message):
            self.again += 1
            connection.call(call)
            return
        if call.path == PUSH:
            self.answer_s.append(time.perf_counter() - self._began_s[connection.number])
        self._next(connection)

    def _failed(self, connection: Connection, call: Call, message: bytes | None) -> bool:
        """Whether to make a call again: the collector is slow, or lacks what another host is about to define."""
        why = ""
        if message is None:
            why = repr(connection.trailers)
        elif call.path == PUSH:
            answer = ingest_pb2.PushResponse.FromString(message)
            if answer.status not in _STORED:
                why = f"{len(answer.unknown_stacks)} stacks are unknown"
        assert not why or self.again < MOST_AGAIN, why
        return bool(why)


def introduce(agents: Agents) -> None:
    """Every host's first window."""
    for number, host in enumerate(agents.hosts):
        agents.send(number, [host.first])
        agents.settle(FIRST_AT_ONCE)
    agents.settle()


def send_all(agents: Agents) -> None:
    """Each host its windows, one after the other, as fast as they are taken."""
    for number, host in enumerate(agents.hosts):
        agents.send(number, host.windows)
    agents.settle()


def send_in_time(agents: Agents) -> None:
    """Windows when they come due, and heartbeats; ends when the last window's 10 s are over."""
    chance, began_s = random.Random(1), time.monotonic()
    due: list[tuple[float, int, Call]] = []
    for number, host in enumerate(agents.hosts):
        delay_s = chance.uniform(*SPREAD_S)
        due += [(WINDOW_S * place + delay_s, number, call) for place, call in enumerate(host.windows)]
        beats = int(WINDOW_S * len(host.windows) / HEARTBEAT_S) + 1
        shift_s = HEARTBEAT_S * number / len(agents.hosts)
        due += [(HEARTBEAT_S * place + shift_s, number, host.beat) for place in range(beats)]
    end_s = WINDOW_S * max(len(host.windows) for host in agents.hosts)
    heapq.heapify(due)
    while (now_s := time.monotonic() - began_s) < end_s:
        while due and due[0][0] <= now_s:
            _, number, call = heapq.heappop(due)
            agents.send(number, [call])
        agents.replay.look(max(min(due[0][0] if due else end_s, end_s) - now_s, 0.0))
    agents.settle()


def main(port: str, file: str, pace: str) -> None:
    """Both steps."""
    hosts = pickle.loads(Path(file).read_bytes())
    agents = Agents(int(port), hosts)
    introduce(agents)
    agents.answer_s.clear()
    print("ready", flush=True)
    sys.stdin.readline()
    cpu_s, began_s = time.process_time(), time.perf_counter()
    send_all(agents) if pace == "max" else send_in_time(agents)
    took = sorted(agents.answer_s)
    calls = [call for host in hosts for call in host.windows]
    found = Sent(
        windows=len(calls),
        rows=sum(sum(host.rows) for host in hosts),
        request_bytes=sum(len(call.message) for call in calls),
        seconds=time.perf_counter() - began_s,
        cpu_s=time.process_time() - cpu_s,
        answer_ms=(took[len(took) // 2] * 1000, took[len(took) * 99 // 100] * 1000),
        again=agents.again,
    )
    print(json.dumps(asdict(found)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
