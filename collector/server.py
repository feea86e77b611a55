"""The collector's gRPC server: fleetprof.v1.IngestService and AgentService, health checking, reflection.

It is an asyncio server (collector/receivers/grpc_loop.py): a call that waits for its window to be stored takes no
thread, and an eighth less of the CPU at the pace of agents. Other services run on threads (grpc_threads.py).
"""

from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from collector.agents.service import AgentService
from collector.debuginfo.offer_service import NAME as OFFER_SERVICE
from collector.debuginfo.offer_service import DebugOfferService
from collector.debuginfo.service import NAME as DEBUGINFO_SERVICE
from collector.debuginfo.service import DebugInfoService
from collector.ingest.limits import Limits
from collector.metrics import PushMetrics
from collector.pipeline import Pipeline
from collector.port_owner import port_owner
from collector.receivers.grpc_loop import run
from collector.receivers.grpc_push import SERVICE, PushService
from collector.receivers.grpc_services import SERVICES as FOREIGN_SERVICES
from collector.receivers.grpc_threads import ThreadedServices
from collector.server_tls import ServerCertificates
from fleetprof.errors import UnavailableError
from fleetprof.setting_kinds import Address
from fleetprof.v1 import agent_pb2, agent_pb2_grpc, debuginfo_pb2_grpc

AGENT_SERVICE = agent_pb2.DESCRIPTOR.services_by_name["AgentService"].full_name
LOOPBACK = Address("127.0.0.1", 0)
WORKERS = 256
"""Threads for services that block, started as they are needed."""
CALLS = 4096
"""Calls that are open at a time, most of them not read yet; gRPC answers RESOURCE_EXHAUSTED to others."""
_ABOVE_LIMIT = 1 << 20
"""By so much gRPC takes larger messages than we do, so that we can refuse and count them."""


class Running:
    """A server that listens. `stop` ends it.

    `local_port` is a second port without TLS, on the loopback address; 0 for none.
    """

    def __init__(
        self, server: grpc.aio.Server, checks: Any, threads: Executor, ports: tuple[int, int]
    ) -> None:
        self._server, self._checks, self._threads = server, checks, threads
        self.port, self.local_port = ports

    def stop(self, grace_s: float) -> None:
        """Refuse new requests, give those under way `grace_s`, and close the port."""
        run(self._stop(grace_s))
        self._threads.shutdown(wait=False)

    async def _stop(self, grace_s: float) -> None:
        await self._checks.enter_graceful_shutdown()
        await self._server.stop(grace_s)


def serve(
    pipeline: Pipeline,
    address: Address,
    limits: Limits,
    agents: AgentService | None = None,
    pushes: PushMetrics | None = None,
    certificates: ServerCertificates | None = None,
    local: bool = False,
    foreign: Sequence[grpc.GenericRpcHandler] = (),
    interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
    debuginfo: DebugInfoService | None = None,
    offers: DebugOfferService | None = None,
) -> Running:
    """Listen at `address` (port 0: any free one), with TLS where there are `certificates`.

    `foreign` are the handlers of other protocols (collector/receivers). `local` adds a port without TLS for an
    agent of this machine; `interceptors` see each call first. Raises UnavailableError when an address cannot
    be had.
    """
    threads = ThreadPoolExecutor(WORKERS, thread_name_prefix="grpc")
    push = PushService(pipeline, threads, pushes)

    async def start() -> Running:
        server = grpc.aio.server(
            interceptors=[*([certificates.connections] if certificates else []), *interceptors],
            options=[
                ("grpc.max_receive_message_length", limits.message_bytes + _ABOVE_LIMIT),
                ("grpc.so_reuseport", 0),
            ],
            maximum_concurrent_rpcs=CALLS,
        )
        server.add_generic_rpc_handlers((push.handler(),))
        services = ThreadedServices(server, threads)
        served = [SERVICE, *_add_threaded(services, agents, foreign, debuginfo, offers)]
        checks = _add_health(server, served)
        ports = _bind(server, address, certificates), _bind(server, LOOPBACK, None) if local else 0
        await server.start()
        for name in ("", *served):
            await checks.set(name, health_pb2.HealthCheckResponse.SERVING)
        return Running(server, checks, threads, ports)

    return run(start())


def _add_threaded(
    services: Any,
    agents: AgentService | None,
    foreign: Sequence[grpc.GenericRpcHandler],
    debuginfo: DebugInfoService | None,
    offers: DebugOfferService | None,
) -> list[str]:
    """Add the services that run on threads; their names."""
    served: list[str] = []
    if foreign:
        services.add(foreign)
        served += FOREIGN_SERVICES
    if agents:
        agent_pb2_grpc.add_AgentServiceServicer_to_server(agents, services)  # type: ignore[no-untyped-call]
        served.append(AGENT_SERVICE)
    if debuginfo:
        debuginfo_pb2_grpc.add_DebugInfoServiceServicer_to_server(debuginfo, services)  # type: ignore[no-untyped-call]
        served.append(DEBUGINFO_SERVICE)
    if offers:
        debuginfo_pb2_grpc.add_DebugOfferServiceServicer_to_server(offers, services)  # type: ignore[no-untyped-call]
        served.append(OFFER_SERVICE)
    return served


def _add_health(server: grpc.aio.Server, served: Sequence[str]) -> Any:
    """Add health checking, which is returned, and reflection."""
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    names = (*served, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    return checks


def _bind(server: grpc.aio.Server, address: Address, certificates: ServerCertificates | None) -> int:
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
