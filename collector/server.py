"""The collector's gRPC server: fleetprof.v1.IngestService, health checking and reflection."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from collector.ingest.limits import Limits
from collector.ingest.refusal import Later, Refused
from collector.pipeline import Pipeline
from collector.port_owner import port_owner
from fleetprof.errors import UnavailableError
from fleetprof.setting_kinds import Address
from fleetprof.v1 import ingest_pb2

SERVICE = "fleetprof.v1.IngestService"
WORKERS = 128
"""Requests handled at a time; each waits for its batch, so this many windows fit into one."""


class Running:
    """A server that listens. `stop` ends it."""

    def __init__(self, server: grpc.Server, checks: health.HealthServicer, port: int) -> None:
        self._server = server
        self._checks = checks
        self.port = port

    def stop(self, grace_s: float) -> None:
        """Refuse new requests, give those under way `grace_s`, and close the port."""
        self._checks.enter_graceful_shutdown()
        self._server.stop(grace_s).wait()


def serve(pipeline: Pipeline, address: Address, limits: Limits) -> Running:
    """Listen at `address` (port 0: any free one); raises UnavailableError when that cannot be had."""
    server = grpc.server(
        ThreadPoolExecutor(WORKERS, thread_name_prefix="push"),
        options=[
            # Twice our own limit, so that what is somewhat too large is refused and counted by us.
            ("grpc.max_receive_message_length", 2 * limits.message_bytes),
            ("grpc.so_reuseport", 0),
        ],
    )
    checks = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    push: grpc.RpcMethodHandler[bytes, ingest_pb2.PushResponse]
    push = grpc.unary_unary_rpc_method_handler(_push(pipeline), None, _serialize)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Push": push}),))
    names = (SERVICE, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    port = _bind(server, address)
    server.start()
    for name in ("", SERVICE):
        checks.set(name, health_pb2.HealthCheckResponse.SERVING)
    return Running(server, checks, port)


def _bind(server: grpc.Server, address: Address) -> int:
    try:
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


def _push(pipeline: Pipeline) -> Callable[[bytes, grpc.ServicerContext], ingest_pb2.PushResponse]:
    """The handler of Push. It takes bytes, so that what is no request is counted and answered too."""

    def push(data: bytes, context: grpc.ServicerContext) -> ingest_pb2.PushResponse:
        try:
            return pipeline.push(data)
        except Refused as refused:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, refused.message)
        except Later as later:
            _abort_for_now(context, later)

    return push


def _abort_for_now(context: grpc.ServicerContext, later: Later) -> NoReturn:
    """Answer "later", with the pause that gRPC's own retries honour (gRFC A6)."""
    context.set_trailing_metadata((("grpc-retry-pushback-ms", str(later.retry_ms)),))
    code = grpc.StatusCode.RESOURCE_EXHAUSTED if later.overloaded else grpc.StatusCode.UNAVAILABLE
    context.abort(code, later.message)
