"""Two profiles as one tree: every node with its value in A and in B, also those that only one of them has.

The tree is grown by the same trie as any flame graph, over the sum of both profiles' shares, so that order
and pruning are the same whichever side is looked at; then each profile's stacks are laid into it. Sums of
either side are exact: what was pruned is in "(pruned)".
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from collector.compare.functions import unify
from collector.query.definitions import take_ragged
from collector.query.flame import PRUNED, FlameTree, build_flame, rows_under, to_wire
from collector.query.model import Json, Profile
from collector.query.tallies import sum_by
from fleetprof.frames import Frame

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

_SCALE = 1 << 48
"""Weights of a profile add up to this: whole numbers, as the trie wants them, fine enough for any share."""


@dataclass(frozen=True, slots=True)
class DiffTree:
    """`tree` holds the nodes and their order (its values are weights); self values of A and B by node."""

    tree: FlameTree
    self_a: U64
    self_b: U64
    whole_a: int
    whole_b: int
    """Totals of the profiles, before `root` chose a part of them."""


@dataclass(frozen=True, slots=True)
class Joined:
    """The stacks of both profiles over common frames; each stack once, with its values in A and B."""

    frames: list[Frame]
    frame_index: I32
    starts: I64
    a: U64
    b: U64


def join(profile_a: Profile, profile_b: Profile) -> Joined:
    """The union of both profiles' stacks. Functions are the same as collector/compare/functions.py has it."""
    frames, index_a, index_b = _common_frames(profile_a, profile_b)
    index = np.concatenate([index_a, index_b]).astype(np.int32)
    starts = np.append(profile_a.starts, profile_b.starts[1:] + profile_a.starts[-1])
    stacks: dict[bytes, int] = {}
    data, bounds = index.tobytes(), (starts * index.itemsize).tolist()
    place = np.array(
        [stacks.setdefault(data[start:end], len(stacks)) for start, end in pairwise(bounds)],
        np.int64,
    )
    _, first = np.unique(place, return_index=True)
    count = len(profile_a.values)
    frame_index, new_starts = take_ragged(index, starts, first)
    return Joined(
        frames,
        frame_index,
        new_starts,
        sum_by(place[:count], profile_a.values, len(stacks)),
        sum_by(place[count:], profile_b.values, len(stacks)),
    )


def _common_frames(profile_a: Profile, profile_b: Profile) -> tuple[list[Frame], I32, I32]:
    """(functions of both, frame_index of A, of B)."""
    every = list(dict.fromkeys([*profile_a.frames, *profile_b.frames]))
    place = {frame: code for code, frame in enumerate(every)}
    coded, seen = [], []
    for profile in (profile_a, profile_b):
        codes = np.array([place[frame] for frame in profile.frames], np.int32)
        there = np.zeros(len(every), np.bool_)
        there[codes] = True
        coded.append(codes)
        seen.append(there)
    functions, function_of = unify(every, seen[0], seen[1])
    indexes = [
        function_of[codes][profile.frame_index]
        for codes, profile in zip(coded, (profile_a, profile_b), strict=True)
    ]
    return functions, indexes[0], indexes[1]


def diff_flame(
    profile_a: Profile, profile_b: Profile, min_share: float = 0.0005, root: Sequence[str] | None = None
) -> DiffTree:
    """The tree of both; nodes whose shares add up to less than `min_share` of both are pruned.

    `root` as for build_flame.
    """
    joined = join(profile_a, profile_b)
    union = replace(
        profile_a,
        frames=joined.frames,
        frame_index=joined.frame_index,
        starts=joined.starts,
        values=_weights(joined.a) + _weights(joined.b),
    )
    a, b = joined.a, joined.b
    if root:
        rows = rows_under(union, root)
        index, starts = take_ragged(union.frame_index, union.starts, rows)
        union = replace(union, frame_index=index, starts=starts, values=union.values[rows])
        a, b = a[rows], b[rows]
    tree = build_flame(union, min_share)
    node = _place(tree, union)
    return DiffTree(
        tree, sum_by(node, a, len(tree)), sum_by(node, b, len(tree)), profile_a.total, profile_b.total
    )


def _weights(values: U64) -> U64:
    """Parts of _SCALE in proportion to `values`; what has a value has a weight."""
    whole = float(values.sum())
    if not whole:
        return np.zeros(len(values), np.uint64)
    weights: U64 = np.ceil(values.astype(np.float64) * (_SCALE / whole)).astype(np.uint64)
    return weights


def _place(tree: FlameTree, profile: Profile) -> I64:
    """The node in which each stack ends; its deepest one's "(pruned)" where the tree does not have it."""
    code = {frame: number for number, frame in enumerate(tree.frames)}
    names = np.array([code.get(frame, -1) for frame in profile.frames], np.int64)
    parent = _parents(tree)
    size = len(tree.frames)
    keys = parent[1:] * size + tree.name[1:]
    order = np.argsort(keys)
    keys = keys[order]
    lengths, ends = np.diff(profile.starts), profile.starts[1:]
    node = np.zeros(len(lengths), np.int64)
    rows = np.flatnonzero(lengths > 0)
    depth = 0
    while len(rows):
        name = names[profile.frame_index[ends[rows] - 1 - depth]]
        child, found = _lookup(keys, order, node[rows] * size + name, name >= 0)
        lost = rows[~found]
        if len(lost):
            pruned = node[lost] * size + code.get(PRUNED, 0)
            node[lost] = _lookup(keys, order, pruned, np.full(len(lost), PRUNED in code))[0]
        node[rows[found]] = child[found]
        rows = rows[found]
        depth += 1
        rows = rows[lengths[rows] > depth]
    return node


def _lookup(
    keys: I64, order: I64, wanted: I64, possible: npt.NDArray[np.bool_]
) -> tuple[I64, npt.NDArray[np.bool_]]:
    """(node, found) of each wanted key."""
    at = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
    found = possible & (keys[at] == wanted) if len(keys) else np.zeros(len(wanted), np.bool_)
    return np.where(found, order[at] + 1, 0) if len(keys) else np.zeros(len(wanted), np.int64), found


def _parents(tree: FlameTree) -> I64:
    """Each node's parent; the root's is itself."""
    found = np.zeros(len(tree), np.int64)
    path = np.zeros(int(tree.depth.max()) + 2, np.int64)
    for node, depth in enumerate(tree.depth.tolist()):
        found[node] = path[depth]
        path[depth + 1] = node
    return found


def diff_wire(diff: DiffTree) -> Json:
    """As `to_wire`, with `self_a` and `self_b` in place of `self`, and each side's totals."""
    wire = to_wire(diff.tree)
    for name in ("self", "total", "whole"):
        del wire[name]
    return {
        **wire,
        "self_a": diff.self_a.tolist(),
        "self_b": diff.self_b.tolist(),
        "total_a": int(diff.self_a.sum()),
        "total_b": int(diff.self_b.sum()),
        "whole_a": diff.whole_a,
        "whole_b": diff.whole_b,
    }
