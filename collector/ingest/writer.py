"""Puts batches into the store's tables, each once, and rolls them up: journal.py says how nothing is lost.

note in the journal → insert into each table → keep the rows for the roll-up → … → note the roll-up → insert it →
sync → forget the entries. What is in the journal is retried until the store takes it.
"""

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa

from collector.ingest.batch import Batch
from collector.ingest.blocks import Blocks
from collector.ingest.definitions import EMPTY_STACK
from collector.ingest.journal import Entry, Header, Journal
from collector.ingest.known import load_series, load_stacks
from collector.ingest.left_rollups import LeftRollups
from collector.ingest.marks import TABLE as MARKS
from collector.ingest.marks import Marks
from collector.ingest.pending import ROLLUP_ROWS, PendingRollups, hours_of
from collector.ingest.recovery import load_present_blocks
from collector.ingest.rollups import StackRows, rows_of_batch, rows_of_samples
from collector.ingest.written import DAY_S
from collector.store.columns import to_table
from collector.store.errors import StoreBusy, StoreError
from collector.store.interface import Block, Store

log = logging.getLogger("fleetprof.ingest")

_FIRST_RETRY_S = 0.25
_LONGEST_RETRY_S = 10.0
_LEFT_AGAIN_S = 60.0
"""Pause after roll-ups of another collector could not be completed."""


class Writer:
    """The only writer of the tables of samples and definitions. Belongs to one thread."""

    def __init__(
        self,
        store: Store,
        journal: Journal,
        abandon: threading.Event,
        failed: Callable[[], None] = lambda: None,
    ) -> None:
        """Finish what a crash interrupted; raises StoreError, OSError.

        `abandon` ends retries, `failed` is called with each insert that the store did not take.
        """
        self._store, self._journal = store, journal
        self._abandon, self._failed = abandon, failed
        self._left_again_s = 0.0
        self.pending = PendingRollups()
        self._settling = ThreadPoolExecutor(1, thread_name_prefix="settle")
        kept = self._recover()
        # After it, since it may insert marks: an hour that is held for marked and is not would stay so.
        self._marks = Marks(store, journal.owner())
        self._left = LeftRollups(store, journal.owner())
        self._mark(kept)

    def write(self, blocks: Blocks, batch: Batch | None, start_s: int) -> bool:
        """Store a batch's blocks, which are of the day of `start_s`; false when abandoned before.

        Raises StoreError or OSError when the batch could not be noted: then nothing of it is stored.
        """
        if self.pending.rows > 4 * ROLLUP_ROWS:
            raise StoreBusy(0, "Roll-ups cannot be stored, and no more rows can wait for theirs.")
        rows = self._to_roll_up(blocks, batch) if batch else None
        hours = hours_of(rows) if rows else set()
        entry = self._note({MARKS: self._marks.to_mark(hours), **blocks})
        if entry is None:
            return True
        self._marks.marked(hours)
        if rows and batch:
            series = dict(zip(batch.series_ids.tolist(), batch.all_series, strict=True))
            stacks = dict(zip(batch.stack_ids.tolist(), batch.all_stacks, strict=True))
            self.pending.add(entry.number, start_s, rows, series, stacks)
        else:
            self.pending.add_entry(entry.number, start_s)
        return self._store_entry(entry)

    def roll_up(self, everything: bool = False) -> bool:
        """Store the roll-ups that are due, or all; false when some could not be noted, and wait on."""
        clear = self._marks.hours if everything else self._marks.ended()
        idle = {hour // DAY_S for hour in clear} - self.pending.days()
        try:
            for day in sorted(idle.union(self.pending.due(everything))):
                self._roll_up_day(day, {hour for hour in clear if hour // DAY_S == day})
        except (OSError, StoreError) as error:
            log.error("Cannot store roll-ups yet: %s", error)
            self._failed()
            return False
        try:
            self._roll_up_left(everything)
        except (OSError, StoreError) as error:
            log.error("Cannot complete the roll-ups of a collector before this one yet: %s", error)
        return True

    def close(self) -> None:
        """Wait until the journal is tidy."""
        self._settling.shutdown()
        self._journal.close()

    def _roll_up_day(self, number: int, clear: set[int]) -> None:
        """Store a day's roll-ups, and clear the marks of the hours `clear`."""
        day = self.pending.of_day(number)
        blocks, entries = (day.blocks(), day.entries) if day else ({}, [])
        entry = self._note({**blocks, MARKS: self._marks.to_clear(clear)}, entries)
        self._marks.cleared(clear)
        self.pending.done(number)
        if entry is None:
            self._settle(entries)
        elif self._store_entry(entry):
            self._settle(entries, [entry.number])

    def _roll_up_left(self, everything: bool) -> None:
        """Complete roll-ups that another collector left, an hour at a time: batches wait meanwhile."""
        idle = [hour for hour in sorted(self._left.hours) if not self.pending.of_day(hour // DAY_S)]
        if not idle or not self._store.owned or (time.monotonic() < self._left_again_s and not everything):
            return
        self._left_again_s = time.monotonic() + _LEFT_AGAIN_S
        if self._store.caught_up():
            for hour in idle if everything else idle[:1]:
                self._complete_hour(hour)
            self._left_again_s = 0.0

    def _complete_hour(self, hour: int) -> None:
        for blocks in itertools.chain(self._left.missing(hour), [{MARKS: self._left.to_clear(hour)}]):
            if entry := self._note(blocks):
                if not self._store_entry(entry):
                    return
                self._settle([entry.number])
        self._left.cleared(hour)

    def _to_roll_up(self, blocks: Blocks, batch: Batch) -> StackRows:
        """The batch's rows that are inserted; others that were there already are rolled up as left ones."""
        samples = blocks["samples"]
        if len(samples["ts"]) == len(batch.ts):
            return rows_of_batch(batch)
        return rows_of_samples(to_table(samples, self._store.schema("samples")))

    def _note(self, blocks: Mapping[str, Block], covers: list[int] | None = None) -> Entry | None:
        """Note the blocks that have rows in the journal; None when there are none."""
        tables = {name: to_table(block, self._store.schema(name)) for name, block in blocks.items()}
        tables = {name: table for name, table in tables.items() if table.num_rows}
        return self._journal.write(self._store.newest_blocks(), tables, covers or ()) if tables else None

    def _store_entry(self, entry: Entry) -> bool:
        """Insert until all tables have it; false when abandoned before."""
        retry_s, done = _FIRST_RETRY_S, set[str]()
        while True:
            try:
                self._insert(entry, done)
                return True
            except StoreError as error:
                log.error("Cannot store a batch yet, retrying: %s", error)
                self._failed()
            if self._abandon.wait(retry_s):
                return False
            retry_s = min(2 * retry_s, _LONGEST_RETRY_S)

    def _insert(self, entry: Entry, done: set[str]) -> None:
        """Insert into the tables that are not `done`; on failure looks first what the store has."""
        if done:
            done |= load_present_blocks(self._store).tables_with(entry.header, None)
        for name, table in entry.tables.items():
            if name not in done:
                done.add("")  # from here on, something may be there
                self._store.insert(name, table, f"{entry.header.token}-{name}")
                done.add(name)

    def _settle(self, first: list[int], then: list[int] | None = None) -> None:
        def settle() -> None:
            try:
                self._journal.settle(sorted(first), sorted(then or []))
            except OSError as error:
                log.error("Cannot tidy the journal, which the next start does: %s", error)

        self._settling.submit(settle)

    def _mark(self, hours: set[int]) -> None:
        """Mark those of the hours that are not."""
        if entry := self._note({MARKS: self._marks.to_mark(hours)}):
            self._insert(entry, set())
            self._settle([entry.number])
        self._marks.marked(hours)

    def _recover(self) -> set[int]:
        """Bring every entry into all tables, keep for the roll-up what none covers yet, and return its hours.

        Entries that complete another one go when that one goes, and after it: without them it would look
        incomplete again.
        """
        headers = self._journal.headers()
        if not headers:
            return set()
        log.info("Finishing %d batches, which were interrupted.", len(headers))
        present = load_present_blocks(self._store)
        covered = {number for header in headers for number in header.covers}
        handed_on = _handed_on(headers)
        chains: dict[int, list[int]] = {}
        first_of: dict[int, int] = {}
        for entry, following in zip(self._journal.entries(headers), [*headers[1:], None], strict=True):
            first = first_of[entry.number] = first_of.get(entry.header.completes, entry.number)
            chain = chains.setdefault(first, [])
            chain.append(entry.number)
            there = present.tables_with(entry.header, following) | handed_on.get(entry.number, set())
            if missing := entry.header.lengths.keys() - there:
                chain += self._complete(entry, missing)
        kept = {header.number for header in headers if _to_roll_up(header, covered)}
        hours: set[int] = set()
        for entry in self._journal.entries([header for header in headers if header.number in kept]):
            hours |= self._keep(entry, chains[entry.number])
        rest = {first: chain for first, chain in chains.items() if first not in kept}
        self._settle(
            [number for first, chain in rest.items() if first in covered for number in chain],
            [number for first, chain in rest.items() if first not in covered for number in chain],
        )
        return hours

    def _complete(self, entry: Entry, missing: set[str]) -> list[int]:
        """Insert what tables lack of an entry, as an entry of its own where the store knows blocks by number."""
        tables = {name: table for name, table in entry.tables.items() if name in missing}
        newest = self._store.newest_blocks()
        if not newest:  # the token tells, or nothing is there yet
            self._insert(entry, set())
            return []
        again = self._journal.write(newest, tables, completes=entry.number)
        self._insert(again, set())
        return [again.number]

    def _keep(self, entry: Entry, chain: list[int]) -> set[int]:
        """Keep an interrupted entry's rows for the roll-up; returns their hours.

        `chain`: the entry and what completes it.
        """
        samples = entry.tables["samples"]
        rows = rows_of_samples(samples)
        start_s = int(samples.column("ts")[0].as_py())
        services = samples.column("service").cast(pa.string()).unique().to_pylist()
        series = load_series(self._store, np.unique(rows.series).tolist(), start_s)
        stacks = load_stacks(self._store, services, np.unique(rows.stack).tolist())
        stacks[0] = EMPTY_STACK
        self.pending.add(chain[0], start_s, rows, series, stacks)
        for number in chain[1:]:
            self.pending.add_entry(number, start_s)
        return hours_of(rows)


def finish(store: Store, journal: Journal) -> bool:
    """Bring what a crash left in the journal into all tables, roll-ups included; false when not all could be.

    Raises StoreError and OSError.
    """
    writer = Writer(store, journal, threading.Event())
    try:
        return writer.roll_up(everything=True)
    finally:
        writer.close()


def _handed_on(headers: Iterable[Header]) -> dict[int, set[str]]:
    """Entry → the tables whose block is in the care of another one, which completes it.

    Only those: a loss of power can take another of its blocks later.
    """
    found: dict[int, set[str]] = {}
    for header in headers:
        if header.completes:
            found.setdefault(header.completes, set()).update(header.lengths)
    return found


def _to_roll_up(header: Header, covered: set[int]) -> bool:
    """Whether the entry's samples are still to be rolled up."""
    samples = "samples" in header.lengths and not header.completes
    return samples and header.number not in covered and "stack_1h" not in header.lengths
