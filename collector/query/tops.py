"""The top table of long ranges: whole hours from the roll-up by function, the ends from samples."""

from dataclasses import replace

import numpy as np

from collector.query.asking import Asking
from collector.query.completeness import Coverage
from collector.query.definitions import FrameNames
from collector.query.model import Query, TopRow
from collector.query.named import load_chains
from collector.query.profiles import UNDEFINED_STACK, load_profile
from collector.query.segments import function_segments
from collector.query.sources import Binds, Segment, segment_condition
from collector.query.tallies import sort_top, top_of
from fleetprof.frames import UNSAMPLED, Frame, frame_id

_UNSAMPLED_ID = frame_id(UNSAMPLED)


def load_top(
    asking: Asking, names: FrameNames, query: Query, limit: int, sort: str
) -> tuple[list[TopRow], int]:
    """The `limit` heaviest functions and the sum of everything; the same figures as the full flame graph."""
    by_frame: dict[Frame, tuple[int, int]] = {}
    total = 0
    for segment in function_segments(asking, query):
        if segment.table == "func_1h":
            rows, value = _hours(asking, names, query, segment)
        else:
            rows, value = _from_stacks(asking, names, query, segment)
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


def _hours(asking: Asking, names: FrameNames, query: Query, segment: Segment) -> tuple[list[TopRow], int]:
    """Rows of the functions; time without a stack, and with an undefined one, comes from stack_1h.

    Where frames were named after they were stored, several rows are one function, and a stack that has two of them
    would count twice in its total: then stacks tell.
    """
    binds = Binds()
    found = asking.ask(
        f"SELECT func, sum(self) AS own, sum(total) AS with_calls FROM func_1h "
        f"WHERE {segment_condition(query, segment, binds)} GROUP BY func",
        binds,
    )
    codes = ~np.isin(found["func"], np.array([0, _UNSAMPLED_ID], np.uint64))
    func, own, with_calls = (found[name][codes] for name in ("func", "own", "with_calls"))
    frames = names.load(func)
    if load_chains(names, func, frames):
        return _from_stacks(asking, names, query, Segment("stack_1h", segment.range))
    rows = [
        TopRow(frame, self_value, total_value)
        for frame, self_value, total_value in zip(frames, own.tolist(), with_calls.tolist(), strict=True)
    ]
    binds = Binds()
    sums = asking.ask(
        "SELECT sum(value) AS everything, sumIf(value, stack = 0) AS unsampled FROM stack_1h "
        f"WHERE {segment_condition(query, Segment('stack_1h', segment.range), binds)}",
        binds,
    )
    everything, unsampled = int(sums["everything"].sum()), int(sums["unsampled"].sum())
    undefined = everything - unsampled - int(own.sum())
    for frame, value in ((UNSAMPLED, unsampled), (UNDEFINED_STACK, undefined)):
        if value > 0:
            rows.append(TopRow(frame, value, value))
    return rows, everything
