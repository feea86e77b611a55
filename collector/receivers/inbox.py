"""What all receivers share: room, translation, and our own pipeline behind them.

Foreign requests are unpacked and translated in Python objects, many times their size. So only a few are in work at
a time; others wait a little and are then told to come later.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Protocol

from collector.ingest.loss_ledger import LossLedger
from collector.ingest.refusal import Later, Refused, malformed
from collector.receivers.foreign import Foreign
from collector.receivers.measured import Unsupported
from collector.receivers.windows import content_key, make_requests
from fleetprof.errors import InputError
from fleetprof.losses import DropReason
from fleetprof.v1 import ingest_pb2

IN_WORK = 2
"""Foreign requests translated at a time."""
WAIT_S = 10.0
"""Longest wait for one's turn."""
_PUSHERS = 32

Push = Callable[[bytes], ingest_pb2.PushResponse]
"""Takes one of our own Push requests: collector.pipeline.Pipeline.push."""


@dataclass(slots=True)
class Taken:
    """How a foreign request fared."""

    stored: int = 0
    """Windows stored now."""
    duplicates: int = 0
    """Windows that were stored before."""
    rejected: int = 0
    """Profiles refused, or windows of them."""
    problems: list[str] = field(default_factory=list)
    """Why, each sentence once."""

    def reject(self, message: str) -> None:
        """Count one that is refused."""
        self.rejected += 1
        if message not in self.problems and len(self.problems) < 8:
            self.problems.append(message)


class Translation(Protocol):
    """Makes profiles of a request's content; may reject single ones in `taken`; raises Refused for all."""

    def __call__(self, taken: Taken) -> list[Foreign]:
        """The profiles."""
        ...


class Inbox:
    """Takes foreign requests. Safe to use from several threads."""

    def __init__(self, push: Push, ledger: LossLedger, clock: Callable[[], float] = time.time) -> None:
        self._push, self.ledger, self._clock = push, ledger, clock
        self._room = threading.BoundedSemaphore(IN_WORK)
        self._pushers = ThreadPoolExecutor(_PUSHERS, thread_name_prefix="foreign")

    def close(self) -> None:
        """End the threads."""
        self._pushers.shutdown()

    def now_s(self) -> float:
        """Unix time."""
        return self._clock()

    @contextmanager
    def room(self) -> Iterator[None]:
        """One of the few places for work on a request; raises Later when none becomes free."""
        if not self._room.acquire(timeout=WAIT_S):
            raise Later("The collector has more requests than it can translate.", overloaded=True)
        try:
            yield
        finally:
            self._room.release()

    @contextmanager
    def counted(self, host: str = "") -> Iterator[None]:
        """Counts a request that is refused as a whole, and words every refusal as Refused."""
        try:
            yield
        except Refused as refused:
            self.ledger.count(refused.reason, host)
            raise
        except Unsupported as error:
            self.ledger.count(DropReason.MALFORMED, host)
            raise malformed(str(error)) from None
        except InputError as error:
            self.ledger.count(DropReason.MALFORMED, host)
            raise malformed(error.message) from None

    def take(self, source: str, content: tuple[str | bytes, ...], translate: Translation) -> Taken:
        """Store what `translate` makes of a request; `source` and `content` name it, for when it is repeated.

        Raises Refused (counted) when nothing of it can be taken, and Later.
        """
        taken = Taken()
        with self.room(), self.counted():
            profiles = translate(taken)
            requests = make_requests(profiles, content_key(source, *content), self._clock())
            del profiles
        self._push_all(requests, taken)
        return taken

    def reject(self, taken: Taken, reason: DropReason, message: str) -> None:
        """Count one profile of a request that is refused while others may be taken."""
        self.ledger.count(reason)
        taken.reject(message)

    def _push_all(self, requests: list[bytes], taken: Taken) -> None:
        """Push all windows at once, so that they share a batch; raises Later when one is to come later.

        Then the client sends all again, and those that are stored already are known.
        """
        refused: Refused | None = None
        later: Later | None = None
        # In a copy of this thread's context, which holds whose token the request came with.
        for future in [self._pushers.submit(copy_context().run, self._push, each) for each in requests]:
            try:
                answer = future.result()
            except Refused as error:  # counted by the pipeline
                refused = error
                taken.reject(error.message)
            except Later as error:
                later = error
            else:
                again = answer.status == ingest_pb2.PushResponse.STATUS_DUPLICATE
                taken.duplicates += again
                taken.stored += not again
        if later:
            raise later
        if refused and not taken.stored and not taken.duplicates:
            raise refused
