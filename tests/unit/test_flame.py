"""Flame trees: the numpy trie equals nested dictionaries, pruning loses nothing, order is fixed."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.query.flame import PRUNED, ROOT, FlameTree, build_flame, to_wire
from collector.query.model import Completeness, Profile, Query, TimeRange
from collector.query.sandwich import callers_callees, find_frames
from collector.query.tallies import sum_by, top_of
from fleetprof.frames import Frame, FrameKind
from fleetprof.profile_types import selection

Path = tuple[Frame, ...]
FRAMES = [
    Frame(FrameKind.NATIVE, "main", "app"),
    Frame(FrameKind.NATIVE, "run", "app"),
    Frame(FrameKind.NATIVE, "run", "lib.so"),
    Frame(FrameKind.PYTHON, "work", "app.py"),
    Frame(FrameKind.NATIVE, "", "lib.so", "ab", 0x40),
    Frame(FrameKind.KERNEL, "read", "[kernel]"),
]
STACKS = st.lists(
    st.tuples(st.lists(st.integers(0, len(FRAMES) - 1), max_size=7), st.integers(0, 2**58)), max_size=25
)


def profile_of(rows: list[tuple[list[int], int]]) -> Profile:
    lengths = [len(stack) for stack, _ in rows]
    return Profile(
        query=Query(selection("cpu"), (), TimeRange(1_700_000_000, 1_700_003_600)),
        frames=FRAMES,
        frame_index=np.array([code for stack, _ in rows for code in stack], np.int32),
        starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        values=np.array([value for _, value in rows], np.uint64),
        captures=len(rows),
        resolution="10s",
        exact=True,
        completeness=Completeness(1, 1, 1),
    )


def naive(rows: list[tuple[list[int], int]]) -> tuple[Counter[Path], Counter[Path]]:
    """(self, total) by path from the root."""
    own: Counter[Path] = Counter()
    total: Counter[Path] = Counter()
    for stack, value in rows:
        path = tuple(FRAMES[code] for code in reversed(stack))
        own[path] += value
        for depth in range(len(path) + 1):
            total[path[:depth]] += value
    return own, total


def nodes(tree: FlameTree) -> list[tuple[Path, int, int]]:
    """(path from the root, self, total) of each node; checks that the arrays are a pre-order."""
    found = []
    path: list[Frame] = []
    for place, own, total, depth in zip(
        tree.name.tolist(),
        tree.self_value.tolist(),
        tree.total_value.tolist(),
        tree.depth.tolist(),
        strict=True,
    ):
        assert depth <= len(path)
        path[depth:] = [tree.frames[place]]
        found.append((tuple(path[1:]), own, total))
    return found


@given(STACKS)
def test_equals_nested_dictionaries(rows: list[tuple[list[int], int]]) -> None:
    own, total = naive(rows)
    found = nodes(build_flame(profile_of(rows), min_share=0))
    assert len({path for path, _, _ in found}) == len(found)
    assert {path: value for path, value, _ in found if value} == +own
    assert {path: value for path, _, value in found if value} == +total


@given(STACKS, st.floats(0, 1))
def test_pruning_conserves(rows: list[tuple[list[int], int]], min_share: float) -> None:
    own, total = naive(rows)
    tree = build_flame(profile_of(rows), min_share)
    found = nodes(tree)
    whole = sum(value for _, value in rows)
    assert tree.total == whole == sum(value for _, value, _ in found)
    children: Counter[Path] = Counter()
    for path, value, node_total in found:
        if path:
            children[path[:-1]] += node_total
        if path[-1:] == (PRUNED,):
            assert value == node_total > 0
            kept = {p for p, _, _ in found if p and p[:-1] == path[:-1] and p[-1] != PRUNED}
            dropped = [
                p for p in total if p and p[:-1] == path[:-1] and len(p) == len(path) and p not in kept
            ]
            assert value == sum(total[p] for p in dropped)
            assert all(total[p] < whole * min_share for p in dropped)
        else:
            assert (value, node_total) == (own[path], total[path])
    for path, value, node_total in found:
        assert node_total == value + children[path]


@given(STACKS)
def test_children_are_heaviest_first_and_order_is_fixed(rows: list[tuple[list[int], int]]) -> None:
    tree = build_flame(profile_of(rows), 0.05)
    last: dict[Path, tuple[bool, int]] = {}
    for path, _, total in nodes(tree)[1:]:
        rank = (path[-1] == PRUNED, -total)
        assert last.get(path[:-1], rank) <= rank
        last[path[:-1]] = rank
    shuffled = build_flame(profile_of(rows[::-1]), 0.05)
    assert nodes(shuffled) == nodes(tree)


@given(STACKS, st.lists(st.sampled_from([frame.name for frame in FRAMES]), min_size=1, max_size=3))
def test_root_path_is_the_tree_of_the_stacks_under_it(
    rows: list[tuple[list[int], int]], path: list[str]
) -> None:
    under = [
        (stack, value)
        for stack, value in rows
        if [FRAMES[code].name for code in reversed(stack)][: len(path)] == path
    ]
    tree = build_flame(profile_of(rows), 0.1, root=path)
    assert nodes(tree) == nodes(build_flame(profile_of(under), 0.1))
    assert tree.whole == sum(value for _, value in rows)


@given(STACKS)
def test_top_counts_recursion_once(rows: list[tuple[list[int], int]]) -> None:
    own: Counter[Frame] = Counter()
    total: Counter[Frame] = Counter()
    for stack, value in rows:
        for code in stack[:1]:
            own[FRAMES[code]] += value
        for code in set(stack):
            total[FRAMES[code]] += value
    found = top_of(profile_of(rows))
    assert {row.frame: row.total_value for row in found} == +total
    assert {row.frame: row.self_value for row in found if row.self_value} == +own
    assert [row.self_value for row in found] == sorted((row.self_value for row in found), reverse=True)


@given(STACKS, st.integers(0, len(FRAMES) - 1))
def test_sandwich(rows: list[tuple[list[int], int]], code: int) -> None:
    """Callers and callees of the outermost call of the frame in each stack."""
    up: Counter[Path] = Counter()
    down: Counter[Path] = Counter()
    for stack, value in rows:
        if code in stack:
            place = len(stack) - 1 - stack[::-1].index(code)
            up[tuple(FRAMES[c] for c in stack[place:])] += value
            down[tuple(FRAMES[c] for c in reversed(stack[: place + 1]))] += value
    found = callers_callees(profile_of(rows), FRAMES[code], min_share=0)
    assert {path: value for path, value, _ in nodes(found.callers) if value} == +up
    assert {path: value for path, value, _ in nodes(found.callees) if value} == +down


def test_frames_of_one_name_are_told_apart() -> None:
    profile = profile_of([([1, 0], 5), ([2, 0], 7)])
    assert find_frames(profile, "run") == [FRAMES[1], FRAMES[2]]
    assert find_frames(profile, "run", "lib.so") == [FRAMES[2]]
    assert callers_callees(profile, FRAMES[2]).callers.total == 7
    absent = Frame(FrameKind.NATIVE, "absent", "")
    assert callers_callees(profile, absent).callers.total == 0


def test_no_stacks_give_the_root_alone() -> None:
    tree = build_flame(profile_of([]))
    assert (len(tree), tree.total, tree.frames) == (1, 0, [ROOT])


def test_wire() -> None:
    profile = profile_of([([5, 1, 0], 70), ([4, 0], 29), ([3, 0], 1)])
    wire = to_wire(build_flame(profile, 0.02))
    names = [wire["names"][place] for place in wire["name"]]
    assert names == ["(all)", "main", "run", "read", "lib.so+0x40", "(pruned)"]
    assert wire["self"] == [0, 0, 0, 70, 29, 1]
    assert wire["depth"] == [0, 1, 2, 3, 2, 2]
    assert (wire["total"], wire["whole"], wire["unit"]) == (100, 100, "nanoseconds")
    kinds = dict(zip(wire["names"], wire["kinds"], strict=True))
    assert (kinds["read"], kinds["(pruned)"]) == (FrameKind.KERNEL, FrameKind.LABEL)
    known = dict(zip(wire["names"], wire["known"], strict=True))
    assert (known["main"], known["lib.so+0x40"]) == (1, 0)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2**64 - 1)), max_size=40))
def test_sums_are_exact_integers(pairs: list[tuple[int, int]]) -> None:
    values = [value // max(len(pairs), 1) for _, value in pairs]
    wanted = [0] * 4
    for (key, _), value in zip(pairs, values, strict=True):
        wanted[key] += value
    found = sum_by(np.array([key for key, _ in pairs], np.int64), np.array(values, np.uint64), 4)
    assert found.tolist() == wanted


def test_sums_of_many_rows_are_exact() -> None:
    rows = (1 << 20) + 12_345
    values = np.full(rows, (1 << 32) - 1, np.uint64)
    assert sum_by(np.zeros(rows, np.int64), values, 1).tolist() == [rows * ((1 << 32) - 1)]


@pytest.mark.parametrize("value", [2**53 + 1, 2**63])
def test_totals_beyond_what_floats_hold(value: int) -> None:
    assert build_flame(profile_of([([0], value), ([1, 0], 3)])).total == value + 3
