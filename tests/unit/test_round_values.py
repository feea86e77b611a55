"""Rounded values: series' sums are exact, no row is off by a step, and none is favoured."""

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from agent.round_values import STEP_NS, round_values

SAMPLE_NS = 10_101_010
VALUES = st.one_of(st.integers(1, 3 * STEP_NS), st.integers(1, 10**12))
ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3), VALUES), max_size=40)


def sums(rows: list[tuple[int, int, int]], values: npt.NDArray[np.uint64]) -> dict[tuple[int, int], int]:
    found: dict[tuple[int, int], int] = {}
    for (series, kind, _), value in zip(rows, values.tolist(), strict=True):
        found[series, kind] = found.get((series, kind), 0) + value
    return found


@given(ROWS, st.integers(0, 2**32 - 1))
def test_sums_of_series_are_exact_and_rows_are_near(rows: list[tuple[int, int, int]], seed: int) -> None:
    series, kind, values = (np.array([row[place] for row in rows], np.uint64) for place in range(3))
    rounded = round_values(values, series, kind, np.random.default_rng(seed))
    assert sums(rows, rounded) == sums(rows, values)
    off = [after - before for after, before in zip(rounded.tolist(), values.tolist(), strict=True)]
    assert all(abs(each) < STEP_NS for each in off)
    odd = sum(value % STEP_NS > 0 for value in rounded.tolist())
    small = sum(value < STEP_NS for value in values.tolist())
    assert odd <= len(sums(rows, values)) + small  # one row a series and type takes what is left over


def test_no_row_is_favoured() -> None:
    """Rows of one sample each, window after window: the mean of each comes to what it was."""
    value, rounds = round(SAMPLE_NS * 1.03), 2000
    values = np.full(30, value, np.uint64)
    same, random = np.zeros(30, np.uint32), np.random.default_rng(1)
    total = sum(round_values(values, same, same, random).astype(np.float64) for _ in range(rounds))
    deviation = np.abs(total / rounds - value) / (STEP_NS / 2 / rounds**0.5)
    assert deviation.max() < 5  # a row's error has a standard deviation of at most half a step
