"""Hours that another collector left marked: what took over adds to their roll-ups what these lack of the samples.

Who has that collector's journal finishes its roll-ups from there. Without it (its disk is elsewhere, or lost) the
samples say what is missing: hour by hour and service by service, their sums less those of the roll-ups. Only one
collector writes, and it does this when it has rolled up all of its own, so both sums stand still meanwhile; what a
crash interrupts here is journalled like any batch, and would be found missing again otherwise.
"""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from collector.ingest.blocks import Blocks
from collector.ingest.definitions import EMPTY_STACK
from collector.ingest.known import load_series, load_stacks
from collector.ingest.marks import TABLE as MARKS
from collector.ingest.rollups import HOUR_S, StackRows, hourly
from collector.ingest.words import TYPE_LABELS
from collector.store.interface import Columns, Store

log = logging.getLogger("fleetprof.ingest")

_HOUR = "ts >= toDateTime(%(hour)s) AND ts < toDateTime(%(end)s)"
_LEFT = (
    f"SELECT ts, collector, argMax(pending, version) AS marked, max(version) AS newest FROM {MARKS}"  # noqa: S608
    " GROUP BY ts, collector"
)
_SERVICES = f"SELECT DISTINCT service FROM samples WHERE {_HOUR}"  # noqa: S608 (own text)
_SAMPLES = (
    "SELECT series, stack, type, sum(value) AS v, sum(captures) AS c FROM samples"  # noqa: S608
    f" WHERE {_HOUR} AND service = %(service)s AND type != 'idle' GROUP BY series, stack, type"
)
_SUMS = {
    "stack_1h": ("stack", "value", "captures"),
    "func_1h": ("func", "self", "total"),
}
_GROUP = ("service", "type", "version", "region")


class LeftRollups:
    """Not thread-safe: belongs to the thread that stores."""

    def __init__(self, store: Store, collector: str) -> None:
        """Load which hours others than `collector` left; raises StoreError."""
        self._store = store
        found = store.query((_LEFT, {}))
        self._unclear: set[int] = set()
        self._marks: dict[int, list[tuple[str, int]]] = {}
        for ts, name, marked, newest in zip(*(column.tolist() for column in found.values()), strict=True):
            if marked and name != collector:
                self._marks.setdefault(int(ts), []).append((str(name), int(newest)))

    @property
    def hours(self) -> set[int]:
        """The hours, Unix seconds."""
        return set(self._marks)

    def missing(self, hour: int) -> Iterator[Blocks]:
        """What the hour's roll-ups lack, service by service; raises StoreError."""
        span = {"hour": hour, "end": hour + HOUR_S}
        for service in self._store.query((_SERVICES, span))["service"].tolist():
            whole = self._whole(
                hour, self._store.query((_SAMPLES, {**span, "service": service})), str(service)
            )
            yield {table: self._less(table, block, span) for table, block in whole.items()}

    def to_clear(self, hour: int) -> dict[str, Any]:
        """The rows that clear the hour's marks; none where samples lack their definitions.

        Such an hour stays marked, and is answered from samples.
        """
        marks = [] if hour in self._unclear else self._marks[hour]
        names, newest = zip(*marks, strict=True) if marks else ((), ())
        return {
            "ts": np.full(len(names), hour, np.uint32),
            "collector": list(names),
            "pending": np.zeros(len(names), np.uint8),
            "version": np.array(newest, np.uint64) + np.uint64(1),
        }

    def cleared(self, hour: int) -> None:
        """The hour's marks are cleared in the store, or bound to be."""
        del self._marks[hour]

    def _whole(self, hour: int, samples: Columns, service: str) -> Blocks:
        """The roll-ups as they should be."""
        types = {name: place for place, name in enumerate(TYPE_LABELS)}
        series = load_series(self._store, np.unique(samples["series"]).tolist(), hour)
        stacks = load_stacks(self._store, [service], np.unique(samples["stack"]).tolist())
        stacks[0] = EMPTY_STACK
        known = np.isin(samples["series"], list(series)) & np.isin(samples["stack"], list(stacks))
        if not known.all():
            self._unclear.add(hour)
            log.error(
                "%d rows of %s in the hour of %d have a stack or series that is not stored.",
                np.count_nonzero(~known), service, hour,
            )  # fmt: skip
        samples = {name: column[known] for name, column in samples.items()}
        rows = StackRows(
            ts=np.full(len(samples["series"]), hour, np.uint32),
            series=samples["series"],
            stack=samples["stack"],
            type=np.array([types[name] for name in samples["type"].tolist()], np.uint8),
            value=samples["v"],
            captures=samples["c"].astype(np.uint32),
        )
        return hourly(rows, series, stacks) if len(rows) else {}

    def _less(self, table: str, block: Mapping[str, Any], span: Mapping[str, int]) -> dict[str, Any]:
        """The rows of a roll-up as it should be, less what it has."""
        item, first, second = _SUMS[table]
        columns = {name: _items(column) for name, column in block.items()}
        there = self._there(table, span, columns["service"][:1])
        kept = []
        for place, key in enumerate(zip(*(columns[name] for name in (*_GROUP, item)), strict=True)):
            has = there.get(key, (0, 0))
            # Never less than nothing: a collector that was taken over from may read on while the other one writes.
            columns[first][place] = max(columns[first][place] - has[0], 0)
            columns[second][place] = max(columns[second][place] - has[1], 0)
            if columns[first][place] > 0 or columns[second][place] > 0:
                kept.append(place)
        return {name: [column[place] for place in kept] for name, column in columns.items()}

    def _there(
        self, table: str, span: Mapping[str, int], services: list[str]
    ) -> dict[tuple[Any, ...], tuple[int, int]]:
        item, first, second = _SUMS[table]
        names = ", ".join((*_GROUP, item))
        found = self._store.query(
            (
                f"SELECT {names}, sum({first}) AS a, sum({second}) AS b FROM {table}"  # noqa: S608 (own names)
                f" WHERE {_HOUR} AND service IN %(services)s GROUP BY {names}",
                {**span, "services": services},
            )
        )
        rows = zip(*(column.tolist() for column in found.values()), strict=True)
        return {tuple(key): (a, b) for *key, a, b in rows}


def _items(column: Any) -> list[Any]:
    """The values of a numpy or Arrow column."""
    found: list[Any] = column.tolist() if hasattr(column, "tolist") else list(column)
    return found
