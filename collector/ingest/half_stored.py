"""Windows that another collector may have stored in part when it died: what takes over adds what is missing.

ClickHouse commits one insert into one table at a time, and on one shard at a time. A collector that dies between
two of them finishes from its journal when it is back; one that takes over on another machine does not have that
journal. Therefore each batch notes in table `batches_begun`, before all else, which windows it is about to store: a
row a collector, which the next batch's row replaces. Only the last batch of a collector can be incomplete.

A window counts wholly or not at all, whether or not its agent ever pushes it again. One without a sample in the
tables does not count. Of a batch that has some, who takes over adds the rest: the note has what cannot be made from
the samples, and, since shards take their part of an insert one after the other, on a cluster the samples, too. What
nobody can know (whether a server that is away has them) waits until agents push those windows again, which nobody
acknowledged. In each case only what tables lack is inserted:

- `samples`: the rows that are not there (a window has one of each series, type and stack), and so `places`;
- `series_1m`, which keeps sums only: what its sums lack of those of samples;
- `losses`, which keeps sums too: those that are larger than the sum that is there.

The embedded store needs none of this: its journal lies beside it.
"""

import base64
import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from collector.ingest.blocks import Blocks
from collector.ingest.window import Window
from collector.store.chdb import ChdbStore
from collector.store.columns import from_ipc, to_ipc, to_table
from collector.store.errors import StoreBusy
from collector.store.interface import Store

log = logging.getLogger("fleetprof.ingest")

TABLE, ROWS_TABLE = "batches_begun", "batches_begun_rows"
CATCH_UP_S = 60.0
"""How long windows that may be stored in part wait for a replica that is away or behind."""
_LOOK_AGAIN_S = 0.5

_SAMPLE = ("ts", "service", "type", "series", "stack", "value", "captures")
_PLACED = ("ts", "service", "type", "series", "func", "build_id", "offset", "value")
_MINUTE = ("ts", "service", "type", "series")
_LOSS = ("ts", "host", "origin", "reason")
_KEY = ("agent_id", "run_id", "sequence")
_PLACE = ("ts", "host")
_MINUTE_S = 60

_SPAN = "ts >= toDateTime(%(first)s) AND ts < toDateTime(%(end)s)"
_WHERE = f"WHERE service IN %(services)s AND series IN %(series)s AND {_SPAN}"
_ROWS_THERE = f"""
SELECT toUInt32(ts) AS at, service, type, series, stack, value, captures, count() AS n FROM samples
{_WHERE} GROUP BY ts, service, type, series, stack, value, captures
"""  # noqa: S608 (own text)
_PLACES_THERE = f"""
SELECT toUInt32(ts) AS at, service, type, series, func, build_id, offset, value, count() AS n FROM places
{_WHERE} GROUP BY ts, service, type, series, func, build_id, offset, value
"""  # noqa: S608
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


_WINDOWS_THERE = f"""
SELECT DISTINCT toUInt32(ts) AS at, host, agent_id, run_id, sequence, rows FROM windows
WHERE {_SPAN} AND host IN %(hosts)s
"""  # noqa: S608
_SERIES_OF = (
    "SELECT DISTINCT service, series, host FROM series WHERE host IN %(hosts)s AND day >= toDate(%(day)s)"
)
_COUNTS_THERE = f"""
SELECT toUInt32(ts) AS at, series, count() AS n FROM samples
{_WHERE} GROUP BY ts, series
"""  # noqa: S608
_DAY_S = 86400

Place = tuple[int, str]
"""A window's start and host."""
Begun = tuple[str, int]
"""A collector, and the version of its note of a batch."""

_TOUCHED = pa.schema([("ts", pa.uint32()), ("service", pa.string()), ("series", pa.uint64())])
_SMALL = pa.ipc.IpcWriteOptions(compression="zstd")
"""0.2 CPU seconds a million rows of samples, and 15 bytes of each in base64."""


class HalfStored:
    """Not thread-safe: belongs to the thread that stores."""

    def __init__(self, store: Store, collector: str) -> None:
        """`collector` names this one across restarts; its own last batch is finished from its journal."""
        self._store, self._collector = store, collector
        self._version = 0
        self._since_s = time.monotonic()
        self._left: set[tuple[str, int, int]] = set()
        self._needed = not isinstance(store, ChdbStore)
        self._sharded = store.shards > 1

    def __contains__(self, window: Window) -> bool:
        """Whether another collector may have stored a part of the window."""
        return (window.key.agent_id, window.key.run_id, window.key.sequence) in self._left

    def whole(self, windows: Sequence[Window], blocks: Blocks) -> Blocks:
        """What makes the windows whole, of which `blocks` are all rows: the note of them, then what tables lack.

        Either all of the windows are in this set or none. Raises StoreError.
        """
        if not self._needed:
            return blocks
        return self._note(blocks) | (self._lacking(blocks) if windows[0] in self else blocks)

    def completing(self) -> Iterator[tuple[int, Blocks]]:
        """Load what other collectors left: what completes a batch of theirs, with the start of one of its windows.

        Each is to be stored before the next one is asked for. Raises StoreError.
        """
        if not self._needed:
            return
        found = self._store.query((f"SELECT * FROM {TABLE} FINAL", {}))  # noqa: S608
        columns = (found[name].tolist() for name in ("collector", "version", "windows", "losses"))
        for collector, version, windows, losses in zip(*columns, strict=True):
            if collector == self._collector:
                self._version = int(version)
            elif blocks := self._completed((collector, version), _unpacked(windows), _unpacked(losses)):
                yield int(blocks["windows"]["ts"][0].as_py()), blocks

    def _note(self, blocks: Blocks) -> Blocks:
        """The rows of a batch come before its windows: only the latter say that it was begun."""
        self._version = max(self._version + 1, time.time_ns())
        whose = {"collector": [self._collector], "version": np.array([self._version], np.uint64)}
        samples = _packed(self._table(blocks, "samples"), _SMALL) if self._sharded else ""
        places = self._table(blocks, "places")
        rows = {"samples": [samples], "places": [_packed(places, _SMALL) if places.num_rows else ""]}
        begun = {name: [_packed(self._table(blocks, name))] for name in ("windows", "losses")}
        return ({ROWS_TABLE: whose | rows} if samples or places.num_rows else {}) | {TABLE: whose | begun}

    def _completed(self, batch: Begun, windows: pa.Table, losses: pa.Table) -> Blocks:
        """What another collector's last batch lacks, as far as its samples are all there; the rest is left."""
        if not windows.num_rows:
            return {}
        asked = {
            **_span(windows.column("ts").to_pylist()),
            "hosts": windows.column("host").unique().to_pylist(),
        }
        windows, rows_there = self._not_stored(windows, asked)
        if not windows.num_rows:
            return {}
        self._complete_shards(batch)
        rows_of: Counter[Place] = Counter()
        for place, rows in zip(_rows(windows, _PLACE), windows.column("rows").to_pylist(), strict=True):
            rows_of[place[0], place[1]] += rows
        samples = self._samples_of(asked, set(rows_of))
        present = {place: sum(n for *_, n in found) for place, found in samples.items()}
        whole = {place for place, n in rows_of.items() if present[place] - rows_there[place] == n}
        self._left |= {(key[0], key[1], key[2]) for key in _rows(_at(windows, set(rows_of) - whole), _KEY)}
        if not whole:
            return {}
        touched = [(at, service, series) for at, host in whole for service, series, _ in samples[at, host]]
        series = pa.Table.from_pylist(
            [dict(zip(_TOUCHED.names, row, strict=True)) for row in touched], _TOUCHED
        )
        return {
            "places": self._missing_places(batch, {(at, number) for at, _, number in touched}),
            "series_1m": self._missing_minutes(series, self._store.schema("samples").empty_table()),
            "losses": _columns(self._missing_losses(_at(losses, whole))),
            "windows": _columns(_at(windows, whole)),
        }

    def _noted(self, batch: Begun, table: str) -> pa.Table:
        """The rows of a table in the batch; none where they were not noted."""
        sql = (
            f"SELECT DISTINCT {table} AS noted FROM {ROWS_TABLE}"  # noqa: S608 (own names)
            " WHERE collector = %(collector)s AND version = %(version)s"
        )
        found = self._store.query((sql, {"collector": batch[0], "version": batch[1]}))["noted"].tolist()
        return _unpacked(found[0]) if found and found[0] else self._store.schema(table).empty_table()

    def _complete_shards(self, batch: Begun) -> None:
        """Where some shards have their part of a batch's samples, insert those of the others.

        A part is one insert: it is there or not. Each is inserted as it was by the one who died, so that replicas
        recognise it where one has it and is not seen.
        """
        if not self._sharded:
            return
        parts = [part for _, part in self._store.split("samples", self._noted(batch, "samples"))]
        lacking = self._lacking_parts(parts)
        if not lacking or len(lacking) == len(parts):
            return
        while not (caught_up := self._store.caught_up()) and time.monotonic() < self._since_s + CATCH_UP_S:
            time.sleep(_LOOK_AGAIN_S)
        if not caught_up:
            log.warning(
                "Windows that another collector (%s) was storing are incomplete, and stay so while servers are "
                "away that may have the rest.", batch[0]
            )  # fmt: skip
            return
        for part in self._lacking_parts(parts):
            self._store.insert("samples", part, f"completed-{batch[0]}-{batch[1]}")
        log.info("Completed samples of which another collector (%s) had reached some shards only.", batch[0])

    def _lacking_parts(self, parts: Sequence[pa.Table]) -> list[pa.Table]:
        return [part for part in parts if self._missing_rows(part, _SAMPLE, _ROWS_THERE).num_rows]

    def _missing_places(self, batch: Begun, of: set[tuple[int, int]]) -> dict[str, Any]:
        """Rows of `places` that are not there, of these starts and series."""
        noted = self._noted(batch, "places")
        chosen = [n for n, row in enumerate(_rows(noted, ("ts", "series"))) if row in of]
        return _columns(self._missing_rows(noted.take(pa.array(chosen, pa.int64())), _PLACED, _PLACES_THERE))

    def _not_stored(self, windows: pa.Table, asked: dict[str, Any]) -> tuple[pa.Table, Counter[Place]]:
        """Those of the windows that are not stored, and how many rows the stored ones of their places have."""
        stored, rows_there = set(self._left), Counter[Place]()
        for at, host, agent, run, sequence, rows in self._answer(_WINDOWS_THERE, asked):
            stored.add((agent, run, sequence))
            rows_there[at, host] += rows
        missing = [number for number, key in enumerate(_rows(windows, _KEY)) if key not in stored]
        return windows.take(pa.array(missing, pa.int64())), rows_there

    def _samples_of(
        self, asked: dict[str, Any], places: set[Place]
    ) -> dict[Place, list[tuple[str, int, int]]]:
        """Place → (service, series, how many rows are there) of its samples."""
        found: dict[Place, list[tuple[str, int, int]]] = {place: [] for place in places}
        day = {"hosts": asked["hosts"], "day": asked["first"] // _DAY_S - 1}
        of_series = {series: (service, host) for service, series, host in self._answer(_SERIES_OF, day)}
        if not of_series or not places:
            return found
        services = sorted({service for service, _ in of_series.values()})
        for at, series, n in self._answer(
            _COUNTS_THERE, {**asked, "services": services, "series": list(of_series)}
        ):
            service, host = of_series[series]
            if (at, host) in found:
                found[at, host].append((service, series, n))
        return found

    def _lacking(self, blocks: Blocks) -> Blocks:
        if not self._store.caught_up() and time.monotonic() < self._since_s + CATCH_UP_S:
            raise StoreBusy(
                0, "Replicas have yet to get what another collector stored last.", "Try again later."
            )
        samples = self._table(blocks, "samples")
        if not samples.num_rows:
            return blocks
        missing = self._missing_rows(samples, _SAMPLE, _ROWS_THERE)
        places = self._missing_rows(self._table(blocks, "places"), _PLACED, _PLACES_THERE)
        return blocks | {
            "places": _columns(places),
            "samples": _columns(missing),
            "series_1m": self._missing_minutes(samples, missing),
            "losses": _columns(self._missing_losses(self._table(blocks, "losses"))),
        }

    def _table(self, blocks: Blocks, name: str) -> pa.Table:
        return to_table(blocks[name], self._store.schema(name))

    def _missing_rows(self, table: pa.Table, names: Sequence[str], there_sql: str) -> pa.Table:
        """The rows that are not there; of rows alike as many as are missing."""
        if not table.num_rows:
            return table
        there = Counter({row[:-1]: row[-1] for row in self._ask(there_sql, table)})
        missing = []
        for place, row in enumerate(_rows(table, names)):
            if there[row] > 0:
                there[row] -= 1
            else:
                missing.append(place)
        return table.take(pa.array(missing, pa.int64()))

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
        if not samples.num_rows:
            return ()
        asked = {
            **_span(samples.column("ts").to_pylist()),
            "services": samples.column("service").cast(pa.string()).unique().to_pylist(),
            "series": samples.column("series").unique().to_pylist(),
        }
        return self._answer(sql, asked)

    def _answer(self, sql: str, asked: dict[str, Any]) -> Iterable[tuple[Any, ...]]:
        found = self._store.query((sql, asked))
        return zip(*(column.tolist() for column in found.values()), strict=True)


def _packed(table: pa.Table, options: pa.ipc.IpcWriteOptions | None = None) -> str:
    return base64.b64encode(to_ipc(table, options)).decode("ascii")


def _unpacked(text: str) -> pa.Table:
    return from_ipc(base64.b64decode(text))


def _at(table: pa.Table, places: set[Place]) -> pa.Table:
    """The rows of these places."""
    return table.take(
        pa.array([n for n, place in enumerate(_rows(table, _PLACE)) if place in places], pa.int64())
    )


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
