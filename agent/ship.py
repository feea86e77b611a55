"""Sends closed windows to the collector, in order, each until it is stored.

A window leaves the queue only when the collector has answered that it is stored (or was stored before), or
refuses it for good. While the collector is away windows wait in a bounded queue; the oldest is dropped first,
and counted.
"""

import logging
import random
import threading
import time
from collections import deque
from dataclasses import dataclass

import grpc

from agent.aggregate import ClosedWindow
from agent.connection import Connection
from agent.encode import encode_definitions, encode_window
from fleetprof.losses import DropReason, Losses
from fleetprof.protocol import PROTOCOL_VERSION
from fleetprof.v1 import ingest_pb2, ingest_pb2_grpc

log = logging.getLogger("fleetprof.ship")

PUSH_TIMEOUT_S = 20.0
FIRST_BACKOFF_S = 0.25
LONGEST_BACKOFF_S = 10.0
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


class Shipper:
    """A queue of windows and a thread that pushes them."""

    def __init__(self, connection: Connection, sender: Sender, queue_limit: int) -> None:
        self._connection = connection
        self._sender = sender
        self._queue: deque[tuple[int, ClosedWindow]] = deque()
        self._limit = queue_limit
        self._sequence = 0
        self._losses = Losses()
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._stacks: set[int] = {0}
        self._series: set[int] = set()
        self._acknowledged = Acknowledged()
        self._thread = threading.Thread(target=self._run, name="ship", daemon=True)
        self._thread.start()

    def offer(self, window: ClosedWindow) -> None:
        """Queue a window; drops the oldest when the queue is full. Never blocks."""
        with self._changed:
            self._sequence += 1
            self._queue.append((self._sequence, window))
            if len(self._queue) > self._limit:
                self._queue.popleft()
                self._losses[DropReason.QUEUE_FULL] += 1
            self._changed.notify_all()

    @property
    def waiting(self) -> int:
        """Windows that are not acknowledged yet."""
        return len(self._queue)

    @property
    def acknowledged(self) -> Acknowledged:
        """What the collector has taken so far."""
        return self._acknowledged

    def take_losses(self) -> Losses:
        """What was dropped since the last call."""
        with self._changed:
            losses, self._losses = self._losses, Losses()
            return losses

    def flush(self, flush_s: float) -> None:
        """Wait until nothing waits to be sent, for at most `flush_s` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: not self._queue, timeout=flush_s)

    def close(self, flush_s: float) -> int:
        """Try for `flush_s` seconds to send what waits, then stop and close the connection.

        Returns the number of windows left.
        """
        self.flush(flush_s)
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        self._connection.close()
        self._thread.join(timeout=PUSH_TIMEOUT_S)
        return len(self._queue)

    def _run(self) -> None:
        backoff_s = FIRST_BACKOFF_S
        while (item := self._next()) is not None:
            if self._deliver(*item):
                backoff_s = FIRST_BACKOFF_S
                self._done(item)
            else:
                self._stopping.wait(backoff_s * random.uniform(0.5, 1.0))
                backoff_s = min(backoff_s * 2, LONGEST_BACKOFF_S)

    def _next(self) -> tuple[int, ClosedWindow] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._stopping.is_set())
            return None if self._stopping.is_set() else self._queue[0]

    def _done(self, item: tuple[int, ClosedWindow]) -> None:
        with self._changed:
            if self._queue and self._queue[0] is item:
                self._queue.popleft()
            self._changed.notify_all()

    def _deliver(self, sequence: int, window: ClosedWindow) -> bool:
        """True when the window is done with: stored, or refused for good."""
        try:
            return self._push(sequence, window)
        except grpc.RpcError as error:
            return self._failed(error)
        except ValueError as error:  # the channel was closed, or replaced for new certificates
            log.debug("Push ended: %s", error)
            return False

    def _push(self, sequence: int, window: ClosedWindow) -> bool:
        stacks = set(window.stack_ids) - self._stacks
        series = set(window.series_ids) - self._series
        message = encode_window(window, self._sender.host)
        for _ in range(3):  # a collector may forget between two answers, but not for ever
            answer = self._send(sequence, message, encode_definitions(window, stacks, series))
            if answer.status != _Status.STATUS_NEED_DEFINITIONS:
                self._confirmed(window)
                return True
            stacks, series = set(answer.unknown_stacks), set(answer.unknown_series)
            self._stacks -= stacks
            self._series -= series
        log.warning("The collector asks again and again for definitions it was sent; trying later.")
        return False

    def _send(
        self, sequence: int, window: ingest_pb2.Window, definitions: ingest_pb2.Definitions
    ) -> ingest_pb2.PushResponse:
        request = ingest_pb2.PushRequest(
            protocol_version=PROTOCOL_VERSION,
            agent_id=self._sender.agent_id,
            run_id=self._sender.run_id,
            sequence=sequence,
            window=window,
            definitions=definitions,
        )
        stub = ingest_pb2_grpc.IngestServiceStub(self._connection.channel)  # type: ignore[no-untyped-call]
        answer: ingest_pb2.PushResponse = stub.Push(request, timeout=PUSH_TIMEOUT_S)
        self._connection.worked()
        return answer

    def _confirmed(self, window: ClosedWindow) -> None:
        if len(self._stacks) > MAX_CONFIRMED:
            self._stacks = {0}
            self._series.clear()
        self._stacks.update(window.stack_ids)
        self._series.update(window.series_ids)
        self._connection.accepted(WINDOW)
        done = self._acknowledged
        newest = max(done.newest_start_unix_ns, window.times.start_unix_ns)
        self._acknowledged = Acknowledged(done.windows + 1, newest, time.time())

    def _failed(self, error: grpc.RpcError) -> bool:
        if error.code() in _FINAL_CODES:
            self._connection.refused(WINDOW, f"{error.details()} ({error.code().name})")
            with self._changed:
                self._losses[DropReason.REJECTED] += 1
            return True
        if not self._stopping.is_set():
            self._connection.failed(error)
        return False
