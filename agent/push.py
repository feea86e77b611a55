"""Pushes one window, with the definitions that the collector lacks, and says what became of it."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import grpc

from agent.aggregate import ClosedWindow
from agent.connection import Connection
from agent.encode import encode_definitions, encode_window
from agent.pushback import asked_s
from agent.run_numbers import RunNumbers
from fleetprof.losses import DropReason, Losses
from fleetprof.protocol import PROTOCOL_VERSION
from fleetprof.v1 import ingest_pb2, ingest_pb2_grpc

log = logging.getLogger("fleetprof.ship")

PUSH_TIMEOUT_S = 20.0
WINDOW = "a window"
MAX_CONFIRMED = 500_000
"""Ids remembered as known to the collector (8 MB); past it they are defined again."""

_FINAL_CODES = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.UNIMPLEMENTED,
}

_Status = ingest_pb2.PushResponse


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends: the agent, its run, and the host's name."""

    agent_id: str
    run_id: int
    host: str


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """What the collector has taken in this run: how many windows, and the newest one's start (0: none)."""

    windows: int = 0
    newest_start_unix_ns: int = 0
    at_s: float = 0.0
    """When the last answer came, Unix seconds; 0 for never."""


class Outcome(NamedTuple):
    """How a push went: `done` with the window (stored, or refused for good), else when to try again."""

    done: bool
    asked_s: float = 0.0
    """The pause that the collector asks for; 0 where it does not say."""


DONE = Outcome(done=True)


class Pusher:
    """Belongs to one thread, but for `acknowledged`, `take_losses` and `end`."""

    def __init__(self, connection: Connection, sender: Sender) -> None:
        self._connection, self._sender = connection, sender
        self._stacks: set[int] = {0}
        self._series: set[int] = set()
        self._numbers = RunNumbers()
        self._lock = threading.Lock()
        self._losses = Losses()
        self._ended = False
        self.acknowledged = Acknowledged()

    def take_losses(self) -> Losses:
        """The windows refused for good since the last call."""
        with self._lock:
            losses, self._losses = self._losses, Losses()
            return losses

    def end(self) -> None:
        """Failures from now on are the agent's own end: they are not logged."""
        self._ended = True

    def push(self, sequence: int, window: ClosedWindow) -> Outcome:
        """Push a window of this run."""
        return self._guarded(lambda: self._push(sequence, window))

    def push_requests(self, requests: Sequence[ingest_pb2.PushRequest]) -> list[Outcome]:
        """Push requests that hold all of their definitions, of any run, at the same time; how each went.

        A collector answers when what was pushed is stored, with what others pushed meanwhile: one after the other
        would wait for one batch each.
        """
        return [self._guarded(answer) for answer in [self._begin(request) for request in requests]]

    def whole_request(self, sequence: int, window: ClosedWindow) -> ingest_pb2.PushRequest:
        """The request of a window with all of its definitions, for `push_requests` at any time."""
        definitions = encode_definitions(window, set(window.stack_ids), set(window.series_ids))
        return self._request(sequence, encode_window(window, self._sender.host), definitions)

    def _guarded(self, push: Callable[[], Outcome]) -> Outcome:
        try:
            return push()
        except grpc.RpcError as error:
            return self._failed(error)
        except (ValueError, grpc.FutureCancelledError) as error:
            # The channel was closed, or replaced for new certificates.
            log.debug("Push ended: %s", error)
            return Outcome(done=False)

    def _push(self, sequence: int, window: ClosedWindow) -> Outcome:
        stacks = set(window.stack_ids) - self._stacks
        series = set(window.series_ids) - self._series
        answer = self._push_numbered(sequence, window, stacks, series)
        for _ in range(3):  # a collector may forget between two answers, but not for ever
            if answer.status != _Status.STATUS_NEED_DEFINITIONS:
                self._confirmed(window)
                return DONE
            if answer.unknown_stacks or answer.unknown_series:
                stacks, series = set(answer.unknown_stacks), set(answer.unknown_series)
            self._stacks -= stacks
            self._series -= series
            content = encode_window(window, self._sender.host)
            answer = self._send(self._request(sequence, content, encode_definitions(window, stacks, series)))
        return self._never_satisfied()

    def _push_numbered(
        self, sequence: int, window: ClosedWindow, stacks: set[int], series: set[int]
    ) -> ingest_pb2.PushResponse:
        """Push a window with numbers for what the collector holds numbers of."""
        sent = self._numbers.encode(window, self._sender.host, window, stacks, series)
        try:
            answer = self._send(self._request(sequence, sent.window, sent.definitions))
        except grpc.RpcError as error:
            if not sent.uses_numbers or error.code() != grpc.StatusCode.INVALID_ARGUMENT:
                raise
            # An older collector, which knows of no numbers, has taken the place of the one that held them.
            answer = ingest_pb2.PushResponse(status=_Status.STATUS_NEED_DEFINITIONS)
        if answer.status == _Status.STATUS_NEED_DEFINITIONS:
            self._numbers.forget()
        else:
            self._numbers.answered(sent, answer)
        return answer

    def _begin(self, request: ingest_pb2.PushRequest) -> Callable[[], Outcome]:
        """Begin to push a whole request; what is returned waits for its end, and raises as `_send` does."""
        try:
            call = self._stub().Push.future(
                request, timeout=PUSH_TIMEOUT_S, compression=grpc.Compression.Gzip
            )
        except ValueError as error:
            log.debug("Push ended: %s", error)
            return lambda: Outcome(done=False)

        def end() -> Outcome:
            answer: ingest_pb2.PushResponse = call.result()
            self._connection.worked()
            if answer.status == _Status.STATUS_NEED_DEFINITIONS:
                return self._never_satisfied()
            own = request.run_id == self._sender.run_id
            self._taken(request.window.start_unix_ns if own else 0, int(own))
            return DONE

        return end

    def _never_satisfied(self) -> Outcome:
        log.warning("The collector asks again and again for definitions it was sent; trying later.")
        return Outcome(done=False)

    def _request(
        self, sequence: int, window: ingest_pb2.Window, definitions: ingest_pb2.Definitions
    ) -> ingest_pb2.PushRequest:
        return ingest_pb2.PushRequest(
            protocol_version=PROTOCOL_VERSION,
            agent_id=self._sender.agent_id,
            run_id=self._sender.run_id,
            sequence=sequence,
            window=window,
            definitions=definitions,
        )

    def _send(self, request: ingest_pb2.PushRequest) -> ingest_pb2.PushResponse:
        # A third of the bytes for some 0.5 ms a window: names in definitions repeat.
        answer: ingest_pb2.PushResponse = self._stub().Push(
            request, timeout=PUSH_TIMEOUT_S, compression=grpc.Compression.Gzip
        )
        self._connection.worked()
        return answer

    def _stub(self) -> Any:
        return ingest_pb2_grpc.IngestServiceStub(self._connection.channel)  # type: ignore[no-untyped-call]

    def _confirmed(self, window: ClosedWindow) -> None:
        if len(self._stacks) > MAX_CONFIRMED:
            self._stacks = {0}
            self._series.clear()
        self._stacks.update(window.stack_ids)
        self._series.update(window.series_ids)
        self._taken(window.times.start_unix_ns, 1)

    def _taken(self, start_unix_ns: int, windows: int) -> None:
        self._connection.accepted(WINDOW)
        done = self.acknowledged
        newest = max(done.newest_start_unix_ns, start_unix_ns)
        self.acknowledged = Acknowledged(done.windows + windows, newest, time.time())

    def _failed(self, error: grpc.RpcError) -> Outcome:
        if error.code() in _FINAL_CODES:
            self._connection.refused(WINDOW, f"{error.details()} ({error.code().name})")
            with self._lock:
                self._losses[DropReason.REJECTED] += 1
            return DONE
        if not self._ended:
            self._connection.failed(error)
        return Outcome(done=False, asked_s=asked_s(error))
