"""Roll-ups of a batch: by stack and hour, by function and hour, by series and minute.

They are summed here rather than by materialized views, which cost 3-5 times the insert. Idle time has no
stack, so it is in series_1m only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from collector.ingest.batch import Batch
from collector.ingest.sums import ragged_places, sum_by
from collector.ingest.window import I64, U32, U64
from fleetprof.profile_types import ProfileType

_HOUR_S = 3600
_MINUTE_S = 60
_GROUPED = ("service", "version", "region")
_TYPES = max(ProfileType) + 1
TYPE_LABELS = ["", *(type_.label for type_ in ProfileType)]


def words(codes: npt.NDArray[Any], texts: list[str]) -> pa.DictionaryArray:
    """A text column whose row i is texts[codes[i]]; ClickHouse refuses dictionaries with duplicates."""
    places: dict[str, int] = {}
    of_code = np.array([places.setdefault(text, len(places)) for text in texts], np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(of_code[codes]), pa.array(list(places), pa.string()))


@dataclass(frozen=True, slots=True)
class Groups:
    """A number for each (hour, profile type, service, version, region), so that rows can be summed by it."""

    of_row: I64
    hours: U32
    triples: list[tuple[str, ...]]

    def __len__(self) -> int:
        return len(self.hours) * len(self.triples) * _TYPES

    def triple_of(self, numbers: I64) -> I64:
        """The place in `triples` that each number stands for."""
        return numbers // _TYPES % max(len(self.triples), 1)

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


def group_rows(batch: Batch) -> Groups:
    """Number the groups of the batch's rows."""
    hours, hour = np.unique(batch.ts // _HOUR_S * _HOUR_S, return_inverse=True)
    places: dict[tuple[str, ...], int] = {}
    triples = (tuple(series.label(name) for name in _GROUPED) for series in batch.all_series)
    of_series = np.array([places.setdefault(triple, len(places)) for triple in triples], np.int64)
    of_row = (hour * max(len(places), 1) + of_series[batch.series]) * _TYPES + batch.type
    return Groups(of_row, hours, list(places))


@dataclass(frozen=True, slots=True)
class StackSums:
    """One row per group and stack: what stack_1h gets, and func_1h is made of."""

    groups: Groups
    group: I64
    stack: I64
    value: U64
    captures: U64


def sum_stacks(batch: Batch, groups: Groups) -> StackSums:
    """Sum the batch's rows with stacks (all but idle time)."""
    rows = np.flatnonzero(batch.type != ProfileType.IDLE)
    stacks = max(len(batch.all_stacks), 1)
    keys = groups.of_row[rows] * stacks + batch.stack[rows]
    distinct, (value, captures) = sum_by(keys, len(groups) * stacks, batch.value[rows], batch.captures[rows])
    group, stack = np.divmod(distinct, stacks)
    return StackSums(groups, group, stack, value, captures)


def stack_1h(batch: Batch, sums: StackSums) -> dict[str, Any]:
    """The block of table stack_1h."""
    ids = np.array(batch.stack_ids, np.uint64)
    return {
        **sums.groups.columns(sums.group),
        "stack": ids[sums.stack],
        "value": sums.value,
        "captures": sums.captures,
    }


def func_1h(batch: Batch, sums: StackSums) -> dict[str, Any]:
    """The block of table func_1h: a function's own value, and that of the stacks it is in, each once."""
    codes, ids, starts, lengths = _functions(batch)
    some = np.flatnonzero(lengths[sums.stack])
    stack, value = sums.stack[some], sums.value[some]
    first = sums.group[some] * len(ids)
    keys = np.repeat(first, lengths[stack]) + codes[ragged_places(starts[stack], lengths[stack])]
    distinct, (total,) = sum_by(keys, len(sums.groups) * len(ids), np.repeat(value, lengths[stack]))
    own = np.zeros(len(distinct), np.uint64)
    np.add.at(own, np.searchsorted(distinct, first + codes[starts[stack]]), value)
    group, function = np.divmod(distinct, max(len(ids), 1))
    return {**sums.groups.columns(group), "func": ids[function], "self": own, "total": total}


def _functions(batch: Batch) -> tuple[I64, U64, I64, I64]:
    """Distinct functions of each stack as codes, leaf first; the ids of the codes; starts; lengths."""
    flat = np.frombuffer(b"".join(stack.functions for stack in batch.all_stacks), "<u8")
    lengths = np.array([len(stack.functions) // 8 for stack in batch.all_stacks], np.int64)
    encoded = pa.array(flat).dictionary_encode()  # hashing: ten times faster than sorting the ids
    codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    ids: U64 = encoded.dictionary.to_numpy(zero_copy_only=False)
    return codes, ids, lengths.cumsum() - lengths, lengths


def series_1m(batch: Batch) -> dict[str, Any]:
    """The block of table series_1m, idle time included."""
    minutes, minute = np.unique(batch.ts // _MINUTE_S * _MINUTE_S, return_inverse=True)
    count = max(len(batch.all_series), 1)
    keys = (minute * _TYPES + batch.type) * count + batch.series
    distinct, (value, captures) = sum_by(keys, len(minutes) * _TYPES * count, batch.value, batch.captures)
    rest, series = np.divmod(distinct, count)
    minute, type_ = np.divmod(rest, _TYPES)
    return {
        "ts": minutes[minute],
        "service": services(batch)(series),
        "type": words(type_, TYPE_LABELS),
        "series": np.array([each.id for each in batch.all_series], np.uint64)[series],
        "value": value,
        "captures": captures,
    }


def services(batch: Batch) -> Callable[[npt.NDArray[Any]], pa.DictionaryArray]:
    """A function from series numbers of the batch to the column of their services."""
    places: dict[str, int] = {}
    codes = np.array(
        [places.setdefault(series.label("service"), len(places)) for series in batch.all_series], np.int32
    )
    return lambda series: words(codes[series], list(places))
