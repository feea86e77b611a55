"""The collector's data path, top to bottom: receive → admit → store with many others → acknowledge.

collector/ingest/committer.py goes on: decode and resolve → journal → tables → roll up.
"""

import time
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeout
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
        """Answer one request. Raises Refused (counted as a loss) or Later (nothing is lost)."""
        host = ""
        try:
            request = receive(data, self._limits)
            host = shown(request.window.host)[: self._limits.host_bytes]
            answer = _answer(self._take(request, len(data)))
            sender = Sender(request.agent_id, request.run_id)
            answer.known_numbers = self._numbers.stacks.known(sender)
            answer.known_frames = self._numbers.frames.known(sender)
            return answer
        except NumbersLost:
            return _Response(status=_Response.STATUS_NEED_DEFINITIONS)
        except Refused as refused:
            self._ledger.count(refused.reason, host)
            raise

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


def _answer(queued: Answer | None) -> ingest_pb2.PushResponse:
    """The answer once it is known; None is a window that is known to be stored."""
    try:
        stored = queued.result(timeout=ACKNOWLEDGE_S) if queued else False
    except FutureTimeout:
        raise Later("The store is slow: the window waits to be stored; ask again.") from None
    if isinstance(stored, Missing):
        return _Response(
            status=_Response.STATUS_NEED_DEFINITIONS,
            unknown_stacks=stored.stacks,
            unknown_series=stored.series,
        )
    return _Response(status=_Response.STATUS_ACCEPTED if stored else _Response.STATUS_DUPLICATE)
