"""Samples that are stored but not yet in the hourly roll-ups.

A function of a service changes its hourly sum with nearly every window, so writing func_1h with each batch costs
more than the samples. Rows are summed here over ROLLUP_S instead, day by day, and written once. Until then the
journal keeps their batches, and table rollups_pending names their hours, which queries answer from samples.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from collector.ingest.definitions import Series, Stack
from collector.ingest.rollups import HOUR_S, StackRows, hourly
from collector.ingest.written import DAY_S

ROLLUP_S = 15.0
"""How long rows wait at most to be rolled up."""
ROLLUP_ROWS = 3_000_000
"""Rows of all days that wait at most: some 100 MB of memory, and 150 MB of journal."""


@dataclass(slots=True)
class Day:
    """What waits of one day."""

    since_s: float
    parts: list[StackRows] = field(default_factory=list)
    series: dict[int, Series] = field(default_factory=dict)
    stacks: dict[int, Stack] = field(default_factory=dict)
    entries: list[int] = field(default_factory=list)
    """Numbers of the journal's entries that hold these rows."""

    def blocks(self) -> dict[str, Any]:
        """Its blocks of stack_1h and func_1h."""
        if not self.parts:
            return {}
        rows = StackRows(
            **{
                each.name: np.concatenate([getattr(part, each.name) for part in self.parts])
                for each in fields(StackRows)
            }
        )
        return hourly(rows, self.series, self.stacks) if len(rows) else {}


def hours_of(rows: StackRows) -> set[int]:
    """The hours in which the rows lie, Unix seconds."""
    return set((np.unique(rows.ts // np.uint32(HOUR_S)).astype(np.int64) * HOUR_S).tolist())


class PendingRollups:
    """Not thread-safe: belongs to the thread that writes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._days: dict[int, Day] = {}

    @property
    def rows(self) -> int:
        """How many rows wait."""
        return sum(len(part) for day in self._days.values() for part in day.parts)

    def add(
        self, entry: int, start_s: int, rows: StackRows, series: dict[int, Series], stacks: dict[int, Stack]
    ) -> None:
        """Keep the rows of journal entry `entry`, which start on the day of `start_s`, with what they mean."""
        day = self.add_entry(entry, start_s)
        day.parts.append(rows)
        day.series.update(series)
        day.stacks.update(stacks)

    def add_entry(self, entry: int, start_s: int) -> Day:
        """Let a journal entry without such rows go with the next roll-up of its day."""
        day = self._days.setdefault(start_s // DAY_S, Day(self._clock()))
        day.entries.append(entry)
        return day

    def due(self, everything: bool = False) -> list[int]:
        """The days to roll up now: those that wait for long, all when many rows wait."""
        now_s = self._clock()
        full = everything or self.rows >= ROLLUP_ROWS
        return [number for number, day in self._days.items() if full or now_s - day.since_s >= ROLLUP_S]

    def of_day(self, number: int) -> Day | None:
        """What waits of a day (days since the epoch)."""
        return self._days.get(number)

    def done(self, number: int) -> None:
        """Forget a day that was rolled up."""
        self._days.pop(number, None)

    def days(self) -> set[int]:
        """Days of which something waits."""
        return set(self._days)
