"""Sends closed windows to the collector, in order, each until it is stored.

A window leaves the queue only when the collector has answered that it is stored (or was stored before), or
refuses it for good. While the collector is away windows wait in a bounded queue; the oldest is dropped first,
and counted.
"""

import logging
import random
import threading
from collections import deque
from dataclasses import dataclass

import grpc

from agent.aggregate import ClosedWindow
from agent.encode import PROTOCOL_VERSION, encode_definitions, encode_window
from fleetprof.losses import DropReason, Losses
from fleetprof.v1 import ingest_pb2, ingest_pb2_grpc

log = logging.getLogger("fleetprof.ship")

PUSH_TIMEOUT_S = 20.0
FIRST_BACKOFF_S = 0.25
LONGEST_BACKOFF_S = 10.0
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


class Shipper:
    """Owns the channel to the collector and a thread that pushes."""

    def __init__(self, address: str, sender: Sender, queue_limit: int) -> None:
        self._address = address
        self._sender = sender
        self._queue: deque[tuple[int, ClosedWindow]] = deque()
        self._limit = queue_limit
        self._sequence = 0
        self._losses = Losses()
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._stacks: set[int] = {0}
        self._series: set[int] = set()
        self._away = False
        self._channel = grpc.insecure_channel(
            address, options=[("grpc.max_reconnect_backoff_ms", 5000), ("grpc.enable_http_proxy", 0)]
        )
        self._stub = ingest_pb2_grpc.IngestServiceStub(self._channel)  # type: ignore[no-untyped-call]
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

    def take_losses(self) -> Losses:
        """What was dropped since the last call."""
        with self._changed:
            losses, self._losses = self._losses, Losses()
            return losses

    def close(self, flush_s: float) -> int:
        """Try for `flush_s` seconds to send what waits, then stop; returns the number of windows left."""
        with self._changed:
            self._changed.wait_for(lambda: not self._queue, timeout=flush_s)
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        self._channel.close()
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
        except ValueError as error:  # the channel was closed by close()
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
        answer: ingest_pb2.PushResponse = self._stub.Push(request, timeout=PUSH_TIMEOUT_S)
        return answer

    def _confirmed(self, window: ClosedWindow) -> None:
        if len(self._stacks) > MAX_CONFIRMED:
            self._stacks = {0}
            self._series.clear()
        self._stacks.update(window.stack_ids)
        self._series.update(window.series_ids)
        if self._away:
            log.info("Collector %s is back; %d windows to send.", self._address, len(self._queue) - 1)
            self._away = False

    def _failed(self, error: grpc.RpcError) -> bool:
        code, details = error.code(), error.details()
        if code in _FINAL_CODES:
            log.error("Collector %s refused a window: %s (%s).", self._address, details, code.name)
            with self._changed:
                self._losses[DropReason.REJECTED] += 1
            return True
        if not self._away and not self._stopping.is_set():
            log.warning(
                "Collector %s does not answer (%s). Windows wait in memory, up to %d of them; retrying.",
                self._address,
                details or code.name,
                self._limit,
            )
            self._away = True
        return False
