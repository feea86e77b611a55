"""Pushes many agents' windows at a time over one connection, each until the collector has it or refuses it."""

import heapq
import itertools
import random
import time
from queue import Empty, SimpleQueue
from typing import Any

import grpc

from agent.connection import Connection
from agent.pushback import asked_s
from fleetprof.v1 import ingest_pb2
from query_ui.simulate.agents import Agents, Outgoing
from query_ui.simulate.totals import Totals

IN_FLIGHT = 512
"""Windows that wait for their answer at a time: two batches of what a collector handles at once."""
PUSH_TIMEOUT_S = 30.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 10.0

_FINAL_CODES = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
}
_METHOD = "/fleetprof.v1.IngestService/Push"
_Status = ingest_pb2.PushResponse


class Pusher:
    """Belongs to one thread; gRPC's own thread only hands over answers."""

    def __init__(
        self, connection: Connection, agents: Agents, totals: Totals, in_flight: int = IN_FLIGHT
    ) -> None:
        self._connection = connection
        self._agents = agents
        self._totals = totals
        self._most = in_flight
        self._waiting = 0
        self._answers: SimpleQueue[tuple[Outgoing, Any]] = SimpleQueue()
        self._again: list[tuple[float, int, Outgoing]] = []
        self._number = itertools.count()
        self._stub_channel: grpc.Channel | None = None
        self._push: Any = None

    @property
    def in_flight(self) -> int:
        """Windows that are not answered for good."""
        return self._waiting

    def push(self, out: Outgoing) -> None:
        """Send a window; waits while too many are under way."""
        while self._waiting >= self._most:
            self.look(1.0)
        self._waiting += 1
        self._send(out)

    def look(self, wait_s: float = 0.0) -> None:
        """Take in answers, at least one unless none comes for `wait_s`, and send what is due again."""
        self._send_due()
        if self._again:
            wait_s = min(wait_s, max(self._again[0][0] - time.monotonic(), 0.0))
        try:
            out, call = self._answers.get(wait_s > 0, wait_s or None)
            while True:
                self._answered(out, call)
                out, call = self._answers.get_nowait()
        except Empty:
            return

    def finish(self) -> None:
        """Wait until every window is answered for good."""
        while self._waiting:
            self.look(1.0)

    def _send(self, out: Outgoing) -> None:
        channel = self._connection.channel
        if channel is not self._stub_channel:
            self._stub_channel = channel  # no stub: the request is encoded already
            self._push = channel.unary_unary(_METHOD, None, ingest_pb2.PushResponse.FromString)
        self._totals.bytes_sent += len(out.data)
        call = self._push.future(out.data, timeout=PUSH_TIMEOUT_S)
        call.add_done_callback(lambda done: self._answers.put((out, done)))

    def _send_due(self) -> None:
        now_s = time.monotonic()
        while self._again and self._again[0][0] <= now_s:
            self._send(heapq.heappop(self._again)[2])

    def _send_later(self, out: Outgoing, pause_s: float) -> None:
        heapq.heappush(self._again, (time.monotonic() + pause_s, next(self._number), out))

    def _answered(self, out: Outgoing, call: Any) -> None:
        code = call.code()
        if code == grpc.StatusCode.OK:
            self._connection.worked()
            self._taken(out, call.result())
        elif code in _FINAL_CODES:
            self._connection.refused("a window", f"{call.details()} ({code.name})")
            self._totals.refused[code.name] += 1
            self._waiting -= 1
        else:
            self._totals.again += 1
            if not out.attempts:
                self._connection.failed(call)
            pause_s = asked_s(call) or min(FIRST_PAUSE_S * 2**out.attempts, LONGEST_PAUSE_S)
            out.attempts += 1
            self._send_later(out, pause_s * random.uniform(0.5, 1.0))

    def _taken(self, out: Outgoing, answer: ingest_pb2.PushResponse) -> None:
        if answer.status == _Status.STATUS_NEED_DEFINITIONS:
            self._totals.lacking += 1
            self._agents.answer_lack(out, set(answer.unknown_stacks), set(answer.unknown_series))
            self._send(out)
            return
        duplicate = answer.status == _Status.STATUS_DUPLICATE
        self._totals.duplicates += duplicate
        if out.repeats < 0:  # this was the repetition
            self._waiting -= 1
            return
        self._agents.answered(out, answer)
        self._totals.acknowledged(out.host.number, out.sums)
        if out.repeats:
            out.repeats = -1
            self._totals.repeats += 1
            self._send(out)
        else:
            self._waiting -= 1
