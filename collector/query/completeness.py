"""How much of what should be there is there."""

import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from collector.query.asking import Asking
from collector.query.model import Completeness, Query, TimeRange
from collector.query.sources import VOUCHED, Binds, hosts_condition, time_condition
from collector.store.interface import Columns
from fleetprof.profile_types import WINDOW_NS

I64 = npt.NDArray[np.int64]

WINDOW_S = WINDOW_NS // 1_000_000_000
IN_FLIGHT_S = 2 * WINDOW_S
"""A window is not missed before this time has gone by since its end."""
GONE_AFTER_S = 3600
"""A host that was silent up to the range's end for longer than this was taken away, not cut off."""
_MOST_NAMED = 1000
"""Hosts, in one statement."""
_SEEN_BEFORE_S = 600
"""A host that reported this long before the range is expected from the range's start on."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """Completeness, and whether all values behind it were scaled to exact times."""

    completeness: Completeness
    exact: bool

    @classmethod
    def unknown(cls) -> "Coverage":
        """For parts of an answer that do not show it."""
        return cls(Completeness(0, 0, 0), exact=False)


@dataclass(frozen=True, slots=True)
class Reports:
    """What the windows of a query's hosts say, row by row a host."""

    query: Query
    host: npt.NDArray[np.object_]
    first_s: I64
    last_s: I64
    """Starts of the first and the last window that the host vouches for, from `_SEEN_BEFORE_S` before the range."""
    received: I64
    """Starts of such windows inside the range."""
    exact: npt.NDArray[np.bool_]
    sent: int
    """Rows of samples in windows of the range, of all services and types, vouched for or not."""


def load_coverage(asking: Asking, query: Query, now_s: float | None = None) -> Coverage:
    """Windows received and expected from the hosts that have series of the query, and their losses.

    A host is expected from its first window on until the range's end or now; see the constants above.
    """
    binds = Binds()
    hosts = hosts_condition(query, binds)
    (reports,) = load_reports(asking, [query], [None], (hosts, binds), sent=False)
    (losses,) = load_losses(asking, [query], [None], (hosts, binds))
    return coverage_of(reports, losses, now_s)


def coverage_of(reports: Reports, losses: dict[str, int], now_s: float | None = None) -> Coverage:
    """The coverage that windows and losses add up to."""
    now = time.time() if now_s is None else now_s
    received = reports.received
    expected = _expected(reports.query.range, reports.first_s, reports.last_s, int(now) - IN_FLIGHT_S)
    reported = received > 0
    return Coverage(
        Completeness(
            hosts=int(reported.sum()),
            windows_expected=int(np.maximum(expected, received).sum()),
            windows_received=int(received.sum()),
            losses=losses,
        ),
        exact=bool(reported.any() and reports.exact[reported].all()),
    )


Chosen = tuple[str, Binds]
"""A condition on `host` that holds for all hosts of some queries, and its values."""


def load_reports(
    asking: Asking,
    queries: Sequence[Query],
    hosts: Sequence[Collection[str] | None],
    chosen: Chosen,
    sent: bool = True,
) -> list[Reports]:
    """What windows say of queries of one range; `hosts`: whose each query is (None: all that are `chosen`).

    Without `sent`, that is not looked up, and is 0.
    """
    asked, (condition, given) = queries[0].range, chosen
    reach = TimeRange(asked.start_s - _SEEN_BEFORE_S, asked.end_s)
    binds = Binds(dict(given.values))
    inside = f"ts >= toDateTime({binds.add(asked.start_s)})"
    figures, counted = _figures(inside, sent)
    found = asking.ask(
        f"SELECT host, {figures} FROM windows "
        f"WHERE {time_condition(reach, binds)} AND {counted} AND {condition} GROUP BY host",
        binds,
    )
    known = {name: values[found["known"] > 0] for name, values in found.items()}
    received = _distinct(asking, asked, known, chosen)
    reports = []
    for query, names in zip(queries, hosts, strict=True):
        own = _among(known["host"], names)
        reports.append(
            Reports(
                query,
                known["host"][own],
                known["first_s"][own].astype(np.int64),
                known["last_s"][own].astype(np.int64),
                received[own],
                known["exact"][own].astype(np.bool_),
                int(found["sent"][_among(found["host"], names)].sum()),
            )
        )
    return reports


def _figures(inside: str, sent: bool) -> tuple[str, str]:
    """(what is asked of each host's windows, of which windows). Looking at others, too, takes a third longer."""
    if not sent:
        times = "toUInt32(min(ts)) AS first_s, toUInt32(max(ts)) AS last_s, count() AS known"
        counts = f"countIf({inside}) AS received, minIf(cpu_exact, {inside}) AS exact, 0 AS sent"
        return f"{times}, {counts}", VOUCHED
    first, last = (f"toUInt32({of}If(ts, {VOUCHED}))" for of in ("min", "max"))
    times = f"{first} AS first_s, {last} AS last_s, countIf({VOUCHED}) AS known"
    both = f"{VOUCHED} AND {inside}"
    counts = f"countIf({both}) AS received, minIf(cpu_exact, {both}) AS exact, sumIf(rows, {inside}) AS sent"
    return f"{times}, {counts}", "1"


def _among(hosts: npt.NDArray[np.object_], names: Collection[str] | None) -> npt.NDArray[np.bool_]:
    return np.array([names is None or str(host) in names for host in hosts], np.bool_)


def _distinct(asking: Asking, asked: TimeRange, found: Columns, chosen: Chosen) -> I64:
    """How many starts of windows inside the range each host has.

    Rows are counted, which takes a quarter of the time, and the starts themselves only of hosts that have more rows
    than starts fit in: two agents of one host, or one that was restarted within a window.
    """
    received: I64 = found["received"].astype(np.int64)
    first_s = np.maximum(found["first_s"].astype(np.int64), asked.start_s)
    fit = (found["last_s"].astype(np.int64) - first_s) // WINDOW_S + 1
    twice = np.flatnonzero(received > fit)
    if len(twice):
        condition, given = chosen
        binds = Binds(dict(given.values))
        some = tuple(str(host) for host in found["host"][twice])
        which = f"host IN {binds.add(some)}" if len(some) <= _MOST_NAMED else condition
        starts = asking.ask(
            "SELECT host, uniqExact(ts) AS received FROM windows "
            f"WHERE {time_condition(asked, binds)} AND {VOUCHED} AND {which} GROUP BY host",
            binds,
        )
        exactly = dict(zip(map(str, starts["host"]), starts["received"].tolist(), strict=True))
        received[twice] = [exactly.get(host, 0) for host in some]
    return received


def _expected(
    asked: TimeRange, first_s: npt.NDArray[np.int64], last_s: npt.NDArray[np.int64], latest_s: int
) -> npt.NDArray[np.int64]:
    """Windows that start inside the range and should have come, by host."""
    end_s = min(asked.end_s, max(latest_s, asked.start_s))
    gone = end_s - last_s > GONE_AFTER_S
    until = np.where(gone, last_s + WINDOW_S, end_s)
    since = np.maximum(asked.start_s, first_s)
    windows = -(-until // WINDOW_S) - -(-since // WINDOW_S)
    expected: npt.NDArray[np.int64] = np.maximum(windows, 0)
    return expected


def load_losses(
    asking: Asking, queries: Sequence[Query], hosts: Sequence[Collection[str] | None], chosen: Chosen
) -> list[dict[str, int]]:
    """Reason → lost of the hosts of queries of one range; parameters as for `load_reports`."""
    condition, given = chosen
    binds = Binds(dict(given.values))
    found = asking.ask(
        "SELECT host, reason, sum(count) AS lost FROM losses "
        f"WHERE {time_condition(queries[0].range, binds)} AND {condition} GROUP BY host, reason ORDER BY reason",
        binds,
    )
    rows = [(str(host), str(reason), lost) for host, reason, lost in _rows(found) if lost]
    return [_summed(names, rows) for names in hosts]


def _rows(found: Columns) -> Iterable[tuple[object, object, int]]:
    return zip(found["host"], found["reason"], found["lost"].tolist(), strict=True)


def _summed(names: Collection[str] | None, rows: list[tuple[str, str, int]]) -> dict[str, int]:
    losses: dict[str, int] = {}
    for host, reason, lost in rows:
        if names is None or host in names:
            losses[reason] = losses.get(reason, 0) + lost
    return losses
