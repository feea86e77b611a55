"""Parts must add up exactly and be proportional."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.apportion import apportion, sums

MEMBERS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2**48)), max_size=40)
TARGETS = st.lists(st.integers(0, 2**50), min_size=5, max_size=5)


@given(MEMBERS, TARGETS)
def test_parts_add_up_and_follow_the_weights(members: list[tuple[int, int]], targets: list[int]) -> None:
    group = np.array([member[0] for member in members], np.intp)
    weights = np.array([member[1] for member in members], np.int64)
    wanted = np.array(targets, np.int64)
    parts = apportion(weights, group, wanted)
    totals = sums(weights, group, 5)
    assert (parts >= 0).all()
    assert (sums(parts, group, 5) == np.where(totals > 0, wanted, 0)).all()
    for part, weight, g in zip(parts.tolist(), weights.tolist(), group.tolist(), strict=True):
        if totals[g]:
            ideal_num, total = weight * targets[g], int(totals[g])
            assert abs(part * total - ideal_num) <= 2 * total


def test_equal_weights_differ_by_one_at_most() -> None:
    parts = apportion(np.full(7, 3, np.int64), np.zeros(7, np.intp), np.array([100], np.int64))
    assert sorted(parts.tolist()) == [14] * 5 + [15] * 2


def test_no_members() -> None:
    nothing = np.zeros(0, np.int64)
    assert apportion(nothing, nothing.astype(np.intp), np.array([5], np.int64)).tolist() == []
