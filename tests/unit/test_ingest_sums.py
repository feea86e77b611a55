"""The collector's own small algorithms against plain ones: sums by key, ranges of numbers, recent values."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from collector.ingest.accepted import SequenceRanges
from collector.ingest.recent import Recent
from collector.ingest.sums import ragged_places, sum_by


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 2**55))), st.sampled_from([51, 10**12]))
def test_sums_by_key_are_exact(rows: list[tuple[int, int]], size: int) -> None:
    keys = np.array([key for key, _ in rows], np.int64)
    distinct, (sums,) = sum_by(keys, size, np.array([value for _, value in rows], np.uint64))
    expected: dict[int, int] = {}
    for key, value in rows:
        expected[key] = expected.get(key, 0) + value
    assert dict(zip(distinct.tolist(), sums.tolist(), strict=True)) == expected
    assert distinct.tolist() == sorted(expected)


@given(st.lists(st.integers(0, 5)))
def test_ragged_places(lengths: list[int]) -> None:
    starts = [7 * place for place in range(len(lengths))]
    expected = [start + step for start, length in zip(starts, lengths, strict=True) for step in range(length)]
    assert ragged_places(np.array(starts, np.int64), np.array(lengths, np.int64)).tolist() == expected


@given(st.lists(st.integers(1, 40)))
def test_ranges_hold_what_was_added(numbers: list[int]) -> None:
    ranges = SequenceRanges()
    for number in numbers:
        ranges.add(number)
    assert {number for number in range(42) if number in ranges} == set(numbers)
    gaps = sum(after - before > 1 for before, after in itertools.pairwise(sorted(set(numbers))))
    assert len(ranges) == (gaps + 1 if numbers else 0)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 12))))
def test_recent_keeps_the_last_used_and_stays_bounded(steps: list[tuple[bool, int]]) -> None:
    recent: Recent[int, str] = Recent(8)
    used: list[int] = []
    for put, key in steps:
        if put:
            recent.put(key, str(key))
        if recent.get(key) is not None:
            assert recent.get(key) == str(key)
            used.append(key)
        lately = list(dict.fromkeys(reversed(used)))[:4]
        assert all(recent.get(key) for key in reversed(lately))
        assert len(recent) <= 8
