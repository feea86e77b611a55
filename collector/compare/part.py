"""Which part of large selections a comparison reads: some of the hosts, and some of the hours.

A day of a large fleet has more samples than can be read while one waits. Selections of more than MOST_ROWS are
therefore read on HOSTS of their hosts, and in whole hours spread evenly over their range where that is still too
much. Hosts are what varies (clusters.py): intervals are as wide as so many hosts make them, and remain true. They
are drawn by a hash of their names: the same ones on both sides, before and after, and each time that one asks.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from collector.compare.activity import Active, Activity
from collector.query.model import Matcher, Query, TimeRange
from collector.query.selector import escape_regex
from collector.query.sources import HOUR_S, Binds, Segment, rows_time
from collector.query.together import rows_where

I64 = npt.NDArray[np.int64]

MOST_ROWS = 2_000_000
"""Of samples, that are read of all sides together: half a second in the store, and as much here."""
MOST_LOOKED_AT = 30_000_000
"""Rows in the hours that are read: the store looks at all hosts' to find some hosts'."""
HOSTS = 40
"""Of each side, that are read where not all are."""


@dataclass(frozen=True, slots=True)
class Part:
    """What is read of a selection: all of it, or `spans` of the range on hosts that `query` names."""

    query: Query
    spans: tuple[TimeRange, ...]
    activity: dict[str, Activity] | None = None
    """Host → its samples in the whole range; None where all is read."""

    @property
    def runs(self) -> list[TimeRange]:
        """What is read of the range, neighbouring hours together."""
        runs = [self.spans[0]]
        for span in self.spans[1:]:
            if span.start_s == runs[-1].end_s:
                runs[-1] = TimeRange(runs[-1].start_s, span.end_s)
            else:
                runs.append(span)
        return runs

    def inside(self, seconds: I64) -> I64:
        """Those of the times that are."""
        found = [seconds[(seconds >= span.start_s) & (seconds < span.end_s)] for span in self.spans]
        return np.concatenate(found)


def parts_where(parts: Sequence[Part], binds: Binds) -> str:
    """PREWHERE and WHERE over table samples of what is read of any of the parts, whose queries go together."""
    queries, runs = [part.query for part in parts], parts[0].runs
    where = rows_where(queries, Segment("samples", TimeRange(runs[0].start_s, runs[-1].end_s)), binds)
    return where if len(runs) == 1 else f"{where} AND {rows_time('samples', runs, binds)}"


def choose_parts(queries: list[Query], active: list[Active], sent: list[int]) -> tuple[list[Part], str]:
    """(what to read of each query, a sentence about it; "" where all is read).

    `sent`: rows of all services and types that each query's hosts sent in its range. A row of samples stands
    for one captured sample or more.
    """
    enough = MOST_ROWS // len(queries)
    rows = sum(
        each.captures if each.captures <= enough else min(each.captures, most)
        for each, most in zip(active, sent, strict=True)
    )
    if rows <= MOST_ROWS:
        return [Part(query, (query.range,)) for query in queries], ""
    activities = [each.hosts for each in active]
    captures = sum(host.captures for activity in activities for host in activity.values())
    hosts = _chosen(activities)
    kept = sum(activity[host].captures for activity in activities for host in hosts & activity.keys())
    share = min(1.0, MOST_ROWS / (rows * kept / captures), MOST_LOOKED_AT / rows)
    parts = [
        _part(query, activity, hosts, share) for query, activity in zip(queries, activities, strict=True)
    ]
    return parts, _sentence(activities, hosts, parts)


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
