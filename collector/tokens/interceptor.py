"""Asks each gRPC call for a token before its request is read."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias
from urllib.parse import unquote

import grpc
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection

from collector.receivers.grpc_threads import with_call
from collector.tokens.gate import CURRENT, Gate, NotAllowed
from collector.tokens.token import Scope, Token
from fleetprof.v1 import debuginfo_pb2

_HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
OPEN = (f"/{_HEALTH}/", f"/{reflection.SERVICE_NAME}/")
"""Methods that need none: they tell nothing about what is stored, and load balancers ask the first."""
ADMIN = (f"/{debuginfo_pb2.DESCRIPTOR.services_by_name['DebugInfoService'].full_name}/",)
"""Methods that change what everybody sees."""

_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"
_Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[_Handler]]
_Call = Callable[[Any, Any], Awaitable[Any]]


class TokenInterceptor(grpc.aio.ServerInterceptor):
    """Everything but OPEN and ADMIN needs scope ingest: that is what the gRPC port is for."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def intercept_service(
        self, continuation: _Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        """The method's handler, which then runs for the token's owner; or one that refuses."""
        details = handler_call_details
        handler = await continuation(details)
        if handler is None or details.method.startswith(OPEN):
            return handler
        metadata: Any = details.invocation_metadata
        header = next((value for key, value in metadata if key == "authorization"), None)
        try:
            needed = Scope.ADMIN if details.method.startswith(ADMIN) else Scope.INGEST
            token = self._gate.judge(header, needed)
        except NotAllowed as refused:
            return self._refusing(refused)
        return with_call(handler, lambda call: _as_owner_of(token, call))

    def _refusing(self, refused: NotAllowed) -> _Handler:
        """A handler that takes a stream, since that leaves the request unread."""

        async def refuse(requests: Any, context: Any) -> None:
            self._gate.count(refused, host_of(context.peer()))
            known = grpc.StatusCode.PERMISSION_DENIED
            await context.abort(known if refused.known else grpc.StatusCode.UNAUTHENTICATED, refused.message)

        return grpc.stream_unary_rpc_method_handler(refuse)


def _as_owner_of(token: Token, call: _Call) -> _Call:
    async def answer(request: Any, context: Any) -> Any:
        before = CURRENT.set(token)
        try:
            return await call(request, context)
        finally:
            CURRENT.reset(before)

    return answer


def host_of(peer: str) -> str:
    """The address in gRPC's name of a peer, without the port: "ipv4:10.0.0.1:4711", "ipv6:%5B::1%5D:4711"."""
    kind, _, rest = unquote(peer).partition(":")
    return rest.rpartition(":")[0].strip("[]") if kind in ("ipv4", "ipv6") else peer
