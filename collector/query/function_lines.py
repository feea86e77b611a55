"""One function's part of a selection over time, with all it calls: the stacks that hold it, summed by step."""

import numpy as np

from collector.query.asking import Asking
from collector.query.definitions import U64
from collector.query.lines import Steps, check_steps
from collector.query.model import Query, SeriesAnswer, SeriesPoints
from collector.query.segments import stack_segments
from collector.query.sources import (
    HOUR_S,
    Binds,
    Segment,
    match_sql,
    resolution_of,
    segment_condition,
)
from fleetprof.errors import InputError

_MOST_IDS = 1_000
"""Frames of one name: one for each file that has it, so usually a few."""


def load_function_share(asking: Asking, query: Query, step_s: int, function: str) -> SeriesAnswer:
    """The share (0..1) of stacks that hold a function of this name, at each step.

    NaN where the selection has no time. Whole hours come from their roll-up, shorter steps from samples. Raises
    InputError as load_series does.
    """
    check_steps(query, step_s)
    steps = Steps(asking, query, step_s)
    whole = steps.load_sum(asking)
    segments = [Segment("samples", query.range)]
    if step_s % HOUR_S == 0:
        segments = [Segment("samples", s.part) if s.part else s for s in stack_segments(asking, query)]
    value = _load_value(asking, steps, segments, _load_ids(asking, function))
    share = np.full(steps.count, np.nan)
    np.divide(value.astype(np.float64), whole.astype(np.float64), out=share, where=whole > 0)
    line = SeriesPoints({"function": function}, steps.starts, share)
    return SeriesAnswer(step_s, [line], resolution_of([*steps.segments, *segments]))


def _load_value(asking: Asking, steps: Steps, segments: list[Segment], ids: list[int]) -> U64:
    """The time of each step in stacks that hold one of the frames."""
    if not ids:
        return np.zeros(steps.count, np.uint64)
    binds = Binds()
    services = [match_sql(m, m.label, binds) for m in steps.query.matchers if m.label == "service"]
    stacks = f"(SELECT DISTINCT stack FROM stacks WHERE {' AND '.join([*services, _hold(ids, binds)])})"
    sums = " UNION ALL ".join(
        f"SELECT {steps.bucket_sql(binds)}, sum(value) AS v FROM {segment.table} PREWHERE stack GLOBAL IN {stacks} "
        f"WHERE {segment_condition(steps.query, segment, binds)} GROUP BY bucket"
        for segment in segments
    )
    found = asking.ask(f"SELECT bucket, sum(v) AS value FROM ({sums}) GROUP BY bucket", binds)
    return steps.spread(found["bucket"], found["value"])


def _load_ids(asking: Asking, function: str) -> list[int]:
    """Frames of that name, and those without one that debug information gave it later; raises InputError."""
    binds = Binds()
    found = asking.ask(
        f"SELECT DISTINCT id FROM frames WHERE function = {binds.add(function)} LIMIT {_MOST_IDS + 1}", binds
    )
    ids: list[int] = found["id"].tolist()
    if ids and len(ids) <= _MOST_IDS:
        binds = Binds()
        also = f"SELECT DISTINCT id FROM symbolized WHERE {_hold(ids, binds, 'functions')}"
        ids += asking.ask(f"{also} LIMIT {_MOST_IDS + 1}", binds)["id"].tolist()
    if len(ids) > _MOST_IDS:
        raise InputError(
            f'More than {_MOST_IDS} functions are called "{function}".', "Choose a caller of it."
        )
    return ids


def _hold(ids: list[int], binds: Binds, column: str = "frames") -> str:
    return f"hasAny({column}, [{', '.join(map(binds.add, ids))}])"
