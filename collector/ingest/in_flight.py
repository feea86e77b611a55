"""Bounds the memory of requests in work, whatever their number and size."""

import random
import threading
from collections.abc import Callable

from collector.ingest.refusal import Later

IN_FLIGHT_BYTES = 512 << 20
"""Memory that all requests in work may take."""

_COLUMNS, _DEFINITIONS = 5, 1
"""How many times their bytes on the wire columns take when decoded. Definitions wait encoded, and are decoded some
at a time (known.py): they take their own size."""
_PAUSE_MS = 2000


class InFlight:
    """Room for requests. Safe to use from several threads."""

    def __init__(self, limit_bytes: int = IN_FLIGHT_BYTES) -> None:
        self._limit = limit_bytes
        self._held = 0
        self._lock = threading.Lock()

    @property
    def held_bytes(self) -> int:
        """What is taken now."""
        return self._held

    def take(self, request_bytes: int, definition_bytes: int) -> Callable[[], None]:
        """Take room for a request until the returned function is called.

        Raises Later when there is none; one request always fits. The pause differs from sender to sender, so
        that those who were sent away together do not come back together.
        """
        size = _COLUMNS * (request_bytes - definition_bytes) + _DEFINITIONS * definition_bytes
        with self._lock:
            if self._held and self._held + size > self._limit:
                raise Later(
                    "The collector has as many requests in work as its memory allows; try again.",
                    retry_ms=random.randint(_PAUSE_MS // 4, _PAUSE_MS),
                    overloaded=True,
                )
            self._held += size
        return lambda: self._release(size)

    def _release(self, size: int) -> None:
        with self._lock:
            self._held -= size
