"""Which tables answer a question about stacks: roll-ups where they are whole, samples elsewhere.

Of a large fleet even an hour has too many samples. Parts of hours are then answered from the hour's sums, in
proportion: totals stay those of the minutes, only how they spread over stacks is that of the hour.
"""

from collections.abc import Iterator
from dataclasses import replace

from collector.query.asking import Asking
from collector.query.model import Query, TimeRange
from collector.query.sources import (
    HOUR_S,
    MINUTE_S,
    ROLLED_UP_LABELS,
    Binds,
    Segment,
    hosts_condition,
    segment_where,
    split_range,
    time_condition,
    union_sql,
)

SAMPLES_ALONE_S = 6 * HOUR_S
"""Up to this length samples answer within 0.2 s for a service; longer ranges gain from the hourly table."""
MOST_ROWS = 12_000_000
"""Of samples of a query's services, that an answer is read from. Where there are more, hourly sums answer."""
MOST_OF_PART = 4_000_000
"""The same for a part of an hour, or an hour whose sums are not complete: there are a few of these at most."""


def stack_segments(asking: Asking, query: Query) -> list[Segment]:
    """Samples for short ranges and for labels that only they know, else the hourly sums of stacks."""
    return _hourly_segments(asking, query, "stack_1h")


def function_segments(asking: Asking, query: Query) -> list[Segment]:
    """The same with the hourly sums of functions, which are few: whole hours are never read from samples."""
    return _hourly_segments(asking, query, "func_1h", alone_s=HOUR_S - 1)


def total_segments(asking: Asking, query: Query) -> list[Segment]:
    """What answers sums without stacks: whole minutes from their roll-up, the ends from samples.

    Samples of some seconds lie all over those of their hour. Where these are too many, parts of minutes are the
    minute's sums in proportion.
    """
    segments = split_range(query.range, MINUTE_S, "series_1m")
    cut = [minute for each in segments if each.table == "samples" for minute in _minutes_of(each.range)]
    if not cut or _count_hours_of(asking, _looked_at(query), cut) <= MOST_OF_PART:
        return segments
    return [*cut, *(each for each in segments if each.table != "samples")]


def _minutes_of(range: TimeRange) -> Iterator[Segment]:
    """The minutes that the range lies in, with what of each is in it."""
    for minute_s in _steps(range, MINUTE_S):
        part = TimeRange(max(minute_s, range.start_s), min(minute_s + MINUTE_S, range.end_s))
        yield Segment("series_1m", TimeRange(minute_s, minute_s + MINUTE_S), part)


def _count_hours_of(asking: Asking, query: Query, minutes: list[Segment]) -> int:
    """About how many rows of samples the hours of these minutes have."""
    binds = Binds()
    whole = [replace(minute, part=None) for minute in minutes]
    found = asking.ask(f"SELECT sum(c) AS n FROM {union_sql(query, whole, (), binds)}", binds)
    return int(found["n"].sum()) * HOUR_S // MINUTE_S


def _steps(range: TimeRange, step_s: int) -> Iterator[int]:
    """Starts of the steps in which the range lies."""
    reached_s = range.start_s // step_s * step_s
    while reached_s < range.end_s:
        yield reached_s
        reached_s += step_s


def share_segments(a: Query, b: Query) -> bool:
    """Whether the same segments answer both: their range and services are the same, and tables that tell them."""
    tellable = [{matcher.label for matcher in query.matchers} <= ROLLED_UP_LABELS for query in (a, b)]
    return (
        (a.selection, a.range) == (b.selection, b.range) and all(tellable) and _looked_at(a) == _looked_at(b)
    )


def _looked_at(query: Query) -> Query:
    """The query's services as a whole: samples of some of their versions lie among those of all."""
    return replace(query, matchers=tuple(each for each in query.matchers if each.label == "service"))


def _hourly_segments(
    asking: Asking, query: Query, table: str, alone_s: int = SAMPLES_ALONE_S
) -> list[Segment]:
    labels = {matcher.label for matcher in query.matchers}
    alone = [Segment("samples", query.range)]
    if not labels <= ROLLED_UP_LABELS:
        return alone
    looked_at = _looked_at(query)
    if query.range.seconds <= alone_s and count_rows(asking, looked_at, query.range, MOST_ROWS) <= MOST_ROWS:
        return alone
    segments = split_range(query.range, HOUR_S, table, load_incomplete_hours(asking, query.range))
    return [part for segment in segments for part in _bounded(asking, looked_at, segment, table)]


def _bounded(asking: Asking, query: Query, segment: Segment, table: str) -> Iterator[Segment]:
    """The segment, with samples only where they are few."""
    if segment.table == table:
        yield segment
        return
    for hour_s in _steps(segment.range, HOUR_S):
        part = TimeRange(max(hour_s, segment.range.start_s), min(hour_s + HOUR_S, segment.range.end_s))
        if count_rows(asking, query, part, MOST_OF_PART) <= MOST_OF_PART:
            yield Segment("samples", part)
        else:
            yield Segment(table, TimeRange(hour_s, hour_s + HOUR_S), part)


def count_rows(asking: Asking, query: Query, when: TimeRange, enough: int) -> int:
    """At most so many rows of table samples are the query's; no better known once it is `enough` or less.

    A row stands for one captured sample or more, and a window says how many rows its host sent.
    """
    binds = Binds()
    minutes = Segment("series_1m", TimeRange(when.start_s // MINUTE_S * MINUTE_S, when.end_s))
    captures = asking.ask(
        f"SELECT sum(captures) AS n FROM series_1m {segment_where(query, minutes, binds)}", binds
    )
    found = int(captures["n"].sum())
    return found if found <= enough else min(found, _count_sent(asking, query, when))


def _count_sent(asking: Asking, query: Query, when: TimeRange) -> int:
    """The rows of all services and types that the query's hosts sent."""
    binds = Binds()
    found = asking.ask(
        "SELECT sum(rows) AS n FROM windows "
        f"WHERE {time_condition(when, binds)} AND {hosts_condition(query, binds)}",
        binds,
    )
    return int(found["n"].sum())


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
