"""The event loop on which gRPC calls are answered: one thread, shared by all servers of the process.

gRPC's asyncio servers have one queue of events a process, and wake the loop of each server for each event: with one
loop nobody is woken in vain. The thread ends with the process.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Coroutine
from concurrent.futures import Future
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")


@cache
def the_loop() -> asyncio.AbstractEventLoop:
    """The loop, which runs."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="grpc", daemon=True).start()
    return loop


def run(work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns or raises on the loop; to be called from other threads."""
    return asyncio.run_coroutine_threadsafe(work, the_loop()).result()


class Mailbox:
    """Tells coroutines of futures that other threads complete: the loop is woken once for many."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._done: deque[asyncio.Future[None]] = deque()

    async def wait(self, future: Future[Any], timeout_s: float) -> None:
        """Until `future` is done, or for so long; also when it fails."""
        waiter = the_loop().create_future()
        future.add_done_callback(lambda _: self._put(waiter))
        overdue = the_loop().call_later(timeout_s, _complete, waiter)
        try:
            await waiter
        finally:
            overdue.cancel()

    def _put(self, waiter: "asyncio.Future[None]") -> None:
        with self._lock:
            self._done.append(waiter)
            first = len(self._done) == 1
        if first:
            the_loop().call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        with self._lock:
            done, self._done = self._done, deque()
        for waiter in done:
            _complete(waiter)


def _complete(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
