"""Gives every reference of a batch's windows a meaning, or turns the window away."""

from collections.abc import Mapping
from typing import TypeVar, cast

import numpy as np

from collector.ingest.batch import Batch, Numbered, number, start_of_rows
from collector.ingest.definitions import Series, Stack
from collector.ingest.known import KnownDefinitions, Missing
from collector.ingest.limits import Limits
from collector.ingest.refusal import Refused, malformed
from collector.ingest.rows import Rows, decode_rows
from collector.ingest.window import I64, Window
from collector.ingest.wire_numbers import NumbersLost

T = TypeVar("T", Series, Stack)

Why = Missing | Refused | NumbersLost
"""What keeps a window from being stored as it is."""
TurnedAway = list[tuple[Window, Why]]


def make_batch(
    windows: list[Window], known: KnownDefinitions, limits: Limits
) -> tuple[Batch | None, TurnedAway]:
    """The batch of the good ones of these windows of one day (None without any), and the others."""
    away: TurnedAway = []
    windows = _without(windows, known.learn(windows, limits), away)
    rows, refused = decode_rows(windows, limits)
    windows = _without(windows, refused, away)
    while windows:
        batch, faults = _resolve(windows, rows, known)
        if batch:
            return batch, away
        windows = _without(windows, faults, away)
        rows, _ = decode_rows(windows, limits)
    return None, away


def _without(windows: list[Window], faults: Mapping[int, Why], away: TurnedAway) -> list[Window]:
    """The windows that have no fault, which is told by their place; the others are put to those `away`."""
    away += [(windows[place], why) for place, why in faults.items()]
    return [window for place, window in enumerate(windows) if place not in faults]


def _resolve(
    windows: list[Window], rows: Rows, known: KnownDefinitions
) -> tuple[Batch | None, dict[int, Missing | Refused]]:
    """The batch, when all windows can be resolved; else, by place, why some cannot."""
    series, stacks = number(rows.series_ids), number(rows.stack_ids)
    found_series = known.find_series(series.ids.tolist(), windows[0].start_s)
    services = {each.label("service") for each in found_series if each}
    found_stacks = known.find_stacks(stacks.ids.tolist(), sorted(services))
    all_series, all_stacks = _whole(found_series), _whole(found_stacks)
    if all_series is None or all_stacks is None:
        return None, _missing(rows, (series, found_series), (stacks, found_stacks))
    if strangers := _of_other_hosts(windows, rows, series, all_series):
        return None, strangers
    batch = Batch(
        windows=windows,
        rows=rows,
        ts=start_of_rows(windows, rows),
        series=series.codes[rows.series],
        stack=stacks.codes[rows.stack],
        series_ids=series.ids,
        all_series=all_series,
        stack_ids=stacks.ids,
        all_stacks=all_stacks,
    )
    return batch, {}


def _whole(found: list[T | None]) -> list[T] | None:
    """What was found, None unless all of it was."""
    return cast("list[T]", found) if all(found) else None


def _missing(
    rows: Rows, series: tuple[Numbered, list[Series | None]], stacks: tuple[Numbered, list[Stack | None]]
) -> dict[int, Missing | Refused]:
    missing_series = _unknown_of_windows(*series, rows.series_counts)
    missing_stacks = _unknown_of_windows(*stacks, rows.stack_counts)
    return {
        place: Missing(missing_stacks.get(place, []), missing_series.get(place, []))
        for place in sorted(missing_series.keys() | missing_stacks.keys())
    }


def _unknown_of_windows(
    numbered: Numbered, found: list[Series | None] | list[Stack | None], counts: I64
) -> dict[int, list[int]]:
    """The ids without a meaning that each window lists, by the window's place."""
    unknown = np.array([each is None for each in found], np.bool_)
    references = np.flatnonzero(unknown[numbered.codes]) if len(unknown) else np.empty(0, np.int64)
    owners = np.repeat(np.arange(len(counts)), counts)[references]
    by_window: dict[int, list[int]] = {}
    for owner, id_ in zip(owners.tolist(), numbered.ids[numbered.codes[references]].tolist(), strict=True):
        by_window.setdefault(owner, []).append(id_)
    return by_window


def _of_other_hosts(
    windows: list[Window], rows: Rows, series: Numbered, all_series: list[Series]
) -> dict[int, Missing | Refused]:
    """Windows with a series whose host label is not theirs."""
    places: dict[str, int] = {}
    of_series = np.array(
        [places.setdefault(each.label("host"), len(places)) for each in all_series], np.int64
    )
    of_window = np.array([places.get(window.host, -1) for window in windows], np.int64)
    if not len(of_series):
        return {}
    owners = np.repeat(np.arange(len(windows)), rows.series_counts)
    wrong = owners[of_series[series.codes] != of_window[owners]]
    refusal = malformed("A series' host label is not the window's host.")
    return dict.fromkeys(np.unique(wrong).tolist(), refusal)
