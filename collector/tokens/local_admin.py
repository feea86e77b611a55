"""Who may administer a collector that asks for no tokens: its own machine, and others with a token of scope admin.

Whoever reaches the port may push profiles then; removing debug files, or putting other names in the place of a
program's own, is something else. A proxy on the same machine makes everybody local: it must not let those calls
through (fleetprof.v1.DebugInfoService), or auth must be "tokens".
"""

import ipaddress
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc

from collector.tokens.book import FILE, TokenBook
from collector.tokens.gate import Gate, NotAllowed
from collector.tokens.interceptor import ADMIN, host_of
from collector.tokens.token import Scope
from fleetprof.errors import UnavailableError

_Handler = Any
_REFUSAL = (
    "Debug files are administered from the collector's own machine only, as it asks for no tokens (auth). From "
    "elsewhere, show a token of scope admin: fleetprof-collector token create --scope admin NAME."
)


class LocalAdmin(grpc.aio.ServerInterceptor):
    """Stands where there is no Guard. Tokens are looked for in the folder `data`."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._lock = threading.Lock()
        self._gate: Gate | None = None

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler:
        """The method's handler; for methods of ADMIN one that looks at who calls first."""
        handler = await continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith(ADMIN):
            return handler
        return grpc.stream_unary_rpc_method_handler(
            self._checked(handler), handler.request_deserializer, handler.response_serializer
        )

    def close(self) -> None:
        """Close the tokens' file."""
        with self._lock:
            if self._gate:
                self._gate.book.close()
                self._gate = None

    def _checked(self, handler: _Handler) -> Callable[[Any, Any], Awaitable[Any]]:
        """Takes a stream, so that nothing is read of a call that may not be made."""

        async def answer(requests: Any, context: Any) -> Any:
            if not is_local(context.peer()):
                await self._check_token(context)
            if handler.stream_unary:
                return await handler.stream_unary(requests, context)
            request = await context.read()
            if request is grpc.aio.EOF:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "The call has no request.")
            return await handler.unary_unary(request, context)

        return answer

    async def _check_token(self, context: Any) -> None:
        header = next((value for key, value in context.invocation_metadata() if key == "authorization"), None)
        try:
            gate = self._tokens() if header else None
        except UnavailableError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        if gate is None:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, _REFUSAL)
            return
        try:
            gate.judge(str(header), Scope.ADMIN)
        except NotAllowed as refused:
            gate.count(refused, host_of(context.peer()))
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, refused.message)

    def _tokens(self) -> Gate | None:
        """What judges tokens; None while there are none."""
        with self._lock:
            if self._gate is None and (self._data / FILE).exists():
                self._gate = Gate(TokenBook(self._data))
            return self._gate


def is_local(peer: str) -> bool:
    """Whether gRPC's name of a peer is one of this machine: a Unix socket, or a loopback address."""
    if peer.startswith("unix:"):
        return True
    try:
        address = ipaddress.ip_address(host_of(peer))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)  # as a socket that listens on [::] names IPv4 peers
    return (mapped or address).is_loopback
