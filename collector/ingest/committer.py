"""Stores windows in batches, each batch once: one thread gathers what was pushed and writes it.

gather → build the tables' blocks → note them in the journal → insert each → forget the journal's entry → tell
those who wait. A batch that is in the journal is retried until the store takes it.
"""

import logging
import threading
from collections import Counter
from concurrent.futures import Future
from dataclasses import dataclass

from collector.ingest.accepted import AcceptedWindows
from collector.ingest.blocks import make_blocks
from collector.ingest.journal import Entry, Journal
from collector.ingest.known import KnownDefinitions, Resolved
from collector.ingest.loss_ledger import LossKey, LossLedger
from collector.ingest.refusal import Later
from collector.ingest.window import WindowKey
from collector.ingest.written import DAY_S, Written
from collector.store.columns import to_table
from collector.store.errors import StoreError
from collector.store.interface import Store
from fleetprof.frames import Frame

log = logging.getLogger("fleetprof.ingest")

LINGER_S = 0.2
"""How long the first window of a batch waits for others: at most five batches, hence blocks, a second."""
BATCH_ROWS = 500_000
QUEUE_ROWS = 4_000_000
"""Most sample rows that wait; beyond, senders are told to come later."""
FLUSH_S = 5.0
"""Longest time that losses alone wait for a window to be stored with."""

_FIRST_RETRY_S = 0.25
_LONGEST_RETRY_S = 10.0


@dataclass(slots=True)
class Stored:
    """Sums since start."""

    windows: int = 0
    rows: int = 0
    insert_errors: int = 0


@dataclass(frozen=True, slots=True)
class Queued:
    """What waits to be stored."""

    windows: int
    rows: int


class Committer:
    """The only writer of the store's tables. `submit` is safe to call from several threads."""

    def __init__(
        self,
        store: Store,
        journal: Journal,
        known: KnownDefinitions,
        ledger: LossLedger,
        linger_s: float = LINGER_S,
    ) -> None:
        """Finish what a crash interrupted, load what is stored, and start; raises StoreError."""
        self._store, self._journal = store, journal
        self._known, self._ledger = known, ledger
        self._linger_s = linger_s
        self._written = Written()
        self._changed = threading.Condition()
        self._queue: list[Resolved] = []
        self._queued_rows = 0
        self._waiting: dict[WindowKey, Future[None]] = {}
        self._stopping = False
        self._abandon = threading.Event()
        self.stored = Stored()
        for entry in journal.unfinished():
            log.info("Finishing batch %d, which was interrupted.", entry.number)
            self._insert(entry, again=True)
        self.accepted = AcceptedWindows(store)
        self._thread = threading.Thread(target=self._run, name="commit", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """False once the thread has ended."""
        return self._thread.is_alive()

    @property
    def queued(self) -> Queued:
        """What waits now."""
        with self._changed:
            return Queued(len(self._queue), self._queued_rows)

    def submit(self, resolved: Resolved) -> Future[None] | None:
        """Queue a window; the future is done when it is stored. None when it is stored already.

        A window that waits already gets the same future. Raises Later when the queue is full or closed.
        """
        key, rows = resolved.window.key, len(resolved.window.rows)
        with self._changed:
            if key in self._waiting:
                return self._waiting[key]
            if resolved.window in self.accepted:
                return None
            if self._stopping or not self.alive:
                raise Later("The collector is stopping.")
            if self._queue and self._queued_rows + rows > QUEUE_ROWS:
                raise Later("The collector has more to store than it can; try again.", overloaded=True)
            future = self._waiting[key] = Future()
            self._queue.append(resolved)
            self._queued_rows += rows
            self._changed.notify_all()
            return future

    def stop(self, grace_s: float) -> bool:
        """Store what is queued, then end; false when that took more than `grace_s`.

        What is left was either never acknowledged, or is in the journal and stored at the next start.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join(grace_s)
        self._abandon.set()
        self._thread.join(grace_s)
        return not self._thread.is_alive() and not self._waiting

    def _run(self) -> None:
        try:
            while not self._abandon.is_set() and (windows := self._gather()) is not None:
                for day in _by_day(windows):
                    self._commit(day)
            self._commit([])
        finally:
            self._fail_all(Later("The collector has stopped storing."))

    def _gather(self) -> list[Resolved] | None:
        """The next windows to store, none when only losses may wait; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._stopping, timeout=FLUSH_S)
            if not self._queue:
                return None if self._stopping else []
            full = lambda: self._stopping or self._queued_rows >= BATCH_ROWS  # noqa: E731
            self._changed.wait_for(full, timeout=self._linger_s)
            return self._take()

    def _take(self) -> list[Resolved]:
        """Windows from the queue's head, up to BATCH_ROWS rows but at least one."""
        count = rows = 0
        while count < len(self._queue) and (not count or rows < BATCH_ROWS):
            rows += len(self._queue[count].window.rows)
            count += 1
        taken, self._queue = self._queue[:count], self._queue[count:]
        self._queued_rows -= rows
        return taken

    def _commit(self, windows: list[Resolved]) -> None:
        """Store windows that start on one day, with the definitions and losses that wait."""
        frames, losses = self._known.take_frames(), self._losses_of_one_day(windows)
        try:
            entry = self._note(windows, frames, losses)
        except (OSError, StoreError) as error:
            log.error("Cannot store %d windows: %s", len(windows), error)
            self.stored.insert_errors += 1
            self._written.forget()
            self._known.give_back(frames)
            self._ledger.give_back(losses)
            self._finish(windows, Later(f"The collector cannot store now: {error}", retry_ms=5000))
            return
        if entry is None or self._store_entry(entry):
            self.accepted.add(resolved.window for resolved in windows)
            self.stored.windows += len(windows)
            self.stored.rows += sum(len(resolved.window.rows) for resolved in windows)
            self._finish(windows, None)

    def _note(
        self, windows: list[Resolved], frames: dict[int, Frame], losses: Counter[LossKey]
    ) -> Entry | None:
        """Build the blocks and note them in the journal; None when there is nothing to store."""
        blocks = make_blocks(windows, frames, losses, self._written)
        tables = {name: to_table(block, self._store.schema(name)) for name, block in blocks.items()}
        tables = {name: table for name, table in tables.items() if table.num_rows}
        return self._journal.write(self._store.newest_blocks(), tables) if tables else None

    def _store_entry(self, entry: Entry) -> bool:
        """Insert until all tables have it; false when the collector stops before."""
        retry_s, again = _FIRST_RETRY_S, False
        while True:
            try:
                self._insert(entry, again)
                return True
            except StoreError as error:
                log.error("Cannot store a batch yet, retrying: %s", error)
                self.stored.insert_errors += 1
            if self._abandon.wait(retry_s):
                return False
            retry_s, again = min(2 * retry_s, _LONGEST_RETRY_S), True

    def _insert(self, entry: Entry, again: bool) -> None:
        """Insert a noted batch; `again` when tables may have it already."""
        done = self._already_in(entry) if again else set()
        for name, table in entry.tables.items():
            if name not in done:
                self._store.insert(name, table, f"{entry.token}-{name}")
        self._journal.remove(entry)

    def _already_in(self, entry: Entry) -> set[str]:
        """The tables that have the batch's block (see journal.py)."""
        newest = self._store.newest_blocks()
        return {name for name in entry.tables if newest.get(name, 0) > entry.newest_blocks.get(name, 0)}

    def _losses_of_one_day(self, windows: list[Resolved]) -> Counter[LossKey]:
        """The losses to store with these windows: of the same day, so that each table gets one block."""
        waiting = self._ledger.take()
        starts = [resolved.window.start_s for resolved in windows[:1]] or [key.ts for key in waiting]
        today = Counter({key: n for key, n in waiting.items() if key.ts // DAY_S == starts[0] // DAY_S})
        self._ledger.give_back(waiting - today)
        return today

    def _finish(self, windows: list[Resolved], error: Later | None) -> None:
        with self._changed:
            futures = [self._waiting.pop(resolved.window.key) for resolved in windows]
        for future in futures:
            if error:
                future.set_exception(error)
            else:
                future.set_result(None)

    def _fail_all(self, error: Later) -> None:
        with self._changed:
            futures, self._waiting, self._queue = list(self._waiting.values()), {}, []
        for future in futures:
            future.set_exception(error)


def _by_day(windows: list[Resolved]) -> list[list[Resolved]]:
    """The windows grouped by the day they start on; one empty group when there are none."""
    days: dict[int, list[Resolved]] = {}
    for resolved in windows:
        days.setdefault(resolved.window.start_s // DAY_S, []).append(resolved)
    return list(days.values()) or [[]]
