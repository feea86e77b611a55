"""fleetprof.v1.IngestService: agents' windows, as bytes, so that what is no request is counted and answered too.

Requests are checked and queued on the event loop, which takes some 0.5 ms; large ones on a thread. While a window
waits to be stored, nothing but its call waits.
"""

import time
from asyncio import Semaphore, get_running_loop
from concurrent.futures import Executor
from contextvars import copy_context
from typing import Any

import grpc

from collector.come_later import code_of, pause
from collector.ingest.refusal import Later, Refused
from collector.metrics import PushMetrics
from collector.pipeline import ACKNOWLEDGE_S, Pipeline, Queued
from collector.receivers.grpc_loop import Mailbox
from fleetprof.v1 import ingest_pb2

SERVICE = "fleetprof.v1.IngestService"
INLINE_BYTES = 64 << 10
"""A larger request would keep other calls waiting."""

READING = 1024
"""Requests that are read and checked at a time, whatever their size; from then on InFlight bounds their memory."""

_RESULTS = {
    ingest_pb2.PushResponse.STATUS_ACCEPTED: "accepted",
    ingest_pb2.PushResponse.STATUS_DUPLICATE: "duplicate",
    ingest_pb2.PushResponse.STATUS_NEED_DEFINITIONS: "need_definitions",
}


class PushService:
    """Answers Push. Belongs to the event loop."""

    def __init__(self, pipeline: Pipeline, threads: Executor, pushes: PushMetrics | None) -> None:
        self._pipeline, self._threads, self._pushes = pipeline, threads, pushes
        self._mailbox, self._reading = Mailbox(), Semaphore(READING)

    def handler(self) -> grpc.GenericRpcHandler:
        """For grpc.aio.Server.add_generic_rpc_handlers."""
        push: grpc.RpcMethodHandler[Any, Any] = grpc.stream_unary_rpc_method_handler(self.push)
        return grpc.method_handlers_generic_handler(SERVICE, {"Push": push})

    async def push(self, requests: Any, context: Any) -> bytes:
        """Answer one request. It is taken as a stream of one, so that no more are read at a time than READING."""
        async with self._reading:
            data = await context.read()
            began_s = time.monotonic()
            if data is grpc.aio.EOF:  # its sender is gone
                return b""
            try:
                queued = await self._begin(data)
            except (Refused, Later) as why:
                return await self._turn_away(why, began_s, context)
            del data
        if queued.answer:
            await self._mailbox.wait(queued.answer, ACKNOWLEDGE_S)
        try:
            response = self._pipeline.end(queued)
        except (Refused, Later) as why:
            return await self._turn_away(why, began_s, context)
        self._count(_RESULTS[response.status], began_s)
        return response.SerializeToString()

    async def _turn_away(self, why: Refused | Later, began_s: float, context: Any) -> bytes:
        if isinstance(why, Refused):
            self._count("refused", began_s)
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, why.message)
        else:
            self._count("later", began_s)
            await context.abort(code_of(why), why.message, (pause(why),))
        return b""

    async def _begin(self, data: bytes) -> Queued:
        if len(data) <= INLINE_BYTES:
            return self._pipeline.begin(data)
        run = copy_context().run  # whose token the request came with
        return await get_running_loop().run_in_executor(self._threads, run, self._pipeline.begin, data)

    def _count(self, result: str, began_s: float) -> None:
        if self._pushes:
            self._pushes.count(result, time.monotonic() - began_s)
