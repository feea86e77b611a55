"""Counts TLS connections that come to nothing: gRPC tells nobody of a handshake that failed.

gRPC asks for the certificate when a handshake begins, and a call tells its connection's address. A handshake
after which no call came from a new address within WAIT_S is counted: a foreign or expired certificate, a client
without TLS, a port scan. Which one it was, the client knows: an agent's log says it.
"""

import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from collector.receivers.grpc_threads import with_call

log = logging.getLogger("fleetprof.tls")

WAIT_S = 30.0
LOG_EVERY_S = 3600.0
MAX_PEERS = 100_000


class TlsConnections(grpc.aio.ServerInterceptor):
    """Told of handshakes by `begun`, of calls as an interceptor. Safe to use from several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._begun: deque[float] = deque()
        self._peers: OrderedDict[str, None] = OrderedDict()
        self._logged_s = -LOG_EVERY_S
        self._unused = 0

    def begun(self) -> None:
        """A handshake begins."""
        with self._lock:
            self._begun.append(self._clock())
            self._expire()

    @property
    def unused(self) -> int:
        """Connections since start that came to nothing."""
        with self._lock:
            self._expire()
            return self._unused

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]], handler_call_details: Any
    ) -> Any:
        """The method's handler, which tells its peer before it runs."""
        handler = await continuation(handler_call_details)
        return with_call(handler, self._telling) if handler else handler

    def _telling(self, call: Callable[[Any, Any], Awaitable[Any]]) -> Callable[[Any, Any], Awaitable[Any]]:
        async def answer(request: Any, context: Any) -> Any:
            self._called(context.peer())
            return await call(request, context)

        return answer

    def _called(self, peer: str) -> None:
        with self._lock:
            if peer in self._peers:
                self._peers.move_to_end(peer)
                return
            self._peers[peer] = None
            if len(self._peers) > MAX_PEERS:
                self._peers.popitem(last=False)
            if self._begun:
                self._begun.popleft()

    def _expire(self) -> None:
        now_s, before = self._clock(), self._unused
        while self._begun and now_s - self._begun[0] > WAIT_S:
            self._begun.popleft()
            self._unused += 1
        if self._unused > before and now_s - self._logged_s >= LOG_EVERY_S:
            self._logged_s = now_s
            log.warning(
                "A TLS connection came to nothing: its client has a foreign or expired certificate, no TLS, or "
                "does not trust ours. The client's log says which; fleetprof_collector_tls_connections_unused "
                "counts them."
            )
