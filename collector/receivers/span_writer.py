"""Stores batches of spans, each once.

A batch is what one request has of one day, named by the hash of the request, which stands in every row. One insert
enters table `spans` whole or not at all, so a batch is stored if and only if the table has a row of it: that is
asked where an insert failed half-way, and where a request may come again from before this process began.
"""

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from typing import NamedTuple

from collector.ingest.refusal import Later
from collector.receivers.spans import Span, to_block
from collector.store.columns import to_table
from collector.store.errors import StoreError
from collector.store.interface import Store

log = logging.getLogger("fleetprof.ingest")

LINGER_S = 0.2
BATCH_SPANS = 50_000
QUEUE_SPANS = 200_000
"""Most spans that wait, some 400 MB; beyond, senders are told to come later."""
KNOWN_S = 3600
"""A batch that came within this time is known in memory; an older one is looked up."""
MAX_KNOWN = 500_000

_FIRST_RETRY_S = 0.25
_LONGEST_RETRY_S = 10.0
_DAY_S = 86400
_CLOCKS_S = 300
"""A span's clock may be so far ahead."""


class BatchKey(NamedTuple):
    """What names a batch: days since the epoch, and the content's hash."""

    day: int
    number: int


class _Waiting(NamedTuple):
    key: BatchKey
    spans: Sequence[Span]
    future: "Future[None]"


class SpanWriter:
    """The only writer of table spans. `submit` is safe to call from several threads."""

    def __init__(self, store: Store, linger_s: float = LINGER_S) -> None:
        """Load what came lately and start; raises StoreError."""
        self._store, self._linger_s = store, linger_s
        self._changed = threading.Condition()
        self._queue: list[_Waiting] = []
        self._pending: dict[BatchKey, Future[None]] = {}
        self._queued = 0
        self._stopping = False
        self._abandon = threading.Event()
        self.stored = 0
        """Spans stored since start."""
        self._all_since_s = time.time() - KNOWN_S
        self._known = self._load()
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """False once the thread has ended."""
        return self._thread.is_alive()

    def submit(self, key: BatchKey, spans: Sequence[Span]) -> "Future[None] | None":
        """Queue a batch (at least one span); the future is done when it is stored, None when it was before.

        Raises Later when the queue is full or closed, StoreError.
        """
        with self._changed:
            if key in self._known or key in self._pending:
                return self._pending.get(key)
        # None came before its newest span began, but for what clocks differ.
        old = max(span.ts for span in spans) < self._all_since_s + _CLOCKS_S
        if old and self._stored([key]):
            return None
        with self._changed:
            if key in self._known or key in self._pending:
                return self._pending.get(key)
            if self._stopping or not self.alive:
                raise Later("The collector is stopping.")
            if self._queue and self._queued + len(spans) > QUEUE_SPANS:
                raise Later("The collector has more spans to store than it can.", overloaded=True)
            future = self._pending[key] = Future()
            self._queue.append(_Waiting(key, spans, future))
            self._queued += len(spans)
            self._changed.notify_all()
            return future

    def stop(self, grace_s: float) -> bool:
        """Store what is queued, then end; false when that took more than `grace_s`."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join(grace_s)
        self._abandon.set()
        self._thread.join(grace_s)
        return not self._thread.is_alive() and not self._pending

    def _run(self) -> None:
        try:
            while not self._abandon.is_set() and (batches := self._gather()):
                for day in sorted({each.key.day for each in batches}):
                    self._commit([each for each in batches if each.key.day == day])
        finally:
            with self._changed:
                left, self._pending, self._queue = list(self._pending.values()), {}, []
            for future in left:
                future.set_exception(Later("The collector has stopped storing."))

    def _gather(self) -> list[_Waiting]:
        """The next batches; none at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._stopping)
            full = lambda: self._stopping or self._queued >= BATCH_SPANS  # noqa: E731
            self._changed.wait_for(full, timeout=self._linger_s)
            count = spans = 0
            while count < len(self._queue) and (not count or spans < BATCH_SPANS):
                spans += len(self._queue[count].spans)
                count += 1
            taken, self._queue = self._queue[:count], self._queue[count:]
            self._queued -= spans
            return taken

    def _commit(self, batches: list[_Waiting]) -> None:
        """Insert batches of one day until the store has them, or the collector stops."""
        retry_s, left = _FIRST_RETRY_S, batches
        while True:
            try:
                if left is not batches:
                    done = self._stored([each.key for each in batches])
                    left = [each for each in batches if each.key not in done]
                self._insert(left)
                break
            except StoreError as error:
                log.error("Cannot store spans yet, retrying: %s", error)
                left = []
            if self._abandon.wait(retry_s):
                return
            retry_s = min(2 * retry_s, _LONGEST_RETRY_S)
        self.stored += sum(len(each.spans) for each in batches)
        self._finish(batches)

    def _insert(self, batches: list[_Waiting]) -> None:
        if not batches:
            return
        rows = [(span, each.key.number) for each in batches for span in each.spans]
        block = to_block([span for span, _ in rows], [number for _, number in rows])
        token = "-".join(f"{each.key.number:x}" for each in batches[:4])
        self._store.insert("spans", to_table(block, self._store.schema("spans")), f"{token}-{len(rows)}")

    def _finish(self, batches: list[_Waiting]) -> None:
        with self._changed:
            for each in batches:
                self._pending.pop(each.key)
                self._known[each.key] = None
            while len(self._known) > MAX_KNOWN:
                del self._known[next(iter(self._known))]
                self._all_since_s = time.time()
        for each in batches:
            each.future.set_result(None)

    def _load(self) -> dict[BatchKey, None]:
        """The batches with spans of the last hour: a newer one cannot have come before that."""
        sql = "SELECT DISTINCT toRelativeDayNum(ts) AS day, batch FROM spans WHERE ts >= toDateTime(%(from)s)"
        rows = self._store.query((sql, {"from": int(self._all_since_s)}))
        pairs = zip(rows["day"].tolist(), rows["batch"].tolist(), strict=True)
        return {BatchKey(int(day), int(number)): None for day, number in pairs}

    def _stored(self, keys: Iterable[BatchKey]) -> set[BatchKey]:
        """Those of the batches, of one day, that the store has."""
        wanted = list(keys)
        start_s = wanted[0].day * _DAY_S
        rows = self._store.query(
            (
                "SELECT DISTINCT batch FROM spans WHERE ts >= toDateTime(%(from)s)"
                " AND ts < toDateTime(%(to)s) AND batch IN %(batches)s",
                {"from": start_s, "to": start_s + _DAY_S, "batches": [key.number for key in wanted]},
            )
        )
        found = set(rows["batch"].tolist())
        return {key for key in wanted if key.number in found}
