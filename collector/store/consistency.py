"""Compares the roll-ups with the samples they were summed from: both must give the same sums everywhere."""

from collections.abc import Iterator
from dataclasses import dataclass

from collector.store.interface import Statement, Store

MAX_DIFFERENCES = 100
"""Most differences reported for each table and hour."""

# Each side adds its rows with zeros in the other's columns; groups where the sums differ are wrong. One hour
# at a time, so that memory stays bounded.
_HOUR = "ts >= toDateTime(%(hour)s) AND ts < toDateTime(%(hour)s + 3600)"

_STACK = f"""
SELECT service, type, toString(stack) AS item, sum(a) AS samples, sum(b) AS rollup, sum(c) AS ca, sum(d) AS cb
FROM (
    SELECT service, type, stack, value AS a, toUInt64(0) AS b, toUInt64(captures) AS c, toUInt64(0) AS d
    FROM samples WHERE {_HOUR} AND type != 'idle'
    UNION ALL
    SELECT service, type, stack, toUInt64(0), value, toUInt64(0), captures FROM stack_1h WHERE {_HOUR}
) GROUP BY service, type, stack HAVING samples != rollup OR ca != cb LIMIT %(limit)s
"""  # noqa: S608 (own text)

_SERIES = f"""
SELECT service, type, concat(toString(series), ' ', toString(minute)) AS item, sum(a) AS samples,
    sum(b) AS rollup, sum(c) AS ca, sum(d) AS cb
FROM (
    SELECT toStartOfMinute(ts) AS minute, service, type, series, value AS a, toUInt64(0) AS b,
        toUInt64(captures) AS c, toUInt64(0) AS d
    FROM samples WHERE {_HOUR}
    UNION ALL
    SELECT ts, service, type, series, toUInt64(0), value, toUInt64(0), captures FROM series_1m WHERE {_HOUR}
) GROUP BY service, type, series, minute HAVING samples != rollup OR ca != cb LIMIT %(limit)s
"""  # noqa: S608

_FUNCTION = f"""
SELECT service, type, toString(func) AS item, sum(a) AS samples, sum(b) AS rollup, sum(c) AS ca, sum(d) AS cb
FROM (
    SELECT service, type, func, v AS a, toUInt64(0) AS b, if(func = leaf, v, 0) AS c, toUInt64(0) AS d FROM (
        SELECT service, type, v, frames[1] AS leaf, arrayJoin(arrayDistinct(frames)) AS func FROM (
            SELECT service, type, stack, sum(value) AS v FROM samples
            WHERE {_HOUR} AND type != 'idle' AND stack != 0 GROUP BY service, type, stack
        ) AS x ALL INNER JOIN (
            SELECT service, stack, any(frames) AS frames FROM stacks GROUP BY service, stack
        ) AS y USING service, stack
    )
    UNION ALL
    SELECT service, type, func, toUInt64(0), total, toUInt64(0), self FROM func_1h WHERE {_HOUR}
) GROUP BY service, type, func HAVING samples != rollup OR ca != cb LIMIT %(limit)s
"""  # noqa: S608

_CHECKS = {"stack_1h": _STACK, "series_1m": _SERIES, "func_1h": _FUNCTION}


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where a roll-up is not the sum of its samples.

    `item` is a stack, a series and minute, or a function. For functions `captures` are self values.
    """

    table: str
    hour_s: int
    service: str
    type: str
    item: str
    samples: int
    rollup: int
    samples_captures: int
    rollup_captures: int


def hours_with_samples(store: Store) -> list[int]:
    """Unix seconds of each hour that has samples."""
    found = store.query(("SELECT DISTINCT toStartOfHour(ts) AS hour FROM samples ORDER BY hour", {}))
    return [int(hour) for hour in found["hour"]]


def incomplete_hours(store: Store) -> set[int]:
    """Hours with samples that a collector has yet to roll up, Unix seconds."""
    found = store.query(
        (
            "SELECT DISTINCT hour FROM (SELECT ts AS hour, collector, argMax(pending, version) AS marked"
            " FROM rollups_pending GROUP BY ts, collector) WHERE marked = 1",
            {},
        )
    )
    return {int(hour) for hour in found["hour"]}


def differences(store: Store) -> Iterator[Difference]:
    """Every difference between samples and roll-ups, hour by hour; nothing when all is well.

    What a collector has yet to roll up is no difference: hourly sums of such hours are left out.
    """
    incomplete = incomplete_hours(store)
    for hour in hours_with_samples(store):
        for table, sql in _CHECKS.items():
            if hour in incomplete and table != "series_1m":
                continue
            statement: Statement = (sql, {"hour": hour, "limit": MAX_DIFFERENCES})
            found = store.query(statement)
            names = ("service", "type", "item", "samples", "rollup", "ca", "cb")
            for service, type_, item, *sums in zip(*(found[name] for name in names), strict=True):
                yield Difference(table, hour, str(service), str(type_), str(item), *map(int, sums))
