"""Registers the agent with its collector and sends heartbeats, on a thread of its own.

Neither holds up sampling: what fails is tried again with growing pauses, and windows go on meanwhile.
"""

import logging
import random
import threading
import time
from collections.abc import Callable
from enum import Enum, auto

import grpc

from agent.connection import Connection
from agent.push import Acknowledged, Sender
from agent.totals import Totals
from fleetprof.protocol import HEARTBEAT_S
from fleetprof.v1 import agent_pb2, agent_pb2_grpc, ingest_pb2

log = logging.getLogger("fleetprof.heartbeat")

CALL_TIMEOUT_S = 10.0
FIRST_BACKOFF_S = 1.0
LONGEST_BACKOFF_S = 60.0
REFUSED_PAUSE_S = 300.0
"""A refusal mends itself only when the collector or the agent is replaced."""
SKEW_S = 5.0
"""A clock that is wrong by more puts windows where nobody looks for them."""

REGISTRATION = "this agent"

_Registered = agent_pb2.RegisterResponse
_Beaten = agent_pb2.HeartbeatResponse


class Outcome(Enum):
    """How a call went."""

    DONE = auto()
    REGISTER = auto()
    """The collector wants a registration first."""
    REFUSED = auto()
    FAILED = auto()


class Heartbeat:
    """Registers, then beats until closed.

    `describe` makes the registration, on the thread, since it may take time; `totals`, `waiting` and
    `acknowledged` are read at each beat.
    """

    def __init__(
        self,
        connection: Connection,
        sender: Sender,
        describe: Callable[[], agent_pb2.RegisterRequest],
        totals: Callable[[], Totals],
        waiting: Callable[[], int],
        acknowledged: Callable[[], Acknowledged],
    ) -> None:
        self._connection, self._sender = connection, sender
        self._describe = describe
        self._totals, self._waiting, self._acknowledged = totals, waiting, acknowledged
        self._request: agent_pb2.RegisterRequest | None = None
        self._pause_s = HEARTBEAT_S
        self._skewed = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    def close(self, last: bool = True) -> None:
        """End; with `last` tell the collector the final state first, in one attempt."""
        self._stopping.set()
        self._thread.join(CALL_TIMEOUT_S)
        if last:
            self._attempt(self._beat)

    def _run(self) -> None:
        backoff_s, registered = FIRST_BACKOFF_S, False
        while not self._stopping.is_set():
            outcome = self._attempt(self._beat if registered else self._register)
            registered = outcome is Outcome.DONE
            if outcome is Outcome.DONE:
                backoff_s, pause_s = FIRST_BACKOFF_S, self._pause_s
            elif outcome is Outcome.REFUSED:
                pause_s = REFUSED_PAUSE_S
            elif outcome is Outcome.REGISTER:
                pause_s = FIRST_BACKOFF_S  # a thousand agents ask at once after the collector's start
            else:
                pause_s, backoff_s = backoff_s, min(2 * backoff_s, LONGEST_BACKOFF_S)
            self._stopping.wait(pause_s * random.uniform(0.8, 1.0))

    def _attempt(self, call: Callable[[], Outcome]) -> Outcome:
        self._connection.renew()
        try:
            outcome = call()
            self._connection.worked()
            return outcome
        except grpc.RpcError as error:
            return self._failed(error)
        except ValueError as error:  # the channel was closed, or replaced for new certificates
            log.debug("Heartbeat ended: %s", error)
            return Outcome.FAILED

    def _failed(self, error: grpc.RpcError) -> Outcome:
        code = error.code()
        if code == grpc.StatusCode.UNIMPLEMENTED:
            why = "it does not know registration, being older than this agent; windows are sent all the same."
            self._connection.refused(REGISTRATION, why)
            return Outcome.REFUSED
        if code == grpc.StatusCode.INVALID_ARGUMENT:
            self._connection.refused(REGISTRATION, str(error.details()))
            return Outcome.REFUSED
        if not self._stopping.is_set():
            self._connection.failed(error)
        return Outcome.FAILED

    def _register(self) -> Outcome:
        if self._request is None:
            self._request = self._describe()
        answer: _Registered = self._stub().Register(self._request, timeout=CALL_TIMEOUT_S)
        if answer.status != _Registered.STATUS_ACCEPTED:
            self._connection.refused(REGISTRATION, answer.reason or "it gives no reason.")
            return Outcome.REFUSED
        self._connection.accepted(REGISTRATION)
        self._keep_pace(answer.heartbeat_interval_ms)
        log.info("Registered with collector %s.", self._connection.address)
        return Outcome.REGISTER if self._stopping.is_set() else self._beat()

    def _beat(self) -> Outcome:
        sent_s, began_s = time.time(), time.monotonic()
        answer: _Beaten = self._stub().Heartbeat(self._heartbeat(sent_s), timeout=CALL_TIMEOUT_S)
        self._compare_clocks(sent_s, time.monotonic() - began_s, answer.server_unix_ns / 1e9)
        self._keep_pace(answer.heartbeat_interval_ms)
        return Outcome.REGISTER if answer.status == _Beaten.STATUS_REGISTER else Outcome.DONE

    def _heartbeat(self, now_s: float) -> agent_pb2.HeartbeatRequest:
        totals, done = self._totals(), self._acknowledged()
        cost = totals.cost
        return agent_pb2.HeartbeatRequest(
            agent_id=self._sender.agent_id,
            run_id=self._sender.run_id,
            clock_unix_ns=round(now_s * 1e9),
            cost=ingest_pb2.AgentCost(
                cpu_ns=cost.cpu_ns, bpf_ns=cost.bpf_ns, rss_bytes=cost.rss_bytes, map_bytes=cost.map_bytes
            ),
            losses=[
                ingest_pb2.Loss(reason=int(reason), count=count)  # type: ignore[arg-type]
                for reason, count in sorted(totals.losses.items())
            ],
            queue_windows=self._waiting(),
            acknowledged_start_unix_ns=done.newest_start_unix_ns,
            windows_closed=totals.windows,
            windows_acknowledged=done.windows,
        )

    def _compare_clocks(self, sent_s: float, round_trip_s: float, server_s: float) -> None:
        """Warn when this host's clock differs from the collector's, and when it does no more."""
        skew_s = sent_s + round_trip_s / 2 - server_s
        skewed = abs(skew_s) > SKEW_S
        if skewed and not self._skewed:
            log.warning(
                "This host's clock is %.1f s %s the collector's: its windows are stored at the wrong time. "
                "Synchronise both clocks (NTP).",
                abs(skew_s),
                "ahead of" if skew_s > 0 else "behind",
            )
        elif self._skewed and not skewed:
            log.info("This host's clock agrees with the collector's again.")
        self._skewed = skewed

    def _keep_pace(self, interval_ms: int) -> None:
        self._pause_s = min(max(interval_ms / 1000, 0.1), 3600.0) if interval_ms else HEARTBEAT_S

    def _stub(self) -> agent_pb2_grpc.AgentServiceStub:
        return agent_pb2_grpc.AgentServiceStub(self._connection.channel)  # type: ignore[no-untyped-call]
