"""Roll-ups: by series and minute with each batch, by stack and hour and by function and hour for many batches.

They are summed here rather than by materialized views, which cost 3-5 times the insert. Idle time has no
stack, so it is in series_1m only.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from collector.ingest.batch import Batch, number, services
from collector.ingest.definitions import Series, Stack
from collector.ingest.sums import ragged_places, sum_by
from collector.ingest.window import I64, U8, U32, U64
from collector.ingest.words import TYPE_LABELS, words
from fleetprof.profile_types import ProfileType

HOUR_S = 3600
SLICE = 2_000_000
"""Functions of stacks that are summed at a time (some 100 MB)."""

_MINUTE_S = 60
_GROUPED = ("service", "version", "region")
_TYPES = max(ProfileType) + 1


def series_1m(batch: Batch) -> dict[str, Any]:
    """The block of table series_1m, idle time included."""
    rows, minutes, minute = batch.rows, *_steps(batch.ts, _MINUTE_S)
    count = max(len(batch.all_series), 1)
    keys = (minute * _TYPES + rows.type) * count + batch.series
    distinct, (value, captures) = sum_by(keys, len(minutes) * _TYPES * count, rows.value, rows.captures)
    rest, series = np.divmod(distinct, count)
    minute, type_ = np.divmod(rest, _TYPES)
    return {
        "ts": minutes[minute],
        "service": services(batch.all_series)(series),
        "type": words(type_, TYPE_LABELS),
        "series": batch.series_ids[series],
        "value": value,
        "captures": captures,
    }


def _steps(ts: U32, step_s: int) -> tuple[U32, I64]:
    """The distinct steps, ascending, in which the times lie, and each time's place among them."""
    step = (ts // np.uint32(step_s)).astype(np.int64)
    first = int(step.min()) if len(step) else 0
    present = np.bincount(step - first)
    places = np.cumsum(present > 0) - 1
    distinct = ((np.flatnonzero(present) + first) * step_s).astype(np.uint32)
    return distinct, places[step - first]


@dataclass(frozen=True, slots=True)
class StackRows:
    """What hourly roll-ups are made of: rows of table samples with a stack (all but idle time)."""

    ts: U32
    series: U64
    """Ids."""
    stack: U64
    """Ids."""
    type: U8
    value: U64
    captures: U32

    def __len__(self) -> int:
        return len(self.ts)


@dataclass(frozen=True, slots=True)
class _Groups:
    """A number for each (hour, service, version, region, profile type), so that rows can be summed by it."""

    of_row: I64
    hours: U32
    triples: list[tuple[str, ...]]

    def __len__(self) -> int:
        return len(self.hours) * len(self.triples) * _TYPES

    def columns(self, numbers: I64) -> dict[str, Any]:
        """The columns that the numbers stand for."""
        rest, type_ = np.divmod(numbers, _TYPES)
        hour, triple = np.divmod(rest, max(len(self.triples), 1))
        texts = {name: [each[place] for each in self.triples] for place, name in enumerate(_GROUPED)}
        return {
            "ts": self.hours[hour],
            "type": words(type_, TYPE_LABELS),
            **{name: words(triple, texts[name]) for name in _GROUPED},
        }


@dataclass(frozen=True, slots=True)
class _StackSums:
    """One row per group and stack."""

    groups: _Groups
    group: I64
    stack_ids: U64
    """The distinct stacks."""
    stack: I64
    """Place in stack_ids."""
    value: U64
    captures: U64


def hourly(rows: StackRows, series: Mapping[int, Series], stacks: Mapping[int, Stack]) -> dict[str, Any]:
    """The blocks of tables stack_1h and func_1h for `rows`, whose series and stacks are in the mappings."""
    sums = _sum_stacks(rows, series)
    return {
        "stack_1h": {
            **sums.groups.columns(sums.group),
            "stack": sums.stack_ids[sums.stack],
            "value": sums.value,
            "captures": sums.captures,
        },
        "func_1h": _functions(sums, [stacks[id_] for id_ in sums.stack_ids.tolist()]),
    }


def _sum_stacks(rows: StackRows, series: Mapping[int, Series]) -> _StackSums:
    groups, stacks = _group(rows, series), number(rows.stack)
    count = max(len(stacks.ids), 1)
    keys = groups.of_row * count + stacks.codes
    distinct, (value, captures) = sum_by(keys, len(groups) * count, rows.value, rows.captures)
    group, stack = np.divmod(distinct, count)
    return _StackSums(groups, group, stacks.ids, stack, value, captures)


def _group(rows: StackRows, series: Mapping[int, Series]) -> _Groups:
    hours, hour = _steps(rows.ts, HOUR_S)
    numbered = number(rows.series)
    places: dict[tuple[str, ...], int] = {}
    triples = (tuple(series[id_].label(name) for name in _GROUPED) for id_ in numbered.ids.tolist())
    of_series = np.array([places.setdefault(triple, len(places)) for triple in triples], np.int64)
    of_row = (hour * max(len(places), 1) + of_series[numbered.codes]) * _TYPES + rows.type
    return _Groups(of_row, hours, list(places))


def _functions(sums: _StackSums, stacks: list[Stack]) -> dict[str, Any]:
    """The block of func_1h: a function's own value, and that of the stacks it is in, each once.

    A row has some 30 functions, so rows are taken in slices: memory is that of SLICE functions.
    """
    flat = number(np.frombuffer(b"".join(stack.functions for stack in stacks), "<u8"))
    lengths = np.array([len(stack.functions) // 8 for stack in stacks], np.int64)
    starts = lengths.cumsum() - lengths
    count = max(len(flat.ids), 1)
    parts = []
    for rows in _slices(lengths[sums.stack]):
        stack, value, first = sums.stack[rows], sums.value[rows], sums.group[rows] * count
        keys = np.repeat(first, lengths[stack]) + flat.codes[ragged_places(starts[stack], lengths[stack])]
        found, (total,) = _sum(keys, np.repeat(value, lengths[stack]))
        own = np.zeros(len(found), np.uint64)
        np.add.at(own, np.searchsorted(found, first + flat.codes[starts[stack]]), value)
        parts.append((found, own, total))
    columns = (
        [np.concatenate(part) for part in zip(*parts, strict=True)] if parts else [np.empty(0, np.int64)] * 3
    )
    distinct, (own, total) = _sum(*columns)
    group, function = np.divmod(distinct, count)
    return {**sums.groups.columns(group), "func": flat.ids[function], "self": own, "total": total}


def _slices(lengths: I64) -> Iterator[I64]:
    """The rows that have functions, in runs of some SLICE functions."""
    rows = np.flatnonzero(lengths)
    number_of_slice = (lengths[rows].cumsum() - 1) // SLICE
    return iter(np.split(rows, np.flatnonzero(np.diff(number_of_slice)) + 1)) if len(rows) else iter(())


def _sum(keys: I64, *columns: U64) -> tuple[I64, list[U64]]:
    """As sum_by, for keys that begin anywhere."""
    if not len(keys):
        return keys, [np.empty(0, np.uint64) for _ in columns]
    first = int(keys.min())
    distinct, sums = sum_by(keys - first, int(keys.max()) - first + 1, *columns)
    return distinct + first, sums


def rows_of_batch(batch: Batch) -> StackRows:
    """What the hourly roll-ups need of a batch."""
    rows = batch.rows
    some = np.flatnonzero(rows.type != ProfileType.IDLE)
    return StackRows(
        batch.ts[some],
        batch.series_ids[batch.series[some]],
        batch.stack_ids[batch.stack[some]],
        rows.type[some],
        rows.value[some],
        rows.captures[some],
    )


def rows_of_samples(table: pa.Table) -> StackRows:
    """The same, of a block of table samples."""
    numbers = {name: place for place, name in enumerate(TYPE_LABELS)}
    names = table.column("type").cast(pa.string()).to_pylist()
    type_ = np.array([numbers[name] for name in names], np.uint8)
    some = np.flatnonzero(type_ != ProfileType.IDLE)
    columns = {
        name: table.column(name).to_numpy()[some] for name in ("ts", "series", "stack", "value", "captures")
    }
    return StackRows(type=type_[some], **columns)
