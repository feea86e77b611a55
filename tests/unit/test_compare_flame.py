"""The differential flame graph: exact on both sides, the same tree whichever way it is looked at."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from collector.compare.diff_export import diff_folded, diff_pprof
from collector.compare.diff_flame import DiffTree, diff_flame, diff_wire
from collector.query.model import Profile
from fleetprof.formats import pprof
from fleetprof.frames import Frame, FrameKind
from tests.unit.test_flame import FRAMES, profile_of

ROWS = st.lists(
    st.tuples(st.lists(st.integers(0, len(FRAMES) - 1), max_size=6), st.integers(0, 2**50)), max_size=20
)
Path = tuple[str, ...]


def naive(profile: Profile) -> Counter[Path]:
    """Self value by path of names from the root."""
    found: Counter[Path] = Counter()
    starts = profile.starts.tolist()
    for row, value in enumerate(profile.values.tolist()):
        stack = profile.frame_index[starts[row] : starts[row + 1]].tolist()
        found[tuple(str(profile.frames[code]) for code in reversed(stack))] += value
    return +found


def by_path(diff: DiffTree) -> tuple[Counter[Path], Counter[Path]]:
    found: tuple[Counter[Path], Counter[Path]] = (Counter(), Counter())
    path: list[str] = []
    tree = diff.tree
    for node, depth in enumerate(tree.depth.tolist()):
        del path[depth:]
        path.append(str(tree.frames[tree.name[node]]))
        for side, values in zip(found, (diff.self_a, diff.self_b), strict=True):
            side[tuple(path[1:])] += int(values[node])
    return +found[0], +found[1]


@given(ROWS, ROWS)
def test_unpruned_tree_holds_each_sides_stacks(
    rows_a: list[tuple[list[int], int]], rows_b: list[tuple[list[int], int]]
) -> None:
    a, b = profile_of(rows_a), profile_of(rows_b)
    found = by_path(diff_flame(a, b, 0.0))
    assert found == (naive(a), naive(b))


@given(ROWS, ROWS, st.sampled_from([0.01, 0.1, 0.5, 1.0]))
def test_totals_are_exact_whatever_was_pruned(
    rows_a: list[tuple[list[int], int]], rows_b: list[tuple[list[int], int]], share: float
) -> None:
    a, b = profile_of(rows_a), profile_of(rows_b)
    diff = diff_flame(a, b, share)
    assert int(diff.self_a.sum()) == a.total == diff.whole_a
    assert int(diff.self_b.sum()) == b.total == diff.whole_b


@given(ROWS, ROWS, st.sampled_from([0.0, 0.05]))
def test_sides_can_be_exchanged(
    rows_a: list[tuple[list[int], int]], rows_b: list[tuple[list[int], int]], share: float
) -> None:
    a, b = profile_of(rows_a), profile_of(rows_b)
    forth, back = diff_wire(diff_flame(a, b, share)), diff_wire(diff_flame(b, a, share))
    for name in ("self", "total", "whole"):
        assert (forth[f"{name}_a"], forth[f"{name}_b"]) == (back[f"{name}_b"], back[f"{name}_a"])
    assert forth["depth"] == back["depth"]


def test_root_keeps_only_stacks_through_the_frame() -> None:
    a, b = profile_of([([1, 0], 30), ([3], 7)]), profile_of([([1, 0], 10), ([3, 0], 5)])
    diff = diff_flame(a, b, 0.0, ["main"])
    assert (int(diff.self_a.sum()), int(diff.self_b.sum())) == (30, 15)
    assert (diff.whole_a, diff.whole_b) == (37, 15)


def with_frames(profile: Profile, frames: list[Frame]) -> Profile:
    return Profile(**{**{name: getattr(profile, name) for name in Profile.__slots__}, "frames": frames})


def test_a_rebuild_in_another_file_is_the_same_program() -> None:
    a = with_frames(profile_of([([0, 1], 5)]), [Frame(FrameKind.NATIVE, "work", "shop-1"), *FRAMES[1:]])
    b = with_frames(profile_of([([0, 1], 9)]), [Frame(FrameKind.NATIVE, "work", "shop-2"), *FRAMES[1:]])
    diff = diff_flame(a, b, 0.0)
    assert len(diff.tree) == 3
    assert (diff.self_a.tolist(), diff.self_b.tolist()) == ([0, 0, 5], [0, 0, 9])


def test_nameless_frames_of_one_build_stay_apart_and_of_two_builds_are_one() -> None:
    def profile(build: str) -> Profile:
        frames = [Frame(FrameKind.NATIVE, "", "lib.so", build, 16 * i) for i in range(len(FRAMES))]
        return with_frames(profile_of([([0], 5), ([1], 6)]), frames)

    assert len(diff_flame(profile("aa"), profile("aa"), 0.0).tree) == 3
    assert len(diff_flame(profile("aa"), profile("bb"), 0.0).tree) == 2


def test_folded_has_both_values() -> None:
    a, b = profile_of([([1, 0], 30), ([3], 7)]), profile_of([([1, 0], 10), ([4], 5)])
    assert diff_folded(a, b).decode().splitlines() == ["lib.so+0x40 0 5", "main;run 30 10", "work 7 0"]


def test_pprof_types_and_base() -> None:
    a, b = profile_of([([1, 0], 30), ([3], 7)]), profile_of([([1, 0], 10)])
    made = pprof.decode(diff_pprof(a, b))
    assert [kind.type for kind in made.value_types] == ["a", "b", "cpu"]
    assert made.values.sum(axis=0).tolist() == [37, 10, -27]
    assert np.array_equal(made.values[:, 2], made.values[:, 1] - made.values[:, 0])
