"""The collector's data path, top to bottom: receive → admit → store with many others → acknowledge.

collector/ingest/committer.py goes on: decode and resolve → journal → tables → roll up.
"""

import time
from collections.abc import Callable
from concurrent.futures import wait
from dataclasses import dataclass
from typing import Any

from collector.ingest.admission import admit, receive
from collector.ingest.committer import Answer, Committer
from collector.ingest.definitions import shown
from collector.ingest.in_flight import InFlight
from collector.ingest.known import KnownDefinitions, Missing
from collector.ingest.limits import Limits
from collector.ingest.loss_ledger import LossLedger
from collector.ingest.refusal import Later, Refused
from collector.ingest.window import Sender, Window
from collector.ingest.wire_numbers import NumbersLost
from fleetprof.v1 import ingest_pb2

ACKNOWLEDGE_S = 15.0
"""Longest wait for a window to be stored; below the 20 s that agents wait for the answer."""

_Response = ingest_pb2.PushResponse


def nothing(window: Window, size_bytes: int) -> None:
    """Accounts for nothing: where senders have no limits of their own."""


@dataclass(frozen=True, slots=True)
class Queued:
    """A request under way."""

    sender: Sender
    host: str
    answer: Answer | None
    """None where the window is known to be stored."""


class Pipeline:
    """Takes Push requests as bytes. Safe to call from several threads."""

    def __init__(
        self,
        known: KnownDefinitions,
        committer: Committer,
        ledger: LossLedger,
        limits: Limits,
        clock: Callable[[], float] = time.time,
        heard: Callable[[str], None] = lambda agent_id: None,
        account: Callable[[Window, int], None] = nothing,
        room: InFlight | None = None,
    ) -> None:
        """`heard` is called with the id of an agent whose window was admitted.

        `account` takes a window and its bytes from what the sender may push; it raises Later or Refused.
        """
        self._known = known
        self._committer = committer
        self._ledger = ledger
        self._limits = limits
        self._clock = clock
        self._heard = heard
        self._account = account
        self._room = room or InFlight()
        self._numbers = known.numbers

    def unheard(self) -> "Pipeline":
        """The same path, with the same bound on memory, for windows that are not an agent's."""
        return Pipeline(
            self._known,
            self._committer,
            self._ledger,
            self._limits,
            clock=self._clock,
            account=self._account,
            room=self._room,
        )

    def push(self, data: bytes) -> ingest_pb2.PushResponse:
        """Answer one request once its window is stored. Raises Refused (counted as a loss) or Later."""
        queued = self.begin(data)
        if queued.answer:
            wait([queued.answer], timeout=ACKNOWLEDGE_S)
        return self.end(queued)

    def begin(self, data: bytes) -> Queued:
        """Check a request and queue its window, without waiting for anything. Raises as `push` does."""
        host = ""
        try:
            request = receive(data, self._limits)
            host = shown(request.window.host)[: self._limits.host_bytes]
            sender = Sender(request.agent_id, request.run_id)
            return Queued(sender, host, self._take(request, len(data)))
        except NumbersLost as lost:
            return Queued(sender, host, _failed(lost))
        except Refused as refused:
            self._ledger.count(refused.reason, host)
            raise

    def end(self, queued: Queued) -> ingest_pb2.PushResponse:
        """What the sender is told, once `queued.answer` is done or was waited for long enough; raises as `push`."""
        try:
            response = _response(queued.answer)
        except NumbersLost:
            return _Response(status=_Response.STATUS_NEED_DEFINITIONS)
        except Refused as refused:
            self._ledger.count(refused.reason, queued.host)
            raise
        response.known_numbers = self._numbers.stacks.known(queued.sender)
        response.known_frames = self._numbers.frames.known(queued.sender)
        return response

    def _take(self, request: Any, size_bytes: int) -> Answer | None:
        """Queue a request's window; None when it is known to be stored."""
        leave = self._room.take(size_bytes, sum(map(len, request.definitions)))
        try:
            window = admit(request, self._limits, self._clock(), self._numbers.stacks)
            self._heard(window.key.agent_id)
            if window in self._committer.accepted:
                answer = None
            else:
                self._account(window, size_bytes)
                answer = self._committer.submit(window)
        except BaseException:
            leave()
            raise
        if answer is None:
            leave()
        else:
            answer.add_done_callback(lambda _: leave())
        return answer


def _failed(why: NumbersLost) -> Answer:
    answer = Answer()
    answer.set_exception(why)
    return answer


def _response(answer: Answer | None) -> ingest_pb2.PushResponse:
    """What became of a window; None is one that is known to be stored."""
    if answer and not answer.done():
        raise Later("The store is slow: the window waits to be stored; ask again.")
    stored = answer.result() if answer else False
    if isinstance(stored, Missing):
        return _Response(
            status=_Response.STATUS_NEED_DEFINITIONS,
            unknown_stacks=stored.stacks,
            unknown_series=stored.series,
        )
    return _Response(status=_Response.STATUS_ACCEPTED if stored else _Response.STATUS_DUPLICATE)
