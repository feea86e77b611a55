"""The collector's gRPC server: fleetprof.v1.IngestService and AgentService, health checking, reflection."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from collector.agents.service import AgentService
from collector.come_later import abort_for_now
from collector.debuginfo.offer_service import NAME as OFFER_SERVICE
from collector.debuginfo.offer_service import DebugOfferService
from collector.debuginfo.service import NAME as DEBUGINFO_SERVICE
from collector.debuginfo.service import DebugInfoService
from collector.ingest.limits import Limits
from collector.ingest.refusal import Later, Refused
from collector.metrics import PushMetrics
from collector.pipeline import Pipeline
from collector.port_owner import port_owner
from collector.receivers.grpc_services import SERVICES as FOREIGN_SERVICES
from collector.server_tls import ServerCertificates
from fleetprof.errors import UnavailableError
from fleetprof.setting_kinds import Address
from fleetprof.v1 import agent_pb2, agent_pb2_grpc, debuginfo_pb2_grpc, ingest_pb2

SERVICE = "fleetprof.v1.IngestService"
AGENT_SERVICE = agent_pb2.DESCRIPTOR.services_by_name["AgentService"].full_name
LOOPBACK = Address("127.0.0.1", 0)
WORKERS = 1024
"""Requests handled at a time. Each waits for its batch: while one is stored, the next one gathers."""
CALLS = 4 * WORKERS
"""Calls that are open at a time, most of them not read yet; gRPC answers RESOURCE_EXHAUSTED to others."""
_ABOVE_LIMIT = 1 << 20
"""By so much gRPC takes larger messages than we do, so that we can refuse and count them."""


class Running:
    """A server that listens. `stop` ends it.

    `local_port` is a second port without TLS, on the loopback address; 0 for none.
    """

    def __init__(
        self, server: grpc.Server, checks: health.HealthServicer, port: int, local_port: int = 0
    ) -> None:
        self._server = server
        self._checks = checks
        self.port = port
        self.local_port = local_port

    def stop(self, grace_s: float) -> None:
        """Refuse new requests, give those under way `grace_s`, and close the port."""
        self._checks.enter_graceful_shutdown()
        self._server.stop(grace_s).wait()


def serve(
    pipeline: Pipeline,
    address: Address,
    limits: Limits,
    agents: AgentService | None = None,
    pushes: PushMetrics | None = None,
    certificates: ServerCertificates | None = None,
    local: bool = False,
    foreign: Sequence[grpc.GenericRpcHandler] = (),
    interceptors: Sequence[grpc.ServerInterceptor] = (),
    debuginfo: DebugInfoService | None = None,
    offers: DebugOfferService | None = None,
) -> Running:
    """Listen at `address` (port 0: any free one), with TLS where there are `certificates`.

    `foreign` are the handlers of other protocols (collector/receivers). `local` adds a port without TLS for an
    agent of this machine; `interceptors` see each call first. Raises UnavailableError when an address cannot
    be had.
    """
    server = grpc.server(
        ThreadPoolExecutor(WORKERS, thread_name_prefix="push"),
        interceptors=[*([certificates.connections] if certificates else []), *interceptors],
        options=[
            ("grpc.max_receive_message_length", limits.message_bytes + _ABOVE_LIMIT),
            ("grpc.so_reuseport", 0),
        ],
        maximum_concurrent_rpcs=CALLS,
    )
    checks = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    push: grpc.RpcMethodHandler[bytes, ingest_pb2.PushResponse]
    push = grpc.unary_unary_rpc_method_handler(_push(pipeline, pushes), None, _serialize)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Push": push}),))
    served = [SERVICE]
    if foreign:
        server.add_generic_rpc_handlers(tuple(foreign))
        served += FOREIGN_SERVICES
    if agents:
        agent_pb2_grpc.add_AgentServiceServicer_to_server(agents, server)  # type: ignore[no-untyped-call]
        served.append(AGENT_SERVICE)
    if debuginfo:
        debuginfo_pb2_grpc.add_DebugInfoServiceServicer_to_server(debuginfo, server)  # type: ignore[no-untyped-call]
        served.append(DEBUGINFO_SERVICE)
    if offers:
        debuginfo_pb2_grpc.add_DebugOfferServiceServicer_to_server(offers, server)  # type: ignore[no-untyped-call]
        served.append(OFFER_SERVICE)
    names = (*served, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    port = _bind(server, address, certificates)
    local_port = _bind(server, LOOPBACK, None) if local else 0
    server.start()
    for name in ("", *served):
        checks.set(name, health_pb2.HealthCheckResponse.SERVING)
    return Running(server, checks, port, local_port)


def _bind(server: grpc.Server, address: Address, certificates: ServerCertificates | None) -> int:
    try:
        if certificates:
            port = server.add_secure_port(str(address), certificates.credentials())
        else:
            port = server.add_insecure_port(str(address))
    except RuntimeError as error:
        port, reason = 0, str(error)
    else:
        reason = ""
    if port:
        return port
    if "in use" in reason or "Failed to bind" in reason:
        raise UnavailableError(
            f"Cannot listen on {address}: port {address.port} is taken by {port_owner(address.port)}.",
            "Stop it, or choose another address (--grpc, FLEETPROF_GRPC).",
        )
    raise UnavailableError(
        f"Cannot listen on {address}: {reason or 'the address is not one of this machine'}.",
        "Choose another address (--grpc, FLEETPROF_GRPC).",
    )


def _serialize(response: ingest_pb2.PushResponse) -> bytes:
    return response.SerializeToString()


_RESULTS = {
    ingest_pb2.PushResponse.STATUS_ACCEPTED: "accepted",
    ingest_pb2.PushResponse.STATUS_DUPLICATE: "duplicate",
    ingest_pb2.PushResponse.STATUS_NEED_DEFINITIONS: "need_definitions",
}


def _push(
    pipeline: Pipeline, pushes: PushMetrics | None
) -> Callable[[bytes, grpc.ServicerContext], ingest_pb2.PushResponse]:
    """The handler of Push. It takes bytes, so that what is no request is counted and answered too."""

    def count(result: str, began_s: float) -> None:
        if pushes:
            pushes.count(result, time.monotonic() - began_s)

    def push(data: bytes, context: grpc.ServicerContext) -> ingest_pb2.PushResponse:
        began_s = time.monotonic()
        try:
            answer = pipeline.push(data)
        except Refused as refused:
            count("refused", began_s)
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, refused.message)
        except Later as later:
            count("later", began_s)
            abort_for_now(context, later)
        count(_RESULTS[answer.status], began_s)
        return answer

    return push
