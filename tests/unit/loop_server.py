"""A gRPC server of the collector's kind, asyncio's, with services and interceptors of a test's own."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc

from collector.receivers.grpc_loop import run
from collector.receivers.grpc_threads import ThreadedServices
from fleetprof.setting_kinds import Address


@contextmanager
def loop_server(
    add_services: Callable[[grpc.aio.Server, Any], object],
    interceptors: list[grpc.aio.ServerInterceptor],
    credentials: grpc.ServerCredentials | None = None,
) -> Iterator[Address]:
    """Serve until the block's end; `add_services` is given the server, and what takes services that block."""

    async def start() -> tuple[grpc.aio.Server, int]:
        server = grpc.aio.server(interceptors=interceptors)
        add_services(server, ThreadedServices(server, threads))
        at = "127.0.0.1:0"
        port = server.add_secure_port(at, credentials) if credentials else server.add_insecure_port(at)
        await server.start()
        return server, port

    with ThreadPoolExecutor(2) as threads:
        server, port = run(start())
        yield Address("127.0.0.1", port)
        run(server.stop(None))
