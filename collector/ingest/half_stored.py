"""Windows that another collector may have stored in part when it died: what takes over adds what is missing.

ClickHouse commits one insert into one table at a time. A collector that dies between two of them finishes from
its journal when it is back; one that takes over on another machine does not have that journal. Therefore each batch
notes in table `batches_begun`, before all else, which windows it is about to store: a row a collector, which the
next batch's row replaces. Only the last batch of a collector can be incomplete. Nobody acknowledged its windows, so
their agents push them again; of such windows only what the tables lack is inserted:

- `samples`: the rows that are not there (a window has one of each series, type and stack);
- `series_1m`, which keeps sums only: what its sums lack of those of samples;
- `losses`, which keeps sums too: those that are larger than the sum that is there.

The embedded store needs none of this: its journal lies beside it.
"""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from collector.ingest.blocks import Blocks
from collector.ingest.window import Window
from collector.store.chdb import ChdbStore
from collector.store.columns import to_table
from collector.store.errors import StoreBusy
from collector.store.interface import Store

TABLE = "batches_begun"
CATCH_UP_S = 60.0
"""How long windows that may be stored in part wait for a replica that is away or behind."""

_SAMPLE = ("ts", "service", "type", "series", "stack", "value", "captures")
_MINUTE = ("ts", "service", "type", "series")
_LOSS = ("ts", "host", "origin", "reason")
_MINUTE_S = 60

_SPAN = "ts >= toDateTime(%(first)s) AND ts < toDateTime(%(end)s)"
_WHERE = f"WHERE service IN %(services)s AND series IN %(series)s AND {_SPAN}"
_ROWS_THERE = f"""
SELECT toUInt32(ts) AS at, service, type, series, stack, value, captures, count() AS n FROM samples
{_WHERE} GROUP BY ts, service, type, series, stack, value, captures
"""  # noqa: S608 (own text)
_SUMS_THERE = {
    table: f"""
SELECT toUInt32(toStartOfMinute(ts)) AS at, service, type, series, sum(value) AS v, sum(captures) AS c FROM {table}
{_WHERE} GROUP BY at, service, type, series
"""  # noqa: S608
    for table in ("samples", "series_1m")
}
_LOSSES_THERE = f"""
SELECT toUInt32(ts) AS at, host, origin, reason, sum(count) AS n FROM losses
WHERE {_SPAN} AND host IN %(hosts)s GROUP BY ts, host, origin, reason
"""  # noqa: S608


class HalfStored:
    """Not thread-safe: belongs to the thread that stores."""

    def __init__(self, store: Store, collector: str) -> None:
        """Load what other collectors left; `collector` names this one across restarts. Raises StoreError."""
        self._store, self._collector = store, collector
        self._version = 0
        self._since_s = time.monotonic()
        self._left: set[tuple[str, int, int]] = set()
        self._needed = not isinstance(store, ChdbStore)
        if self._needed:
            self._load()

    def __contains__(self, window: Window) -> bool:
        """Whether another collector may have stored a part of the window."""
        return (window.key.agent_id, window.key.run_id, window.key.sequence) in self._left

    def whole(self, windows: Sequence[Window], blocks: Blocks) -> Blocks:
        """What makes the windows whole, of which `blocks` are all rows: the note of them, then what tables lack.

        Either all of the windows are in this set or none. Raises StoreError.
        """
        if not self._needed:
            return blocks
        return {TABLE: self._note(windows)} | (self._lacking(blocks) if windows[0] in self else blocks)

    def _note(self, windows: Sequence[Window]) -> dict[str, Any]:
        self._version = max(self._version + 1, time.time_ns())
        return {
            "collector": [self._collector],
            "version": np.array([self._version], np.uint64),
            "agent_ids": [[window.key.agent_id for window in windows]],
            "run_ids": [[window.key.run_id for window in windows]],
            "sequences": [[window.key.sequence for window in windows]],
        }

    def _lacking(self, blocks: Blocks) -> Blocks:
        if not self._store.caught_up() and time.monotonic() < self._since_s + CATCH_UP_S:
            raise StoreBusy(
                0, "Replicas have yet to get what another collector stored last.", "Try again later."
            )
        samples = self._table(blocks, "samples")
        if not samples.num_rows:
            return blocks
        missing = self._missing_samples(samples)
        return blocks | {
            "samples": _columns(missing),
            "series_1m": self._missing_minutes(samples, missing),
            "losses": _columns(self._missing_losses(self._table(blocks, "losses"))),
        }

    def _load(self) -> None:
        found = self._store.query((f"SELECT * FROM {TABLE} FINAL", {}))  # noqa: S608
        for collector, version in zip(found["collector"], found["version"], strict=True):
            if collector == self._collector:
                self._version = int(version)
        for columns in zip(found["agent_ids"], found["run_ids"], found["sequences"], strict=True):
            self._left |= {(str(agent), int(run), int(n)) for agent, run, n in zip(*columns, strict=True)}

    def _table(self, blocks: Blocks, name: str) -> pa.Table:
        return to_table(blocks[name], self._store.schema(name))

    def _missing_samples(self, samples: pa.Table) -> pa.Table:
        """The rows that are not there; of rows alike as many as are missing."""
        there = Counter({row[:-1]: row[-1] for row in self._ask(_ROWS_THERE, samples)})
        missing = []
        for place, row in enumerate(_rows(samples, _SAMPLE)):
            if there[row] > 0:
                there[row] -= 1
            else:
                missing.append(place)
        return samples.take(pa.array(missing, pa.int64()))

    def _missing_minutes(self, samples: pa.Table, missing: pa.Table) -> dict[str, Any]:
        """What series_1m lacks once the missing samples are there, for the series and minutes of `samples`."""
        wanted = Counter[tuple[Any, ...]](), Counter[tuple[Any, ...]]()
        for ts, service, type_, series, _, value, captures in _rows(missing, _SAMPLE):
            _add(wanted, (ts // _MINUTE_S * _MINUTE_S, service, type_, series), value, captures)
        for *key, value, captures in self._ask(_SUMS_THERE["samples"], samples):
            _add(wanted, tuple(key), value, captures)
        for *key, value, captures in self._ask(_SUMS_THERE["series_1m"], samples):
            _add(wanted, tuple(key), -value, -captures)
        values, all_captures = wanted
        keys = [key for key in values | all_captures if values[key] > 0 or all_captures[key] > 0]
        columns: dict[str, Any] = {name: [key[place] for key in keys] for place, name in enumerate(_MINUTE)}
        columns["value"] = [values[key] for key in keys]
        columns["captures"] = [all_captures[key] for key in keys]
        return columns

    def _missing_losses(self, losses: pa.Table) -> pa.Table:
        """Those that are larger than the sum that is there; the collector's own are not there yet."""
        rows = list(_rows(losses, (*_LOSS, "count")))
        if not rows:
            return losses
        asked = {**_span([row[0] for row in rows]), "hosts": sorted({row[1] for row in rows})}
        there = {tuple(row[:-1]): row[-1] for row in self._answer(_LOSSES_THERE, asked)}
        missing = [
            place
            for place, (*key, count) in enumerate(rows)
            if key[2] == "collector" or there.get(tuple(key), 0) < count
        ]
        return losses.take(pa.array(missing, pa.int64()))

    def _ask(self, sql: str, samples: pa.Table) -> Iterable[tuple[Any, ...]]:
        """Rows of a query about the series and minutes of `samples`."""
        asked = {
            **_span(samples.column("ts").to_pylist()),
            "services": samples.column("service").cast(pa.string()).unique().to_pylist(),
            "series": samples.column("series").unique().to_pylist(),
        }
        return self._answer(sql, asked)

    def _answer(self, sql: str, asked: dict[str, Any]) -> Iterable[tuple[Any, ...]]:
        found = self._store.query((sql, asked))
        return zip(*(column.tolist() for column in found.values()), strict=True)


def _columns(table: pa.Table) -> dict[str, Any]:
    return dict(zip(table.column_names, table.columns, strict=True))


def _span(times: list[int]) -> dict[str, Any]:
    """The minutes in which the times lie."""
    first, last = (each // _MINUTE_S * _MINUTE_S for each in (min(times), max(times)))
    return {"first": first, "end": last + _MINUTE_S}


def _rows(table: pa.Table, names: Sequence[str]) -> Iterable[tuple[Any, ...]]:
    return zip(*(table.column(name).to_pylist() for name in names), strict=True)


def _add(
    sums: tuple["Counter[tuple[Any, ...]]", "Counter[tuple[Any, ...]]"], key: tuple[Any, ...], *by: int
) -> None:
    for each, number in zip(sums, by, strict=True):
        each[key] += number
