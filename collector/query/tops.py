"""The top table: whole hours from the roll-up by function, the ends from samples."""

import re
from dataclasses import replace

from collector.query.asking import Asking
from collector.query.completeness import Coverage
from collector.query.definitions import IDS_A_STATEMENT, U64
from collector.query.frame_names import FrameNames
from collector.query.model import Matcher, Query, TopRow
from collector.query.named import load_chains
from collector.query.profiles import UNDEFINED_STACK, load_profile
from collector.query.segments import function_segments
from collector.query.sources import Binds, Segment, match_sql, segment_condition, segment_where, sums_sql
from collector.query.tallies import sort_top, top_of
from fleetprof.frames import UNSAMPLED, Frame


def load_top(
    asking: Asking, names: FrameNames, query: Query, limit: int, sort: str
) -> tuple[list[TopRow], int]:
    """The `limit` heaviest functions and the sum of everything; the same figures as the full flame graph."""
    by_frame: dict[Frame, tuple[int, int]] = {}
    total = 0
    for segment in function_segments(asking, query):
        rows, value = _by_function(asking, names, query, segment)
        total += value
        for row in rows:
            own, with_calls = by_frame.get(row.frame, (0, 0))
            by_frame[row.frame] = own + row.self_value, with_calls + row.total_value
    merged = [TopRow(frame, own, with_calls) for frame, (own, with_calls) in by_frame.items()]
    return sort_top(merged, sort)[:limit], total


def _from_stacks(
    asking: Asking, names: FrameNames, query: Query, segment: Segment
) -> tuple[list[TopRow], int]:
    part = replace(query, range=segment.range)
    unknown = Coverage.unknown()
    profile = load_profile(
        asking, names, part, unknown, max_stacks=None, split_services=False, segments=[segment]
    )
    return top_of(profile), profile.total


def _by_function(
    asking: Asking, names: FrameNames, query: Query, segment: Segment
) -> tuple[list[TopRow], int]:
    """Rows of the functions; time without a stack, and with an undefined one, comes from sums by stack.

    Where frames were named after they were stored, several rows are one function, and a stack that has two of them
    would count twice in its total: of services that have such frames stacks tell.
    """
    binds = Binds()
    hourly = segment.table == "func_1h"
    found = asking.ask(
        sums_sql(query, segment, ("func",), {"own": "self", "with_calls": "total"}, binds)
        if hourly
        else _functions_sql(query, segment, binds),
        binds,
    )
    defined = found["func"] != 0
    func, own, with_calls = (found[name][defined] for name in ("func", "own", "with_calls"))
    frames = names.load(func)
    if renamed := list(load_chains(names, func, frames)):
        if not hourly:
            return _from_stacks(asking, names, query, segment)
        services = _services_with(asking, query, segment, func[renamed])
        return _apart(asking, names, query, segment, services)
    rows = [
        TopRow(frame, self_value, total_value)
        for frame, self_value, total_value in zip(frames, own.tolist(), with_calls.tolist(), strict=True)
    ]
    everything, unsampled = _load_totals(asking, query, segment)
    slack = len(own) + 1 if segment.part else 0  # sums in proportion are rounded down one by one
    undefined = everything - unsampled - int(own.sum())
    for frame, value in ((UNSAMPLED, unsampled), (UNDEFINED_STACK, undefined)):
        if value > slack:
            rows.append(TopRow(frame, value, value))
    return rows, everything


def _functions_sql(query: Query, segment: Segment, binds: Binds) -> str:
    """A SELECT of (func, own, with_calls) from samples: a function counts once in a stack that holds it twice."""
    sums = sums_sql(query, segment, ("stack",), {"v": "value"}, binds)
    services = [match_sql(m, m.label, binds) for m in query.matchers if m.label == "service"]
    chosen = f"SELECT DISTINCT stack FROM samples {segment_where(query, segment, binds)}"
    defined = " AND ".join([*services, f"stack GLOBAL IN ({chosen})"])
    return (
        "SELECT func, sum(if(func = leaf, v, 0)) AS own, sum(v) AS with_calls FROM"
        " (SELECT v, frames[1] AS leaf, arrayJoin(arrayDistinct(frames)) AS func FROM"
        f" ({sums}) AS x ALL INNER JOIN (SELECT stack, any(frames) AS frames FROM stacks"
        f" WHERE {defined} GROUP BY stack) AS y USING stack) GROUP BY func"
    )


def _load_totals(asking: Asking, query: Query, segment: Segment) -> tuple[int, int]:
    """(everything, what has no stack) of a segment."""
    binds = Binds()
    by_stack = segment if segment.table == "samples" else replace(segment, table="stack_1h")
    sums = sums_sql(query, by_stack, ("stack = 0 AS empty",), {"v": "value"}, binds)
    found = asking.ask(f"SELECT sum(v) AS everything, sumIf(v, empty) AS unsampled FROM ({sums})", binds)
    return int(found["everything"].sum()), int(found["unsampled"].sum())


def _services_with(asking: Asking, query: Query, segment: Segment, functions: U64) -> list[str]:
    """The services that have one of these functions."""
    found: set[str] = set()
    for start in range(0, len(functions), IDS_A_STATEMENT):
        binds = Binds()
        condition = segment_condition(query, segment, binds)
        some = binds.add(functions[start : start + IDS_A_STATEMENT])
        rows = asking.ask(f"SELECT DISTINCT service FROM func_1h WHERE {condition} AND func IN {some}", binds)
        found.update(map(str, rows["service"]))
    return sorted(found)


def _apart(
    asking: Asking, names: FrameNames, query: Query, segment: Segment, services: list[str]
) -> tuple[list[TopRow], int]:
    """Some services by their stacks, the others by their functions."""
    these = "|".join(map(re.escape, services))
    some, others = (
        replace(query, matchers=(*query.matchers, Matcher("service", op, these))) for op in ("=~", "!~")
    )
    rows, value = _from_stacks(asking, names, some, replace(segment, table="stack_1h"))
    more, rest = _by_function(asking, names, others, segment)
    return rows + more, value + rest
