"""Services whose handlers block, on a server that is asyncio's: each call runs on a thread of a pool.

A handler sees a `CallContext` in place of grpc.ServicerContext, and runs in a copy of its call's context variables.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextvars import copy_context
from typing import Any, NoReturn, TypeAlias

import grpc

from collector.receivers.grpc_loop import the_loop

Metadata = tuple[tuple[str, str | bytes], ...]

_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_Call = Callable[[Any, Any], Any]
_Answer = Callable[[Any, Any], Awaitable[Any]]


def with_call(handler: _Handler, changed: Callable[[_Call], _Answer]) -> _Handler:
    """The handler with another call in place of its own, where its method has one answer."""
    coding = handler.request_deserializer, handler.response_serializer
    if handler.unary_unary:
        return grpc.unary_unary_rpc_method_handler(changed(handler.unary_unary), *coding)
    if handler.stream_unary:
        return grpc.stream_unary_rpc_method_handler(changed(handler.stream_unary), *coding)
    return handler


class Aborted(Exception):
    """Ends a call; raised by `CallContext.abort`."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.code, self.details = code, details


class CallContext:
    """What a handler on a thread asks of its call: of grpc.ServicerContext, the part that ours use."""

    def __init__(self, peer: str) -> None:
        self._peer = peer
        self.trailing: Metadata = ()
        """Metadata to end the call with."""
        self.cancelled = asyncio.Event()

    def peer(self) -> str:
        """gRPC's name of who calls."""
        return self._peer

    def set_trailing_metadata(self, metadata: Metadata) -> None:
        """Set the metadata to end the call with."""
        self.trailing = metadata

    def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        """End the call."""
        raise Aborted(code, details)

    def cancel(self) -> None:
        """End the call, from any thread: its caller is told, and its requests end."""
        the_loop().call_soon_threadsafe(self.cancelled.set)


class ThreadedServices:
    """Takes services as grpc.Server does, from what `add_…_to_server` of generated code says.

    Of the four kinds of methods it knows those with one answer.
    """

    def __init__(self, server: grpc.aio.Server, threads: Executor) -> None:
        self._server, self._threads = server, threads

    def add_registered_method_handlers(self, service: str, methods: Mapping[str, _Handler]) -> None:
        """Add a service."""
        handlers = {name: self._on_thread(handler) for name, handler in methods.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Generated code adds each service both ways; one is enough."""

    def add(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Add services that are not of generated code."""
        self._server.add_generic_rpc_handlers([_Generic(each, self._on_thread) for each in handlers])

    def _on_thread(self, handler: _Handler) -> _Handler:
        assert not handler.response_streaming, "a method with many answers"
        return with_call(handler, self._answer_many if handler.request_streaming else self._answer)

    def _answer(self, call: _Call) -> _Answer:
        async def answer(request: Any, context: Any) -> Any:
            own = CallContext(context.peer())
            try:
                return await self._run(call, request, own)
            except Aborted as aborted:
                await context.abort(aborted.code, aborted.details, own.trailing)

        return answer

    def _answer_many(self, call: _Call) -> _Answer:
        async def answer(_: Any, context: Any) -> Any:
            own = CallContext(context.peer())
            requests = _Requests(context)
            running = asyncio.ensure_future(self._run(call, requests, own))
            cancelled = asyncio.ensure_future(own.cancelled.wait())
            try:
                await asyncio.wait((running, cancelled), return_when=asyncio.FIRST_COMPLETED)
                if not running.done():
                    await context.abort(grpc.StatusCode.CANCELLED, "The call took too long.")
                return running.result()
            except Aborted as aborted:
                await context.abort(aborted.code, aborted.details, own.trailing)
            finally:
                requests.ended = True
                cancelled.cancel()

        return answer

    async def _run(self, call: _Call, request: Any, context: CallContext) -> Any:
        run = copy_context().run
        return await asyncio.get_running_loop().run_in_executor(self._threads, run, call, request, context)


class _Generic(grpc.GenericRpcHandler):
    """A service whose handlers are `changed`."""

    def __init__(self, service: grpc.GenericRpcHandler, changed: Callable[[_Handler], _Handler]) -> None:
        self._service, self._changed = service, changed

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "_Handler | None":
        """The handler of a method, None where it is not of this service."""
        found = self._service.service(handler_call_details)
        return self._changed(found) if found else None


class _Requests(Iterator[Any]):
    """A call's requests, one after the other, for a thread; they end with the call."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self.ended = False
        """Belongs to the loop: a call that has ended must not be touched."""

    def __next__(self) -> Any:
        request = asyncio.run_coroutine_threadsafe(self._read(), the_loop()).result()
        if request is grpc.aio.EOF:
            raise StopIteration
        return request

    async def _read(self) -> Any:
        return grpc.aio.EOF if self.ended else await self._context.read()
