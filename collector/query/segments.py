"""Which tables answer a question about stacks: roll-ups where they are whole, samples elsewhere."""

from collector.query.asking import Asking
from collector.query.model import Query, TimeRange
from collector.query.sources import HOUR_S, ROLLED_UP_LABELS, Binds, Segment, split_range

SAMPLES_ALONE_S = 6 * HOUR_S
"""Up to this length samples answer within 0.2 s for a service; longer ranges gain from the hourly table."""


def stack_segments(asking: Asking, query: Query) -> list[Segment]:
    """Samples for short ranges and for labels that only they know, else the hourly sums of stacks."""
    return _hourly_segments(asking, query, "stack_1h")


def function_segments(asking: Asking, query: Query) -> list[Segment]:
    """The same with the hourly sums of functions."""
    return _hourly_segments(asking, query, "func_1h")


def _hourly_segments(asking: Asking, query: Query, table: str) -> list[Segment]:
    labels = {matcher.label for matcher in query.matchers}
    if query.range.seconds <= SAMPLES_ALONE_S or not labels <= ROLLED_UP_LABELS:
        return [Segment("samples", query.range)]
    return split_range(query.range, HOUR_S, table, load_incomplete_hours(asking, query.range))


def load_incomplete_hours(asking: Asking, range: TimeRange) -> frozenset[int]:
    """Hours of the range whose roll-ups lack rows that samples have (collector/ingest/marks.py).

    Asked before the sums are: an hour that gets its first rows in between is answered as it was.
    """
    binds = Binds()
    start = binds.add(range.start_s // HOUR_S * HOUR_S)
    found = asking.ask(
        "SELECT DISTINCT toUInt32(ts) AS hour FROM (SELECT ts, collector, argMax(pending, version) AS marked "
        f"FROM rollups_pending WHERE ts >= toDateTime({start}) AND ts < toDateTime({binds.add(range.end_s)}) "
        "GROUP BY ts, collector) WHERE marked = 1",
        binds,
    )
    return frozenset(found["hour"].tolist())
