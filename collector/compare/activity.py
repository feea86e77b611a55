"""How much of what runs where, from the sums by minute: what a comparison decides by which part it reads."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from collector.query.asking import Asking
from collector.query.model import Query, TimeRange
from collector.query.sources import MINUTE_S, Binds, Segment
from collector.query.together import Owned, answered_together, of_hosts, rows_where
from collector.store.interface import Columns

I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Activity:
    """A host's samples of a selection: how many, and the first and last window of the minutes that have some."""

    captures: int
    first_s: int
    last_s: int


@dataclass(frozen=True, slots=True)
class Active:
    """What the sums by minute say of a selection."""

    hosts: dict[str, Activity]
    captures: int
    """From the start of the minute in which the range begins."""
    total: tuple[int, int]
    """(nanoseconds, captures) of the range; a minute that is partly inside counts for as many of its seconds."""


def load_active(asking: Asking, queries: Sequence[Query], owned: Sequence[Owned]) -> list[Active]:
    """For each query its activity; `owned`: its series."""

    def answer(places: list[int]) -> list[Active]:
        return _load_active(asking, [queries[place] for place in places], [owned[place] for place in places])

    return answered_together(queries, answer)


def _load_active(asking: Asking, queries: list[Query], owned: list[Owned]) -> list[Active]:
    asked = queries[0].range
    binds = Binds()
    minutes = Segment("series_1m", TimeRange(asked.start_s // MINUTE_S * MINUTE_S, asked.end_s))
    inside = f"ts >= toDateTime({binds.add(asked.start_s)})"
    start, end = (f"toUInt32({binds.add(second)})" for second in (asked.start_s, asked.end_s))
    seconds = f"(least(toUInt32(ts) + {MINUTE_S}, {end}) - greatest(toUInt32(ts), {start}))"
    rows = asking.ask(
        f"SELECT series, countIf({inside}) AS n, sum(captures) AS every, sumIf(captures, {inside}) AS counted,"
        f" toUInt32(minIf(ts, {inside})) AS first_s, toUInt32(max(ts)) AS last_s,"
        f" sum(value * {seconds}) AS weighed_v, sum(captures * {seconds}) AS weighed_c FROM series_1m"
        f" {rows_where(queries, minutes, binds)} GROUP BY series",
        binds,
    )
    return [_active(rows, each) for each in owned]


def _active(rows: Columns, owned: Owned) -> Active:
    mine, _ = of_hosts(rows["series"], owned)
    every, value, captures = (int(rows[name][mine].sum()) for name in ("every", "weighed_v", "weighed_c"))
    some = mine & (rows["n"] > 0)
    host = owned.hosts_of(rows["series"][some])
    counted = np.zeros(len(owned.hosts), np.uint64)
    np.add.at(counted, host, rows["counted"][some].astype(np.uint64))
    first_s, last_s = bounds_by(host, rows["first_s"][some], rows["last_s"][some], len(owned.hosts))
    there = np.unique(host).tolist()
    hosts = {
        owned.hosts[place]: Activity(int(counted[place]), int(first_s[place]), int(last_s[place]) + 50)
        for place in there
    }
    return Active(hosts, every, (value // MINUTE_S, captures // MINUTE_S))


def bounds_by(
    host: npt.NDArray[np.integer],
    first_s: npt.NDArray[np.integer],
    last_s: npt.NDArray[np.integer],
    hosts: int,
) -> tuple[I64, I64]:
    """(earliest, latest) by host."""
    first, last = np.full(hosts, np.iinfo(np.int64).max), np.zeros(hosts, np.int64)
    np.minimum.at(first, host, first_s.astype(np.int64))
    np.maximum.at(last, host, last_s.astype(np.int64))
    return first, last
