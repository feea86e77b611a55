"""Of several ranges that hold an address, the innermost is found, by the quick way and by the other one."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.symbolize.intervals import Intervals

RANGES = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 9)), max_size=8)


@given(ranges=RANGES, nested=st.booleans(), addrs=st.lists(st.integers(0, 60), min_size=1, max_size=20))
def test_the_last_range_to_begin_that_holds_an_address(
    ranges: list[tuple[int, int]], nested: bool, addrs: list[int]
) -> None:
    rows = np.array(sorted((start, start + size) for start, size in ranges), np.uint64).reshape(-1, 2)
    starts, ends = rows[:, 0].copy(), rows[:, 1].copy()
    if not nested:
        ends = np.maximum.accumulate(ends)
    found = Intervals.of_sorted(starts, ends).find(np.array(addrs, np.uint64)).tolist()
    held = [[at for at in range(len(rows)) if starts[at] <= addr < ends[at]] for addr in addrs]
    assert found == [at[-1] if at else -1 for at in held]
