"""fleetprof.v1.AgentService: registration and heartbeats of agents (see fleetprof/v1/agent.proto)."""

import logging
import time
from collections.abc import Callable

import grpc

from collector.agents.checking import check_heartbeat, check_registration
from collector.agents.registry import AgentRegistry
from collector.agents.state import Registration
from collector.ingest.loss_ledger import LossLedger
from collector.ingest.refusal import Later, Refused
from fleetprof import __version__
from fleetprof.losses import DropReason
from fleetprof.protocol import HEARTBEAT_S, PROTOCOL_VERSION
from fleetprof.v1 import agent_pb2, agent_pb2_grpc

log = logging.getLogger("fleetprof.agents")

HEARTBEAT_MS = round(HEARTBEAT_S * 1000)

_Registered = agent_pb2.RegisterResponse
_Beaten = agent_pb2.HeartbeatResponse


class AgentService(agent_pb2_grpc.AgentServiceServicer):
    """Answers agents out of the registry; `heartbeat_ms` is the pace that they are asked to keep."""

    def __init__(
        self,
        registry: AgentRegistry,
        ledger: LossLedger,
        heartbeat_ms: int = HEARTBEAT_MS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._registry = registry
        self._ledger = ledger
        self._heartbeat_ms = heartbeat_ms
        self._clock = clock

    def Register(self, request: agent_pb2.RegisterRequest, context: grpc.ServicerContext) -> _Registered:
        """Accept an agent, or refuse it and say why."""
        try:
            registration = check_registration(request, self._clock())
            is_news = self._registry.register(registration)
        except Refused as refused:
            self._ledger.count(refused.reason)
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, refused.message)
        except Later as later:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, later.message)
        if registration.refused_because:
            self._ledger.count(DropReason.PROTOCOL_VERSION, registration.host)
        if is_news:
            _tell(registration)
        return _Registered(
            status=_Registered.STATUS_REFUSED
            if registration.refused_because
            else _Registered.STATUS_ACCEPTED,
            reason=registration.refused_because,
            protocol_version=PROTOCOL_VERSION,
            server_unix_ns=self._now_ns(),
            heartbeat_interval_ms=self._heartbeat_ms,
            collector_version=__version__,
        )

    def Heartbeat(self, request: agent_pb2.HeartbeatRequest, context: grpc.ServicerContext) -> _Beaten:
        """Keep the agent's state, or ask it to register."""
        try:
            beat = check_heartbeat(request, self._clock())
        except Refused as refused:
            self._ledger.count(refused.reason)
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, refused.message)
        known = self._registry.heartbeat(request.agent_id, request.run_id, beat)
        return _Beaten(
            status=_Beaten.STATUS_OK if known else _Beaten.STATUS_REGISTER,
            server_unix_ns=self._now_ns(),
            heartbeat_interval_ms=self._heartbeat_ms,
        )

    def _now_ns(self) -> int:
        return round(self._clock() * 1e9)


def _tell(registration: Registration) -> None:
    if registration.refused_because:
        log.warning(
            "Refused the agent on host %s (%s): %s",
            registration.host, registration.agent_id, registration.refused_because,
        )  # fmt: skip
    else:
        log.info(
            "Agent %s on host %s registered: %d CPUs, backend %s, kernel %s.",
            registration.agent_version, registration.host, registration.cpu_count, registration.backend,
            registration.kernel,
        )  # fmt: skip
