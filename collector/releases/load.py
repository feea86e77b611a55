"""What the store knows of versions: on which hosts they ran, and when they first did."""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from collector.query.asking import Asking
from collector.query.model import Matcher, TimeRange
from collector.query.sources import MINUTE_S, Binds, series_sql

NOW_S = 600
"""The time at a service's end that "now" stands for."""
_DAY_S = 86400

Key = tuple[str, str]
"""(service, version)"""


@dataclass(frozen=True, slots=True)
class Run:
    """A version on one host in the range."""

    host: str
    first_s: int
    last_s: int
    value: int
    """CPU nanoseconds in the range's last NOW_S of the service."""


def load_runs(asking: Asking, range: TimeRange, matchers: tuple[Matcher, ...]) -> dict[Key, list[Run]]:
    """By service and version, the hosts that ran it."""
    binds = Binds()
    minutes = _minutes(range)
    inside = (
        f"type = 'cpu' AND ts >= toDateTime({binds.add(minutes.start_s)}) "
        f"AND ts < toDateTime({binds.add(minutes.end_s)})"
    )
    services = f"SELECT series {series_sql(matchers, minutes, binds)}"
    chosen = f"{inside} AND series GLOBAL IN ({services})" if matchers else inside
    # What a service used last is counted back from its own last minute, whenever that was.
    ends = f"(SELECT service, toUInt32(max(ts)) AS end_s FROM series_1m WHERE {chosen} GROUP BY service)"
    rows = f"(SELECT service, series, toUInt32(ts) AS at, value FROM series_1m WHERE {chosen})"
    joined = (
        "(SELECT service, series, min(at) AS first, max(at) AS last, "
        f"sumIf(value, at + {NOW_S} > end_s) AS recent "
        f"FROM {rows} AS x ANY LEFT JOIN {ends} AS y USING service GROUP BY service, series)"
    )
    labels = (
        "(SELECT series, any(host) AS on_host, any(version) AS of_version "
        f"{series_sql(matchers, minutes, binds)} GROUP BY series)"
    )
    found = asking.ask(
        "SELECT service, of_version, on_host, min(first) AS first_s, max(last) AS last_s, "
        "sum(recent) AS used "
        f"FROM {joined} AS p ANY LEFT JOIN {labels} AS q USING series "
        "GROUP BY service, of_version, on_host ORDER BY service, of_version, first_s, on_host",
        binds,
    )
    runs: dict[Key, list[Run]] = {}
    columns = (
        found[name].tolist() for name in ("service", "of_version", "on_host", "first_s", "last_s", "used")
    )
    for name, version, host, first, last, used in zip(*columns, strict=True):
        runs.setdefault((name, version), []).append(Run(host, first, last + MINUTE_S, used))
    return runs


def load_births(asking: Asking, range: TimeRange, matchers: tuple[Matcher, ...]) -> dict[Key, int]:
    """By service and version, the first minute in all that is stored; only of those older than the range."""
    binds = Binds()
    days = asking.ask(
        "SELECT service, version, min(day) AS birth "
        f"{series_sql(matchers, None, binds)} GROUP BY service, version",
        binds,
    )
    births = days["birth"].astype(np.int64)
    before = births * _DAY_S < range.start_s
    if not before.any():
        return {}
    binds = Binds()
    born = tuple(_yyyymmdd(day) for day in np.unique(births[before]).tolist())
    names = tuple(sorted(set(days["service"][before].tolist())))
    minutes = (
        "(SELECT series, toYYYYMMDD(ts) AS birth, toUInt32(min(ts)) AS first FROM series_1m "
        f"WHERE type = 'cpu' AND service IN {binds.add(names)} "
        f"AND toYYYYMMDD(ts) IN {binds.add(born)} GROUP BY series, birth)"
    )
    labels = (
        "(SELECT series, any(service) AS of_service, any(version) AS of_version "
        f"{series_sql(matchers, None, binds)} GROUP BY series)"
    )
    found = asking.ask(
        "SELECT of_service, of_version, min(first) AS first_s "
        f"FROM {minutes} AS x ANY LEFT JOIN {labels} AS y USING series GROUP BY of_service, of_version",
        binds,
    )
    columns = (found[name].tolist() for name in ("of_service", "of_version", "first_s"))
    return {(name, version): first for name, version, first in zip(*columns, strict=True)}


def _minutes(range: TimeRange) -> TimeRange:
    """`range` from the minute in which it starts: that is where a service's first windows are counted."""
    return TimeRange(range.start_s // MINUTE_S * MINUTE_S, range.end_s)


def _yyyymmdd(day: int) -> int:
    """The number that toYYYYMMDD gives for a day counted from the epoch."""
    return int(datetime.fromtimestamp(day * _DAY_S, UTC).strftime("%Y%m%d"))
