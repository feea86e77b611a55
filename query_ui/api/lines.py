"""Answers over time: the series chart's lines, as averages so that steps of any length compare."""

import math

import numpy as np

from collector.query.model import Json, Query, SeriesAnswer, SeriesPoints
from collector.query.querier import Querier
from collector.query.time_range import choose_step
from query_ui.api.profiles import range_json

DEFAULT_POINTS = 300


def series_json(querier: Querier, query: Query, group_by: str | None, limit: int, points: int) -> Json:
    """Lines on common steps; null where no selected host reported.

    A value is the average over the part of its step that lies in the range (cores, or threads).
    """
    answer = querier.series(query, choose_step(query.range, points), group_by, limit)
    starts = answer.series[0].start_s.tolist() if answer.series else []
    lengths = [_inside(query, start, answer.step_s) for start in starts]
    return {
        "range": range_json(query.range),
        "step_s": answer.step_s,
        "resolution": answer.resolution,
        "covered_s": _covered(answer, lengths),
        "start_s": starts,
        "series": [{"labels": line.labels, "values": _averages(line, lengths)} for line in answer.series],
    }


def function_json(querier: Querier, query: Query, function: str, points: int) -> Json:
    """A function's part of the query's time on steps of a minute or longer; null where there is no time."""
    answer = querier.function_share(query, max(choose_step(query.range, points), 60), function)
    line = answer.series[0]
    known = ~np.isnan(line.values)
    starts = line.start_s.tolist()
    return {
        "range": range_json(query.range),
        "step_s": answer.step_s,
        "resolution": answer.resolution,
        "covered_s": sum(_inside(query, start, answer.step_s) for start in line.start_s[known].tolist()),
        "start_s": starts,
        "series": [
            {
                "labels": line.labels,
                "values": [
                    round(value, 6) if there else None
                    for value, there in zip(line.values.tolist(), known.tolist(), strict=True)
                ],
            }
        ],
    }


def _inside(query: Query, start_s: int, step_s: int) -> int:
    """Seconds of the step that lie in the query's range."""
    return min(start_s + step_s, query.range.end_s) - max(start_s, query.range.start_s)


def _averages(line: SeriesPoints, lengths: list[int]) -> list[float | None]:
    return [
        None if math.isnan(value) else round(value / 1e9 / length, 6)
        for value, length in zip(line.values.tolist(), lengths, strict=True)
    ]


def _covered(answer: SeriesAnswer, lengths: list[int]) -> int:
    """Seconds of the range for which some line has a value."""
    return sum(
        length
        for index, length in enumerate(lengths)
        if any(not math.isnan(line.values[index]) for line in answer.series)
    )
