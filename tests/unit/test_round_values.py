"""Rounded values: series' sums and rows are as near as they are said to be, and none is favoured."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.round_values import STEP_NS, SUM_STEP_NS, KernelRandom, round_values

SAMPLE_NS = 10_101_010
VALUES = st.one_of(st.integers(1, 3 * STEP_NS), st.integers(1, 10**12))
ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3), VALUES), max_size=40)


def sums(rows: list[tuple[int, int, int]], values: npt.NDArray[np.uint64]) -> dict[tuple[int, int], int]:
    found: dict[tuple[int, int], int] = {}
    for (series, kind, _), value in zip(rows, values.tolist(), strict=True):
        found[series, kind] = found.get((series, kind), 0) + value
    return found


@given(ROWS, st.booleans(), st.integers(0, 2**32 - 1))
def test_sums_of_series_are_kept_and_rows_are_near(
    rows: list[tuple[int, int, int]], exact_sums: bool, seed: int
) -> None:
    series, kind, values = (np.array([row[place] for row in rows], np.uint64) for place in range(3))
    rounded = round_values(values, series, kind, np.random.default_rng(seed), exact_sums)
    before, after = sums(rows, values), sums(rows, rounded)
    step = 1 if exact_sums else SUM_STEP_NS
    assert all(abs(after[key] - before[key]) < step for key in before)
    off = [to - value for to, value in zip(rounded.tolist(), values.tolist(), strict=True)]
    assert all(abs(each) < STEP_NS + step for each in off)
    assert all(value < 10**13 for value in rounded.tolist())  # none fell below 0
    largest = {(each[0], each[1]): max(row[2] for row in rows if row[:2] == each[:2]) for each in rows}
    below = sum(largest[row[:2]] < STEP_NS + step for row in rows)
    assert sum(value % STEP_NS > 0 for value in rounded.tolist()) <= len(before) + below
    tiny = sum(largest[row[:2]] < 2 * step for row in rows)
    assert exact_sums or sum(value % SUM_STEP_NS > 0 for value in rounded.tolist()) <= tiny


@pytest.mark.parametrize("value", [round(SAMPLE_NS * 1.03), STEP_NS - 12_345, 5 * SUM_STEP_NS // 2])
def test_no_row_and_no_sum_is_favoured(value: int) -> None:
    """Rows of one sample each, window after window: the mean of each, and of their sums, comes to what it was."""
    rounds, rows = 2000, 30
    values = np.full(rows, value, np.uint64)
    same, random = np.zeros(rows, np.uint32), np.random.default_rng(1)
    found = np.stack([round_values(values, same, same, random) for _ in range(rounds)]).astype(np.float64)
    step = STEP_NS if value >= STEP_NS + SUM_STEP_NS else SUM_STEP_NS
    deviation = np.abs(found.mean(axis=0) - value) / ((step + SUM_STEP_NS) / 2 / rounds**0.5)
    assert deviation.max() < 5  # a row's error has a standard deviation of at most half a step
    of_sums = abs(found.sum(axis=1).mean() - value * rows) / (SUM_STEP_NS / 2 / rounds**0.5)
    assert of_sums < 5


def test_the_kernels_numbers_are_spread_evenly() -> None:
    count = 40_000
    found = KernelRandom().integers(7, 7 + STEP_NS, count)
    assert found.dtype == np.int64
    assert found.min() >= 7
    assert found.max() < 7 + STEP_NS
    eighths = np.bincount((found - 7) * 8 // STEP_NS, minlength=8)
    assert np.abs(eighths - count / 8).max() < 6 * (count / 8) ** 0.5
    assert len(KernelRandom().integers(0, STEP_NS, 0)) == 0
