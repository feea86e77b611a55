"""Whether the data that a judgement needs has come: missing or late data holds it."""

from dataclasses import dataclass, replace

import numpy as np

from collector.query.asking import Asking
from collector.query.completeness import GONE_AFTER_S, IN_FLIGHT_S, WINDOW_S
from collector.query.model import Query, TimeRange
from collector.query.sources import VOUCHED, Binds, hosts_condition, time_condition

SETTLED_S = IN_FLIGHT_S + WINDOW_S
"""A judged range ends this long before now: its last windows should have come by then."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """Windows expected of the query's hosts, and received. A host that was heard within the last hour before
    the range's end is awaited; so one that falls silent holds judgement for an hour and is then taken for
    gone."""

    hosts: int
    expected: int
    received: int

    def problem(self, min_share: float) -> str:
        """Why this is too little to judge; "" when it is enough."""
        if not self.expected or not self.received:
            return "none of its hosts sent a window"
        missing = 1 - self.received / self.expected
        return f"{missing:.0%} of windows missing".replace("%", " %") if missing > 1 - min_share else ""


def load_coverage(asking: Asking, query: Query) -> Coverage:
    """The coverage of `query`, whose range must lie SETTLED_S in the past."""
    start_s, end_s = query.range.start_s, query.range.end_s
    reach = TimeRange(min(start_s, end_s - GONE_AFTER_S), end_s)
    binds = Binds()
    inside = f"ts >= toDateTime({binds.add(start_s)})"
    found = asking.ask(
        f"SELECT host, toUInt32(min(ts)) AS first_s, uniqExactIf(ts, {inside}) AS received FROM windows "
        f"WHERE {time_condition(reach, binds)} AND {VOUCHED} AND "
        f"{hosts_condition(replace(query, range=reach), binds)} "
        "GROUP BY host",
        binds,
    )
    first_s = np.maximum(found["first_s"].astype(np.int64), start_s)
    expected = -(-end_s // WINDOW_S) - -(-first_s // WINDOW_S)
    received = found["received"].astype(np.int64)
    return Coverage(len(first_s), int(expected.sum()), int(np.minimum(received, expected).sum()))


def settled_end(now_s: float) -> int:
    """The latest end of a judged range: on a window's edge."""
    return (int(now_s) - SETTLED_S) // WINDOW_S * WINDOW_S
