"""Stores batches of spans, each once: the counterpart of the committer (collector/ingest) for table `spans`.

A batch is what one request has of one day, named by the request's content and the day. As there, batches gather for
a moment, are noted in a journal with the tables' newest block numbers, and enter the tables in order.
"""

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import NamedTuple

from collector.ingest.journal import Entry, Journal
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
    """The only writer of tables spans and span_batches. `submit` is safe to call from several threads."""

    def __init__(self, store: Store, journal: Journal, linger_s: float = LINGER_S) -> None:
        """Finish what a crash interrupted and start; raises StoreError."""
        self._store, self._journal, self._linger_s = store, journal, linger_s
        self._changed = threading.Condition()
        self._queue: list[_Waiting] = []
        self._pending: dict[BatchKey, Future[None]] = {}
        self._queued = 0
        self._stopping = False
        self._abandon = threading.Event()
        self.stored = 0
        """Spans stored since start."""
        for entry in journal.unfinished():
            log.info("Finishing batch %d of spans, which was interrupted.", entry.number)
            self._insert(entry, again=True)
        self._known = self._load()
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """False once the thread has ended."""
        return self._thread.is_alive()

    def submit(self, key: BatchKey, spans: Sequence[Span]) -> "Future[None] | None":
        """Queue a batch; None when it is stored already. Raises Later when the queue is full or closed."""
        with self._changed:
            if key in self._pending:
                return self._pending[key]
            if key in self._known:
                return None
        if self._is_stored(key, max(span.ts for span in spans)):
            return None
        with self._changed:
            if self._stopping or not self.alive:
                raise Later("The collector is stopping.")
            if self._queue and self._queued + len(spans) > QUEUE_SPANS:
                raise Later("The collector has more spans to store than it can.", overloaded=True)
            if key in self._pending or key in self._known:
                return self._pending.get(key)
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
            self._changed.wait_for(
                lambda: self._stopping or self._queued >= BATCH_SPANS, timeout=self._linger_s
            )
            count = spans = 0
            while count < len(self._queue) and (not count or spans < BATCH_SPANS):
                spans += len(self._queue[count].spans)
                count += 1
            taken, self._queue = self._queue[:count], self._queue[count:]
            self._queued -= spans
            return taken

    def _commit(self, batches: list[_Waiting]) -> None:
        """Store batches of one day."""
        try:
            entry = self._note(batches)
        except (OSError, StoreError) as error:
            log.error("Cannot store %d batches of spans: %s", len(batches), error)
            self._finish(batches, Later(f"The collector cannot store now: {error}", retry_ms=5000))
            return
        if self._store_entry(entry):
            self.stored += sum(len(each.spans) for each in batches)
            self._finish(batches, None)

    def _note(self, batches: list[_Waiting]) -> Entry:
        blocks = {
            "spans": to_block([span for each in batches for span in each.spans]),
            "span_batches": {
                "ts": [each.key.day * _DAY_S for each in batches],
                "batch": [each.key.number for each in batches],
                "spans": [len(each.spans) for each in batches],
                "received_at": [int(time.time())] * len(batches),
            },
        }
        tables = {name: to_table(block, self._store.schema(name)) for name, block in blocks.items()}
        return self._journal.write(self._store.newest_blocks(), tables)

    def _store_entry(self, entry: Entry) -> bool:
        """Insert until both tables have it; false when the collector stops before."""
        retry_s, again = _FIRST_RETRY_S, False
        while True:
            try:
                self._insert(entry, again)
                return True
            except StoreError as error:
                log.error("Cannot store spans yet, retrying: %s", error)
            if self._abandon.wait(retry_s):
                return False
            retry_s, again = min(2 * retry_s, _LONGEST_RETRY_S), True

    def _insert(self, entry: Entry, again: bool) -> None:
        """Insert a noted batch; `again` when tables may have it already (see collector/ingest/journal.py)."""
        newest = self._store.newest_blocks() if again else {}
        for name, table in entry.tables.items():
            if not again or newest.get(name, 0) <= entry.newest_blocks.get(name, 0):
                self._store.insert(name, table, f"{entry.token}-{name}")
        self._journal.remove(entry)

    def _finish(self, batches: list[_Waiting], error: Later | None) -> None:
        with self._changed:
            for each in batches:
                self._pending.pop(each.key)
                if not error:
                    self._known[each.key] = None
            while len(self._known) > MAX_KNOWN:
                del self._known[next(iter(self._known))]
                self._all_since_s = time.time()
        for each in batches:
            if error:
                each.future.set_exception(error)
            else:
                each.future.set_result(None)

    def _load(self) -> dict[BatchKey, None]:
        """The batches of the last hour."""
        self._all_since_s = time.time() - KNOWN_S
        rows = self._store.query(
            (
                "SELECT toUInt32(ts) AS at, batch FROM span_batches WHERE received_at >= toDateTime(%(from)s)",
                {"from": int(self._all_since_s)},
            )
        )
        pairs = zip(rows["at"].tolist(), rows["batch"].tolist(), strict=True)
        return {BatchKey(at // _DAY_S, number): None for at, number in pairs}

    def _is_stored(self, key: BatchKey, newest_s: int) -> bool:
        """Whether the store has a batch that may have come before those in memory.

        None came before its newest span began, but for what clocks differ.
        """
        if newest_s >= self._all_since_s + _CLOCKS_S:
            return False
        rows = self._store.query(
            (
                "SELECT count() AS n FROM span_batches WHERE ts = toDateTime(%(ts)s) AND batch = %(batch)s",
                {"ts": key.day * _DAY_S, "batch": key.number},
            )
        )
        return bool(rows["n"][0])
