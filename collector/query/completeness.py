"""How much of what should be there is there."""

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from collector.query.asking import Asking
from collector.query.model import Completeness, Query, TimeRange
from collector.query.sources import VOUCHED, Binds, hosts_condition, time_condition
from collector.store.interface import Columns
from fleetprof.profile_types import WINDOW_NS

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


def load_coverage(asking: Asking, query: Query, now_s: float | None = None) -> Coverage:
    """Windows received and expected from the hosts that have series of the query, and their losses.

    A host is expected from its first window on until the range's end or now; see the constants above.
    """
    asked = query.range
    reach = TimeRange(asked.start_s - _SEEN_BEFORE_S, asked.end_s)
    binds = Binds()
    inside = f"ts >= toDateTime({binds.add(asked.start_s)})"
    found = asking.ask(
        "SELECT host, toUInt32(min(ts)) AS first_s, toUInt32(max(ts)) AS last_s, "
        f"countIf({inside}) AS received, minIf(cpu_exact, {inside}) AS exact FROM windows "
        f"WHERE {time_condition(reach, binds)} AND {VOUCHED} AND {hosts_condition(query, binds)} GROUP BY host",
        binds,
    )
    received = _distinct(asking, query, found)
    now = time.time() if now_s is None else now_s
    expected = _expected(
        asked, found["first_s"].astype(np.int64), found["last_s"].astype(np.int64), int(now) - IN_FLIGHT_S
    )
    reported = received > 0
    return Coverage(
        Completeness(
            hosts=int(reported.sum()),
            windows_expected=int(np.maximum(expected, received).sum()),
            windows_received=int(received.sum()),
            losses=_load_losses(asking, query),
        ),
        exact=bool(reported.any() and found["exact"][reported].all()),
    )


def _distinct(asking: Asking, query: Query, found: Columns) -> npt.NDArray[np.int64]:
    """How many starts of windows inside the range each host has.

    Rows are counted, which takes a quarter of the time, and the starts themselves only of hosts that have more rows
    than starts fit in: two agents of one host, or one that was restarted within a window.
    """
    received = found["received"].astype(np.int64)
    first_s = np.maximum(found["first_s"].astype(np.int64), query.range.start_s)
    fit = (found["last_s"].astype(np.int64) - first_s) // WINDOW_S + 1
    twice = np.flatnonzero(received > fit)
    if len(twice):
        binds = Binds()
        some = tuple(str(host) for host in found["host"][twice])
        which = f"host IN {binds.add(some)}" if len(some) <= _MOST_NAMED else hosts_condition(query, binds)
        starts = asking.ask(
            "SELECT host, uniqExact(ts) AS received FROM windows "
            f"WHERE {time_condition(query.range, binds)} AND {VOUCHED} AND {which} GROUP BY host",
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


def _load_losses(asking: Asking, query: Query) -> dict[str, int]:
    binds = Binds()
    found = asking.ask(
        "SELECT reason, sum(count) AS lost FROM losses "
        f"WHERE {time_condition(query.range, binds)} AND {hosts_condition(query, binds)} "
        "GROUP BY reason ORDER BY reason",
        binds,
    )
    return {
        str(reason): int(lost) for reason, lost in zip(found["reason"], found["lost"], strict=True) if lost
    }
