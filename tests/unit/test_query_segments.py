"""Which table answers which part of a range."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from collector.query.model import TimeRange
from collector.query.sources import HOUR_S, split_range

HOURS = 12


@given(
    st.integers(0, HOURS * 360), st.integers(1, HOURS * 360), st.sets(st.integers(-1, HOURS + 1), max_size=5)
)
def test_segments_cover_the_range_once_and_avoid_incomplete_hours(
    start: int, length: int, incomplete: set[int]
) -> None:
    asked = TimeRange(start * 10, (start + length) * 10)
    gaps = frozenset(hour * HOUR_S for hour in incomplete)
    segments = split_range(asked, HOUR_S, "stack_1h", gaps)
    assert segments[0].range.start_s == asked.start_s
    assert segments[-1].range.end_s == asked.end_s
    for before, after in itertools.pairwise(segments):
        assert before.range.end_s == after.range.start_s
    rolled = {
        hour
        for part in segments
        if part.table == "stack_1h"
        for hour in range(part.range.start_s, part.range.end_s, HOUR_S)
    }
    whole = {
        hour
        for hour in range(0, 2 * HOURS * HOUR_S, HOUR_S)
        if asked.start_s <= hour and hour + HOUR_S <= asked.end_s
    }
    assert rolled == whole - gaps
