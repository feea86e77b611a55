"""Where a query's rows come from: conditions for its matchers, and the tables that cover its range.

Every function returns SQL text made only of constants, and puts values into `Binds`. The statements run on
ClickHouse 18.16 and newer: no table CTEs, no window functions, both sides of a join named. `GLOBAL IN` costs
nothing on a single server and is right on a cluster, where samples and series are on different shards.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from collector.query.model import Matcher, Query, TimeRange
from collector.query.selector import anchored
from fleetprof.series import KNOWN_LABELS

HOUR_S = 3600
MINUTE_S = 60
VOUCHED = "covered_ns > 0"
"""Windows whose sender vouches that they are complete: those of our agents. What other profilers push
(collector/receivers) covers 0 and has no say in what is missing."""

ROLLED_UP_LABELS = frozenset({"service", "version", "region"})
"""Labels that the hourly tables keep."""


@dataclass(slots=True)
class Binds:
    """The values of a statement's placeholders, each under a name of its own."""

    values: dict[str, Any] = field(default_factory=dict)

    def add(self, value: Any) -> str:
        """The placeholder for `value`."""
        name = f"p{len(self.values)}"
        self.values[name] = value
        return f"%({name})s"


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a range and the table that answers it."""

    table: str
    range: TimeRange
    part: TimeRange | None = None
    """Where only a part of the hour or minute `range` is asked for, and samples are too many: each service's sums
    of the hour, in proportion to its time in that part, or the minute's in proportion to seconds."""


def split_range(
    range: TimeRange, step_s: int, table: str, incomplete: frozenset[int] = frozenset()
) -> list[Segment]:
    """Whole steps of `range` from the roll-up `table`, the ends that are not on a step from samples.

    So a roll-up gives the very totals that samples give. Steps in `incomplete` (their starts) lack rows that
    samples have, and are answered from samples, too.
    """
    first = -(-range.start_s // step_s) * step_s
    last = range.end_s // step_s * step_s
    if first >= last:
        return [Segment("samples", range)]
    gaps = sorted(start_s for start_s in incomplete if first <= start_s < last)
    parts, reached_s = [], range.start_s
    for start_s, end_s in _between(first, last, gaps, step_s):
        parts.append(Segment("samples", TimeRange(reached_s, start_s)))
        parts.append(Segment(table, TimeRange(start_s, end_s)))
        reached_s = end_s
    parts.append(Segment("samples", TimeRange(reached_s, range.end_s)))
    return [part for part in parts if part.range.seconds]


def _between(first: int, last: int, gaps: list[int], step_s: int) -> list[tuple[int, int]]:
    """The runs of whole steps from `first` to `last` that are not gaps."""
    starts, ends = [first, *(gap + step_s for gap in gaps)], [*gaps, last]
    return [(start_s, end_s) for start_s, end_s in zip(starts, ends, strict=True) if start_s < end_s]


def resolution_of(segments: list[Segment]) -> str:
    """The name that an answer states: of the coarsest table that took part."""
    tables = {segment.table for segment in segments}
    if any(segment.part and segment.table != "series_1m" for segment in segments):
        return "1h, parts of hours in proportion"
    if tables & {"stack_1h", "func_1h"}:
        return "1h"
    return "1m" if "series_1m" in tables else "10s"


def segment_condition(query: Query, segment: Segment, binds: Binds) -> str:
    """The condition on rows of one segment of `query`."""
    series, others = _conditions(query, segment, binds)
    return " AND ".join([*others, *series])


def segment_where(query: Query, segment: Segment, binds: Binds) -> str:
    """The same as PREWHERE and WHERE: where some series of many are asked for, those come first.

    ClickHouse itself would look at service, type and time of every row before, three times as many bytes as the
    series (a third of the time where a sixth of the rows are asked for).
    """
    series, others = _conditions(query, segment, binds)
    return f"{''.join(f'PREWHERE {each} ' for each in series)}WHERE {' AND '.join(others)}"


def _conditions(query: Query, segment: Segment, binds: Binds) -> tuple[list[str], list[str]]:
    """(of series, none or one; of type, time and labels that the table has)."""
    parts = [
        f"type IN {binds.add(tuple(kind.label for kind in query.selection.types))}",
        rows_time(segment.table, [segment.range], binds),
    ]
    direct = {"service"} if segment.table in ("samples", "series_1m", "places") else ROLLED_UP_LABELS
    parts += [match_sql(m, m.label, binds) for m in query.matchers if m.label in direct]
    if all(matcher.label in direct for matcher in query.matchers):
        return [], parts
    return [f"series GLOBAL IN (SELECT series {series_sql(query.matchers, query.range, binds)})"], parts


def rows_time(table: str, ranges: Sequence[TimeRange], binds: Binds) -> str:
    """`ts` inside one of `ranges`, so that the table's key is of use.

    Samples are ordered by toStartOfHour(ts). Conditions on `ts` alone do not choose hours by the key, since `ts` is
    a part of it, too.
    """
    condition = _hours_condition if table == "samples" else time_condition
    parts = [condition(range, binds) for range in ranges]
    return parts[0] if len(parts) == 1 else f"({' OR '.join(f'({part})' for part in parts)})"


def _hours_condition(range: TimeRange, binds: Binds) -> str:
    first_s, end_s = range.start_s // HOUR_S * HOUR_S, -(-range.end_s // HOUR_S) * HOUR_S
    hour = "toStartOfHour(ts)"
    hours = f"{hour} >= toDateTime({binds.add(first_s)}) AND {hour} < toDateTime({binds.add(end_s)})"
    whole = (first_s, end_s) == (range.start_s, range.end_s)
    return hours if whole else f"{hours} AND {time_condition(range, binds)}"


def time_condition(range: TimeRange, binds: Binds) -> str:
    """`ts` inside `range`."""
    return f"ts >= toDateTime({binds.add(range.start_s)}) AND ts < toDateTime({binds.add(range.end_s)})"


def series_sql(matchers: tuple[Matcher, ...], range: TimeRange | None, binds: Binds) -> str:
    """FROM and WHERE over the labels of all series that match, on the days of `range` (all days for None)."""
    parts = [match_sql(matcher, label_sql(matcher.label, binds), binds) for matcher in matchers]
    if range is not None:
        parts.append(f"day >= toDate({binds.add(_day(range.start_s))})")
        parts.append(f"day <= toDate({binds.add(_day(range.end_s - 1))})")
    return "FROM series" + (f" WHERE {' AND '.join(parts)}" if parts else "")


def label_sql(name: str, binds: Binds) -> str:
    """The value of a label in a row of `series`; "" where the series does not have it."""
    if name in KNOWN_LABELS:
        return name
    return f"free_values[indexOf(free_names, {binds.add(name)})]"


def match_sql(matcher: Matcher, value: str, binds: Binds) -> str:
    """The condition of one matcher on the SQL expression `value`. An absent label is "", as in Prometheus."""
    if matcher.op in ("=", "!="):
        return f"{value} {matcher.op} {binds.add(matcher.value)}"
    found = f"match({value}, {binds.add(anchored(matcher.value))})"
    return found if matcher.op == "=~" else f"NOT {found}"


def hosts_condition(query: Query, binds: Binds) -> str:
    """`host` is one of those that have series of the query; "1" when it has no matchers."""
    if not query.matchers:
        return "1"
    return f"host GLOBAL IN (SELECT host {series_sql(query.matchers, query.range, binds)})"


def union_sql(query: Query, segments: list[Segment], keys: Sequence[str], binds: Binds) -> str:
    """A subquery of (keys…, v, c): values and captures of all segments, summed by `keys` within each.

    A key is a column or `expression AS name`.
    """
    sums = {"v": "value", "c": "captures"}
    return f"({' UNION ALL '.join(sums_sql(query, segment, keys, sums, binds) for segment in segments)})"


def sums_sql(
    query: Query, segment: Segment, keys: Sequence[str], sums: Mapping[str, str], binds: Binds
) -> str:
    """A SELECT of (keys…, sums…) of one segment; `sums` is name → column. Keys as for union_sql."""
    if segment.part and segment.table != "series_1m":
        return _part_sql(query, segment, segment.part, keys, sums, binds)
    summed = [f"sum({_of_part(segment, column, binds)}) AS {name}" for name, column in sums.items()]
    return (
        f"SELECT {', '.join([*keys, *summed])} FROM {segment.table} "
        f"{segment_where(query, segment, binds)}{_grouped(_names(keys))}"
    )


def _of_part(segment: Segment, column: str, binds: Binds) -> str:
    """Each row's value, or what of it a part of a minute has; row by row, so that sums of any groups agree."""
    if not segment.part:
        return column
    return f"intDiv({column} * {binds.add(segment.part.seconds)}, {binds.add(segment.range.seconds)})"


def _part_sql(
    query: Query,
    segment: Segment,
    part: TimeRange,
    keys: Sequence[str],
    sums: Mapping[str, str],
    binds: Binds,
) -> str:
    inner = ["service", *(key for key in keys if key != "service")]
    whole = [f"sum({column}) AS whole_{name}" for name, column in sums.items()]
    scaled = [f"toUInt64(sum(whole_{name} * share)) AS {name}" for name in sums]
    names = _names(keys)
    return (
        f"SELECT {', '.join([*names, *scaled])} FROM (SELECT {', '.join([*inner, *whole])} FROM {segment.table} "
        f"WHERE {segment_condition(query, segment, binds)}{_grouped(_names(inner))}) AS x "
        f"ALL INNER JOIN {_shares_sql(query, segment.range, part, binds)} AS y USING service{_grouped(names)}"
    )


def _shares_sql(query: Query, hour: TimeRange, part: TimeRange, binds: Binds) -> str:
    """A subquery of (service, share): the service's time in the part, divided by what stack_1h has of the hour.

    A minute that is partly in the part counts for as many of its seconds.
    """
    minutes = Segment("series_1m", TimeRange(part.start_s // MINUTE_S * MINUTE_S, part.end_s))
    last, first = binds.add(part.end_s), binds.add(part.start_s)
    until = f"least(toUInt32(ts) + {MINUTE_S}, toUInt32({last}))"
    seconds = f"({until} - greatest(toUInt32(ts), toUInt32({first})))"
    return (
        "(SELECT service, sum(there) / sum(hourly) AS share FROM "
        f"(SELECT service, sum(value * {seconds}) / {MINUTE_S} AS there, toFloat64(0) AS hourly"
        f" FROM series_1m {segment_where(query, minutes, binds)}"
        " GROUP BY service UNION ALL SELECT service, toFloat64(0), toFloat64(sum(value)) FROM stack_1h"
        f" WHERE {segment_condition(query, Segment('stack_1h', hour), binds)} GROUP BY service)"
        " GROUP BY service HAVING sum(hourly) > 0)"
    )


def _names(keys: Sequence[str]) -> list[str]:
    return [key.rsplit(" AS ", 1)[-1] for key in keys]


def _grouped(names: Sequence[str]) -> str:
    return f" GROUP BY {', '.join(names)}" if names else ""


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")
