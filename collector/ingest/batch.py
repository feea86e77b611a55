"""Several windows as one set of columns, with series, stacks and groups numbered across them."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from collector.ingest.definitions import Series, Stack
from collector.ingest.known import Resolved
from collector.ingest.window import I64, U8, U16, U32, U64

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Batch:
    """The rows of several windows of one day; `series` and `stack` number the batch's own lists."""

    windows: list[Resolved]
    all_series: list[Series]
    stack_ids: list[int]
    all_stacks: list[Stack]
    ts: U32
    series: I64
    stack: I64
    type: U8
    value: U64
    captures: U32
    offset_count: U32
    offsets: U16


def make_batch(windows: list[Resolved]) -> Batch:
    """The batch of these windows (at least one)."""
    series_places: dict[int, int] = {}
    stack_places: dict[int, int] = {}
    all_series: list[Series] = []
    all_stacks: list[Stack] = []
    series, stack = [], []
    for resolved in windows:
        rows = resolved.window.rows
        places = _number(resolved.window.series_ids, resolved.series, series_places, all_series)
        series.append(places[rows.series])
        places = _number(resolved.window.stack_ids, resolved.stacks, stack_places, all_stacks)
        stack.append(places[rows.stack])
    parts = [resolved.window.rows for resolved in windows]
    starts = np.array([resolved.window.start_s for resolved in windows], np.uint32)
    return Batch(
        windows=windows,
        all_series=all_series,
        stack_ids=list(stack_places),
        all_stacks=all_stacks,
        ts=np.repeat(starts, [len(part) for part in parts]),
        series=np.concatenate(series),
        stack=np.concatenate(stack),
        type=np.concatenate([part.type for part in parts]),
        value=np.concatenate([part.value for part in parts]),
        captures=np.concatenate([part.captures for part in parts]),
        offset_count=np.concatenate([part.offset_count for part in parts]),
        offsets=np.concatenate([part.offsets for part in parts]),
    )


def _number(ids: list[int], found: list[T], places: dict[int, int], everything: list[T]) -> I64:
    """The batch's number of each id; new ones are appended to `everything`."""
    numbers = np.empty(len(ids), np.int64)
    for place, (number, value) in enumerate(zip(ids, found, strict=True)):
        known = places.setdefault(number, len(everything))
        if known == len(everything):
            everything.append(value)
        numbers[place] = known
    return numbers
