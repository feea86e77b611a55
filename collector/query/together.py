"""Several queries answered by one look at a table: of the same time and services, told apart by their series.

Two versions of a service that ran at the same time lie in the same rows of every table. So what is asked of both is
read once and grouped by series, and whose a series is, and of which host, is looked up here.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from collector.query.asking import Asking
from collector.query.definitions import U64, encode_ids, find_sorted
from collector.query.model import Matcher, Query
from collector.query.sources import Binds, Segment, label_sql, match_sql, segment_where, series_sql

I64 = npt.NDArray[np.int64]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Owned:
    """The series that match a query, by id (ascending), and whose they are."""

    ids: U64
    host: I64
    """By series: its place in `hosts`."""
    hosts: list[str]
    services: dict[str, set[str]] = field(default_factory=dict)
    """Service → its hosts."""
    every: bool = False
    """The query asks for all series of its services, so that others than `ids` are its own, too: of host ""."""

    def hosts_of(self, series: npt.NDArray[np.integer]) -> I64:
        """The place in `hosts` of each series' host; -1 where the series is not the query's."""
        rows, known = find_sorted(self.ids, series)
        found = np.full(len(series), self.hosts.index("") if self.every else -1)
        found[known] = self.host[rows[known]]
        return found


def load_owned(asking: Asking, query: Query) -> Owned:
    """The series of a query."""
    binds = Binds()
    found = asking.ask(
        "SELECT service, host, groupUniqArray(series) AS ids "
        f"{series_sql(query.matchers, query.range, binds)} GROUP BY service, host",
        binds,
    )
    services: dict[str, set[str]] = {}
    places: dict[str, int] = {}
    of_row = []
    for service, host in zip(map(str, found["service"]), map(str, found["host"]), strict=True):
        services.setdefault(service, set()).add(host)
        of_row.append(places.setdefault(host, len(places)))
    places.setdefault("", len(places))
    parts = [np.asarray(ids, np.uint64) for ids in found["ids"]]
    ids, first = np.unique(np.concatenate([np.empty(0, np.uint64), *parts]), return_index=True)
    owner = np.repeat(np.array(of_row, np.int64), [len(part) for part in parts])[first]
    return Owned(ids, owner, list(places), services, every=_whole_services(query))


def of_hosts(rows: U64, owned: Owned) -> tuple[npt.NDArray[np.bool_], I64]:
    """(rows of the query, their hosts' places) of rows of series."""
    codes, distinct = encode_ids(rows)
    host = owned.hosts_of(distinct)[codes]
    return host >= 0, host[host >= 0]


def together(queries: Sequence[Query]) -> list[list[int]]:
    """Places of queries by what one look can answer: same type, time and services, told apart by other labels."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for place, query in enumerate(queries):
        alone = place if _whole_services(query) else None
        groups.setdefault((query.selection, query.range, _of_service(query), alone), []).append(place)
    return list(groups.values())


def answered_together(queries: Sequence[Query], answer: Callable[[list[int]], Iterable[T]]) -> list[T]:
    """The answer to each query; `answer` gives those to queries at some places, which one look can answer."""
    found: dict[int, T] = {}
    for places in together(queries):
        found.update(zip(places, answer(places), strict=True))
    return [found[place] for place in range(len(queries))]


def rows_where(queries: Sequence[Query], segment: Segment, binds: Binds) -> str:
    """PREWHERE and WHERE over samples or series_1m of rows of any of the queries, which go together."""
    where = segment_where(replace(queries[0], matchers=_of_service(queries[0])), segment, binds)
    if _whole_services(queries[0]):
        return where
    return f"PREWHERE series GLOBAL IN (SELECT series {any_series_sql(queries, binds)}) {where}"


def any_hosts_condition(queries: Sequence[Query], binds: Binds) -> str:
    """`host` is one of those that have series of any of the queries; "1" where these name no labels."""
    if not queries[0].matchers:
        return "1"
    return f"host GLOBAL IN (SELECT host {any_series_sql(queries, binds)})"


def any_series_sql(queries: Sequence[Query], binds: Binds) -> str:
    """As `series_sql`: labels of all series that match any of the queries, which go together."""
    labels = series_sql(_of_service(queries[0]), queries[0].range, binds)
    if _whole_services(queries[0]):
        return labels
    either = (
        " AND ".join(match_sql(each, label_sql(each.label, binds), binds) for each in _of_others(query))
        for query in queries
    )
    return f"{labels} AND ({' OR '.join(f'({matches})' for matches in either)})"


def _of_service(query: Query) -> tuple[Matcher, ...]:
    return tuple(matcher for matcher in query.matchers if matcher.label == "service")


def _of_others(query: Query) -> tuple[Matcher, ...]:
    return tuple(matcher for matcher in query.matchers if matcher.label != "service")


def _whole_services(query: Query) -> bool:
    return not _of_others(query)
