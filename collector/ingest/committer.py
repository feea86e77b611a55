"""Stores windows in batches, each batch once: one thread gathers what was pushed and writes it.

gather → decode and resolve → build the tables' blocks → write (writer.py) → tell those who wait → roll up.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar

from collector.ingest.accepted import AcceptedWindows
from collector.ingest.batch import Batch
from collector.ingest.blocks import make_blocks
from collector.ingest.half_stored import HalfStored
from collector.ingest.journal import Journal
from collector.ingest.known import KnownDefinitions, Missing
from collector.ingest.limits import Limits
from collector.ingest.loss_ledger import LossKey, LossLedger
from collector.ingest.refusal import Later
from collector.ingest.resolve import Why, make_batch
from collector.ingest.window import Window, WindowKey
from collector.ingest.writer import Writer
from collector.ingest.written import DAY_S, Written
from collector.store.errors import StoreBusy, StoreError
from collector.store.interface import Store
from fleetprof.errors import FleetprofError

T = TypeVar("T")

log = logging.getLogger("fleetprof.ingest")

LINGER_S = 0.5
"""How long the first window of a batch waits for others: at most two batches a second, each several blocks."""
LINGERED_ON_FOR, LINGERS = 16, 4
"""Where so many came meanwhile, it waits for as long again, so many times in all: a batch takes some 0.15 s of CPU
time, whatever is in it."""
BATCH_ROWS = 500_000
BATCH_WINDOWS = 512
"""A batch of this many windows or rows does not wait for more."""
QUEUE_ROWS = 4_000_000
"""Most sample rows that wait; beyond, senders are told to come later."""
FLUSH_S = 5.0
"""Longest time that losses alone wait for a window to be stored with."""
REFUSED_MS = 30_000
"""When senders come again while no window can be taken."""

Answer = Future[Missing | bool]
"""True once the window is stored, False where it was before, or what its sender must define first; Refused, Later
or NumbersLost as exceptions."""


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
        limits: Limits | None = None,
        refusal: Callable[[], str] = str,
    ) -> None:
        """Finish what a crash interrupted, load what is stored, and start; raises StoreError, OSError.

        `refusal` says why no window can be taken now (the disk is full), "" while that is not so.
        """
        self._refusal = refusal
        self._known, self._ledger = known, ledger
        self._linger_s, self._limits = linger_s, limits or Limits()
        self._written = Written()
        self._changed = threading.Condition()
        self._queue: list[Window] = []
        self._queued_rows = 0
        self._waiting: dict[WindowKey, Answer] = {}
        self._stopping = False
        self._abandon = threading.Event()
        self._flush: list[Callable[[bool], None]] = []
        self.stored = Stored()
        self._writer = Writer(store, journal, self._abandon, self._count_error)
        self._half_stored = HalfStored(store, journal.owner())
        for start_s, blocks in self._half_stored.completing():
            self._writer.write(blocks, None, start_s)
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

    def submit(self, window: Window) -> Answer | None:
        """Queue a window; the future has its answer. None when it is known to be stored.

        A window that waits already gets the same future. Raises Later when the queue is full or closed.
        """
        with self._changed:
            if window.key in self._waiting:
                return self._waiting[window.key]
            if window in self.accepted:
                return None
            if self._stopping or not self.alive:
                raise Later("The collector is stopping.")
            if refusal := self._refusal():
                raise Later(refusal, retry_ms=REFUSED_MS, overloaded=True)
            if self._queue and self._queued_rows + window.rows > QUEUE_ROWS:
                raise Later("The collector has more to store than it can; try again.", overloaded=True)
            answer = self._waiting[window.key] = Future()
            self._queue.append(window)
            self._queued_rows += window.rows
            if len(self._queue) == 1 or self._full():
                self._changed.notify_all()
            return answer

    def flush(self) -> bool:
        """Roll up all that is stored, and wait for it; false when the store did not take it."""
        done: Future[bool] = Future()
        return self._ask_for_roll_up(done.set_result) and done.result()

    def at_rest(self, action: Callable[[], T]) -> T:
        """What `action` returns or raises (StoreError, OSError), run between two batches, when all is rolled up.

        While it runs nothing is stored. Raises StoreBusy when roll-ups cannot be stored, or the collector stops.
        """
        done: Future[T] = Future()

        def run(rolled_up: bool) -> None:
            try:
                if not rolled_up:
                    raise StoreBusy(0, "The roll-ups cannot be stored now.", "See what the collector says.")
                done.set_result(action())
            except (FleetprofError, OSError) as error:
                done.set_exception(error)

        if not self._ask_for_roll_up(run):
            raise StoreBusy(0, "The collector is stopping.", "Try again when it runs.")
        return done.result()

    def _ask_for_roll_up(self, then: Callable[[bool], None]) -> bool:
        """Have all rolled up, and `then` called with whether it was; false where that will not be."""
        with self._changed:
            if self._stopping or not self.alive:
                return False
            self._flush.append(then)
            self._changed.notify_all()
        return True

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
                for some in self._apart(windows):
                    self._commit(some)
                self._roll_up()
            self._commit([])
            self._writer.roll_up(everything=True)
        finally:
            self._fail_all(Later("The collector has stopped storing."))
            self._writer.close()

    def _roll_up(self) -> None:
        with self._changed:
            asked, self._flush = self._flush, []
        done = self._writer.roll_up(everything=bool(asked))
        for then in asked:
            then(done)

    def _full(self) -> bool:
        """Whether a batch need not wait for more."""
        return self._queued_rows >= BATCH_ROWS or len(self._queue) >= BATCH_WINDOWS

    def _gather(self) -> list[Window] | None:
        """The next windows to store, none when only losses may wait; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._flush or self._stopping, timeout=FLUSH_S)
            if not self._queue:
                return None if self._stopping else []
            self._linger()
            return self._take()

    def _linger(self) -> None:
        """Wait for more windows, as long as many come."""
        enough = lambda: self._stopping or self._flush or self._full()  # noqa: E731
        for _ in range(LINGERS):
            before = len(self._queue)
            if self._changed.wait_for(enough, timeout=self._linger_s):
                return
            if len(self._queue) - before < LINGERED_ON_FOR:
                return

    def _take(self) -> list[Window]:
        """Windows from the queue's head, up to BATCH_ROWS rows but at least one."""
        count = rows = 0
        while count < len(self._queue) and (not count or rows < BATCH_ROWS):
            rows += self._queue[count].rows
            count += 1
        taken, self._queue = self._queue[:count], self._queue[count:]
        self._queued_rows -= rows
        return taken

    def _commit(self, windows: list[Window]) -> None:
        """Store windows of one group, with the definitions and losses that wait."""
        try:
            again = self.accepted.look_up(windows)
            self._finish([window for window in windows if window.key in again], False)
            windows = [window for window in windows if window.key not in again]
            batch, away = make_batch(windows, self._known, self._limits)
        except StoreError as error:
            self._not_now(windows, error)
            return
        for window, why in away:
            self._finish([window], why)
        good = batch.windows if batch else []
        try:
            stored = self._write(batch)
        except (OSError, StoreError) as error:
            self._not_now(good, error)
            return
        if stored:
            self.accepted.add(good)
            self.stored.windows += len(good)
            self.stored.rows += sum(window.rows for window in good)
            self._finish(good, True)

    def _write(self, batch: Batch | None) -> bool:
        """Store a batch; false when the collector stops before. Raises when nothing of it is stored."""
        frames, losses = self._known.take_frames(), self._losses_of_one_day(batch)
        days = [batch.start_s] if batch else [key.ts for key in losses]
        try:
            blocks = make_blocks(batch, frames, losses, self._written)
            if batch:
                blocks = self._half_stored.whole(batch.windows, blocks)
            return self._writer.write(blocks, batch, days[0] if days else 0)
        except (OSError, StoreError):
            self._written.forget()
            self._known.give_back(frames)
            self._ledger.give_back(losses)
            raise

    def _not_now(self, windows: list[Window], error: Exception) -> None:
        log.error("Cannot store %d windows: %s", len(windows), error)
        self._count_error()
        self._finish(windows, Later(f"The collector cannot store now: {error}", retry_ms=5000))

    def _count_error(self) -> None:
        self.stored.insert_errors += 1

    def _losses_of_one_day(self, batch: Batch | None) -> Counter[LossKey]:
        """The losses to store with a batch: of the same day, so that each table gets one block."""
        waiting = self._ledger.take()
        starts = [batch.start_s] if batch else [key.ts for key in waiting]
        today = Counter({key: n for key, n in waiting.items() if key.ts // DAY_S == starts[0] // DAY_S})
        self._ledger.give_back(waiting - today)
        return today

    def _finish(self, windows: Iterable[Window], answer: Why | Later | bool) -> None:
        with self._changed:
            futures = [self._waiting.pop(window.key) for window in windows]
        for future in futures:
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)

    def _fail_all(self, error: Later) -> None:
        with self._changed:
            futures, self._waiting, self._queue = list(self._waiting.values()), {}, []
            asked, self._flush = self._flush, []
        for future in futures:
            future.set_exception(error)
        for then in asked:
            then(False)

    def _apart(self, windows: list[Window]) -> list[list[Window]]:
        """The windows grouped by the day they start on, those that may be stored in part for themselves.

        One empty group when there are none.
        """
        groups: dict[tuple[int, bool], list[Window]] = {}
        for window in windows:
            kind = window.start_s // DAY_S, window in self._half_stored
            groups.setdefault(kind, []).append(window)
        return list(groups.values()) or [[]]
