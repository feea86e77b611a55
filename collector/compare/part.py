"""Which part of large selections a comparison reads: some of the hosts, and some of the hours.

A day of a large fleet has more samples than can be read while one waits. Selections of more than MOST_ROWS are
therefore read on HOSTS of their hosts, and in whole hours spread evenly over their range where that is still too
much. Hosts are what varies (clusters.py): intervals are as wide as so many hosts make them, and remain true. They
are drawn by a hash of their names: the same ones on both sides, before and after, and each time that one asks.
"""

import hashlib
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from collector.query.asking import Asking
from collector.query.model import Matcher, Query, TimeRange
from collector.query.segments import count_rows
from collector.query.selector import escape_regex
from collector.query.sources import (
    HOUR_S,
    Binds,
    Segment,
    segment_condition,
    series_sql,
    time_condition,
)

I64 = npt.NDArray[np.int64]

MOST_ROWS = 2_000_000
"""Of samples, that are read of all sides together: half a second in the store, and as much here."""
MOST_LOOKED_AT = 30_000_000
"""Rows in the hours that are read: the store looks at all hosts' to find some hosts'."""
HOSTS = 40
"""Of each side, that are read where not all are."""


@dataclass(frozen=True, slots=True)
class Activity:
    """A host's samples of a selection: how many, and the first and last window of the minutes that have some."""

    captures: int
    first_s: int
    last_s: int


@dataclass(frozen=True, slots=True)
class Part:
    """What is read of a selection: all of it, or `spans` of the range on hosts that `query` names."""

    query: Query
    spans: tuple[TimeRange, ...]
    activity: dict[str, Activity] | None = None
    """Host → its samples in the whole range; None where all is read."""

    def condition(self, binds: Binds) -> str:
        """The WHERE text over table samples."""
        condition = segment_condition(self.query, Segment("samples", self.query.range), binds)
        return condition if self.activity is None else f"{condition} AND {self.inside_sql(binds)}"

    def inside_sql(self, binds: Binds) -> str:
        """`ts` is in what is read of the range."""
        return f"({' OR '.join(f'({time_condition(span, binds)})' for span in self.spans)})"

    def inside(self, seconds: I64) -> I64:
        """Those of the times that are."""
        found = [seconds[(seconds >= span.start_s) & (seconds < span.end_s)] for span in self.spans]
        return np.concatenate(found)


def choose_parts(asking: Asking, queries: list[Query]) -> tuple[list[Part], str]:
    """(what to read of each query, a sentence about it; "" where all is read)."""
    rows = sum(count_rows(asking, query, query.range, MOST_ROWS // len(queries)) for query in queries)
    if rows <= MOST_ROWS:
        return [Part(query, (query.range,)) for query in queries], ""
    activities = [load_activity(asking, query) for query in queries]
    captures = sum(host.captures for activity in activities for host in activity.values())
    hosts = _chosen(activities)
    kept = sum(activity[host].captures for activity in activities for host in hosts & activity.keys())
    share = min(1.0, MOST_ROWS / (rows * kept / captures), MOST_LOOKED_AT / rows)
    parts = [
        _part(query, activity, hosts, share) for query, activity in zip(queries, activities, strict=True)
    ]
    return parts, _sentence(activities, hosts, parts)


def load_activity(asking: Asking, query: Query) -> dict[str, Activity]:
    """Host → its samples of the query, from the sums by minute."""
    binds = Binds()
    condition = segment_condition(query, Segment("series_1m", query.range), binds)
    source = (
        "(SELECT series, sum(captures) AS c, toUInt32(min(ts)) AS first, toUInt32(max(ts)) AS last"
        f" FROM series_1m WHERE {condition} GROUP BY series)"
    )
    found = asking.ask(
        "SELECT on_host, sum(c) AS captures, min(first) AS first_s, max(last) AS last_s"
        f" {with_host(source, query, binds)} GROUP BY on_host",
        binds,
    )
    rows = zip(*(found[name].tolist() for name in ("captures", "first_s", "last_s")), strict=True)
    return {
        str(host): Activity(row[0], row[1], row[2] + 50)
        for host, row in zip(found["on_host"], rows, strict=True)
    }


def _chosen(activities: list[dict[str, Activity]]) -> set[str]:
    """Up to HOSTS hosts of each side; those that several sides have are the same ones on each."""
    chosen: set[str] = set()
    for activity in activities:
        chosen.update(sorted(activity, key=_draw)[:HOSTS])
    return chosen


def _draw(host: str) -> bytes:
    return hashlib.blake2b(host.encode("utf-8", "surrogateescape"), digest_size=8).digest()


def _part(query: Query, activity: dict[str, Activity], hosts: set[str], share: float) -> Part:
    some = hosts & activity.keys()
    if some != activity.keys():
        names = "|".join(map(escape_regex, sorted(some)))
        query = replace(query, matchers=(*query.matchers, Matcher("host", "=~", names)))
    hours = _hours(query.range)
    count = max(int(len(hours) * share), 1)
    places = ((np.arange(count) + 0.5) * len(hours) / count).astype(int).tolist()
    return Part(query, tuple(hours[place] for place in places), {host: activity[host] for host in some})


def _hours(asked: TimeRange) -> list[TimeRange]:
    """The range in hours of the clock, which is how samples are ordered; the first and last may be shorter."""
    starts = [asked.start_s, *range(asked.start_s // HOUR_S * HOUR_S + HOUR_S, asked.end_s, HOUR_S)]
    return [TimeRange(*each) for each in pairwise([*starts, asked.end_s])]


def _sentence(activities: list[dict[str, Activity]], hosts: set[str], parts: list[Part]) -> str:
    every = set[str]().union(*activities)
    read, there = sum(len(part.spans) for part in parts), sum(len(_hours(part.query.range)) for part in parts)
    what = [f"{len(hosts)} of {len(every)} hosts"] if len(hosts) < len(every) else []
    what += [f"{read} of {there} hours, spread evenly"] if read < there else []
    return f"Of all samples those of {' and '.join(what)} were read." if what else ""


def with_host(source: str, query: Query, binds: Binds) -> str:
    """FROM clause of a subquery by series with the series' host as `on_host`."""
    chosen = series_sql(query.matchers, query.range, binds)
    labels = f"(SELECT series, any(host) AS on_host {chosen} GROUP BY series)"
    return f"FROM {source} AS x ANY LEFT JOIN {labels} AS y USING series"
