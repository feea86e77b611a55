"""Grouping keeps every nanosecond and puts each sample at its place in the window."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.aggregate import WindowTimes, group, with_idle
from fleetprof.profile_types import ProfileType
from tests.unit.rows import Row, captures

TIMES = WindowTimes(start_unix_ns=0, start_monotonic_ns=1_000, covered_ns=10**10)

row_lists = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.integers(1, 3),
        st.integers(0, 4),
        st.integers(0, 2**60),
        st.integers(1, 2 * 10**10),
    ),
    max_size=40,
)


@given(row_lists)
def test_grouping_equals_a_dictionary_of_sums(rows: list[tuple[int, int, int, int, int]]) -> None:
    table = captures([Row(type=kind, value_ns=value, time_ns=time_ns) for _, kind, _, value, time_ns in rows])
    series = np.array([row[0] for row in rows], np.uint32)
    stack = np.array([row[2] for row in rows], np.uint32)
    grouped = group(table, series, stack, TIMES)

    expected: dict[tuple[int, int, int], int] = {}
    steps: dict[tuple[int, int, int], list[int]] = {}
    for number, kind, place, value, time_ns in rows:
        key = (number, kind, place)
        expected[key] = expected.get(key, 0) + value
        found = steps.setdefault(key, [])
        if kind == ProfileType.CPU:
            found.append(min(max((time_ns - 1_000) // 10_000_000, 0), 999))
    found_keys = list(
        zip(grouped.series.tolist(), grouped.type.tolist(), grouped.stack.tolist(), strict=True)
    )
    assert dict(zip(found_keys, grouped.value.tolist(), strict=True)) == expected
    for place, key in enumerate(found_keys):
        begin, end = grouped.offset_starts[place : place + 2]
        assert grouped.offsets[begin:end].tolist() == sorted(steps[key])


def test_sums_are_exact_beyond_the_precision_of_a_float() -> None:
    table = captures([Row(value_ns=2**60 + 1), Row(value_ns=2)])
    zero = np.zeros(2, np.uint32)
    assert group(table, zero, zero, TIMES).value.tolist() == [2**60 + 3]


def test_rows_counted_in_the_kernel_have_no_offsets() -> None:
    table = captures([Row(time_ns=0, count=7, value_ns=70)])
    zero = np.zeros(1, np.uint32)
    grouped = group(table, zero, zero, TIMES)
    assert grouped.captures.tolist() == [7]
    assert grouped.offsets.tolist() == []


def test_idle_is_a_row_of_its_own() -> None:
    none = np.empty(0, np.uint32)
    rows = with_idle(group(captures([]), none, none, TIMES), 0, 123)
    assert (rows.type.tolist(), rows.value.tolist(), rows.captures.tolist()) == (
        [ProfileType.IDLE],
        [123],
        [0],
    )
    assert rows.offset_starts.tolist() == [0, 0]
