"""Which hours are marked as not wholly rolled up (table rollups_pending).

An hour is marked before its first samples are inserted, and cleared after its roll-ups are. The hour that is going
on stays marked: the next batch would mark it again.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from collector.ingest.rollups import HOUR_S
from collector.store.interface import Store

TABLE = "rollups_pending"


class Marks:
    """The marks of one collector. Not thread-safe: belongs to the thread that writes."""

    def __init__(self, store: Store, collector: str, clock: Callable[[], float] = time.time) -> None:
        """Load the marks of `collector`, a name that it keeps across restarts; raises StoreError."""
        self._collector, self._clock = collector, clock
        found = store.query(
            (
                f"SELECT ts, argMax(pending, version) AS marked, max(version) AS newest FROM {TABLE}"  # noqa: S608
                " WHERE collector = %(collector)s GROUP BY ts",
                {"collector": collector},
            )
        )
        self._version = int(found["newest"].max()) if len(found["newest"]) else 0
        self.hours = {int(ts) for ts, marked in zip(found["ts"], found["marked"], strict=True) if marked}
        """The hours that are marked, Unix seconds."""

    def to_mark(self, hours: Iterable[int]) -> dict[str, Any]:
        """The rows that mark those of `hours` that are not; `marked` says that they were stored."""
        return self._rows(sorted(set(hours) - self.hours), pending=1)

    def marked(self, hours: Iterable[int]) -> None:
        """`hours` are marked in the store, or bound to be."""
        self.hours |= set(hours)

    def ended(self) -> set[int]:
        """The marked hours that are not going on."""
        return self.hours - {int(self._clock()) // HOUR_S * HOUR_S}

    def to_clear(self, hours: Iterable[int]) -> dict[str, Any]:
        """The rows that clear the marks of `hours`."""
        return self._rows(sorted(hours), pending=0)

    def cleared(self, hours: Iterable[int]) -> None:
        """The marks of `hours` are cleared in the store, or bound to be."""
        self.hours -= set(hours)

    def _rows(self, hours: list[int], pending: int) -> dict[str, Any]:
        self._version = max(self._version + 1, time.time_ns())
        return {
            "ts": np.array(hours, np.uint32),
            "collector": [self._collector] * len(hours),
            "pending": np.full(len(hours), pending, np.uint8),
            "version": np.full(len(hours), self._version, np.uint64),
        }
