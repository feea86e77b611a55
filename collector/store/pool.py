"""Connections to a server, handed to one thread at a time."""

import logging
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from collector.store.address import ServerAddress
from collector.store.errors import StoreBusy, StoreError
from collector.store.native_connection import REVISION, NativeConnection
from collector.store.server_errors import typed_errors

# It logs a traceback for every host that is away; our errors say the same.
logging.getLogger("clickhouse_driver").setLevel(logging.ERROR)

CONNECT_S = 5
IDLE_S = 60
"""Longest silence of a server that works on a statement: it tells its progress every 100 ms."""

_WAIT_S = 30
# What the driver's own client would set; native.py reads and writes the columns.
_CLIENT_SETTINGS = {
    "opentelemetry_traceparent": None,
    "opentelemetry_tracestate": "",
    "quota_key": "",
    "server_side_params": False,
    "use_numpy": False,
}


class Pool:
    """At most `size` connections; each reconnects by itself, to the next host where one is away."""

    def __init__(self, address: ServerAddress, size: int) -> None:
        self._address = address
        self._size = size
        self._free = threading.BoundedSemaphore(size)
        self._guard = threading.Lock()
        self._idle: list[NativeConnection] = []
        self._closed = False

    @contextmanager
    def connection(self) -> Iterator[NativeConnection]:
        """A connection; one on which a statement did not end orderly is closed afterwards.

        Raises StoreBusy when none gets free within 30 s, StoreError once closed; errors of the driver inside
        become StoreError too.
        """
        if not self._free.acquire(timeout=_WAIT_S):
            raise StoreBusy(0, "All connections to the store are in use.", "Try again later.")
        try:
            taken = self._take()
            try:
                with typed_errors(self._address):
                    yield taken
            finally:
                if taken.is_query_executing:
                    taken.disconnect()
                with self._guard:
                    self._idle.append(taken)
        finally:
            self._free.release()

    def close(self) -> None:
        """Wait for running statements, then close all connections; more calls do nothing."""
        if self._closed:
            return
        for _ in range(self._size):
            self._free.acquire(timeout=_WAIT_S)
        with self._guard:
            self._closed = True
            for each in self._idle:
                each.disconnect()
            self._idle.clear()

    def _take(self) -> NativeConnection:
        with self._guard:
            if self._closed:
                raise StoreError(0, "The store is closed.")
            return self._idle.pop() if self._idle else connect(self._address)


def connect(address: ServerAddress) -> NativeConnection:
    """A connection that opens with its first statement."""
    host, port = address.hosts[0]
    made = NativeConnection(
        host,
        port,
        address.database,
        address.user,
        address.password,
        client_name="fleetprof",
        connect_timeout=CONNECT_S,
        send_receive_timeout=IDLE_S,
        compression="lz4",
        secure=address.secure,
        ca_certs=address.ca and str(address.ca),
        certfile=address.certificate and str(address.certificate),
        keyfile=address.key and str(address.key),
        tcp_keepalive=(30, 10, 3),
        client_revision=REVISION,
    )
    made.hosts = deque(address.hosts)
    made.context.client_settings = _CLIENT_SETTINGS
    return made
