"""Flame graphs: a profile's stacks as a tree, grown level by level in numpy and pruned while it grows.

Totals are exact. What is pruned stays visible as one "(pruned)" child of the node that lost it. Measured on a
100,000-stack profile: about 20 times faster than nested dictionaries.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from collector.query.definitions import take_ragged
from collector.query.model import Json, Profile
from collector.query.tallies import sum_by
from fleetprof.frames import Frame, FrameKind

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

ROOT = Frame(FrameKind.LABEL, "(all)", "")
PRUNED = Frame(FrameKind.LABEL, "(pruned)", "")


@dataclass(frozen=True, slots=True)
class FlameTree:
    """A tree in pre-order, children heaviest first and "(pruned)" last; node 0 is the root "(all)".

    `name` indexes `frames`. A node's total is the sum of `self_value` over itself and its descendants: the
    nodes right behind it that are deeper.
    """

    frames: list[Frame]
    name: I32
    self_value: U64
    total_value: U64
    depth: I32
    unit: str
    whole: int
    """Total of the profile, before `root` chose a part of it."""

    @property
    def total(self) -> int:
        """Total of the root."""
        return int(self.total_value[0])

    def __len__(self) -> int:
        return len(self.name)


def build_flame(profile: Profile, min_share: float = 0.0005, root: Sequence[str] | None = None) -> FlameTree:
    """The tree of `profile`; nodes below `min_share` of its root's total are pruned.

    `root`: names of frames (Frame.name) from the outermost inwards; only stacks that start with them count,
    so that zooming into a pruned part shows all of it. A path that no stack has gives the root alone.
    """
    frame_index, starts, values = profile.frame_index, profile.starts, profile.values
    if root:
        rows = rows_under(profile, root)
        frame_index, starts = take_ragged(frame_index, starts, rows)
        values = values[rows]
    grown = _grow(frame_index, starts, values, len(profile.frames), min_share)
    return _arrange(grown, profile.frames, profile.query.selection.unit, profile.total)


def rows_under(profile: Profile, path: Sequence[str]) -> I64:
    """Rows of the stacks whose outermost frames are called `path`."""
    lengths = np.diff(profile.starts)
    rows = np.flatnonzero(lengths >= len(path))
    places = {name: place for place, name in enumerate(dict.fromkeys(path))}
    named = np.array([places.get(frame.name, -1) for frame in profile.frames], np.int64)
    for level, name in enumerate(path):
        frames = profile.frame_index[profile.starts[rows + 1] - 1 - level]
        rows = rows[named[frames] == places[name]]
    return rows


@dataclass(frozen=True, slots=True)
class _Level:
    """The nodes of one depth: parent (index in the level above), frame, total, and self.

    `pruned` is what fell below the threshold among a node's children.
    """

    parent: I64
    frame: I64
    total: U64
    own: U64
    pruned: U64


def _grow(frame_index: I32, starts: I64, values: U64, frames: int, min_share: float) -> list[_Level]:
    """Levels from the root down. Stacks of dropped nodes leave the loop, which makes pruning pay."""
    total = values.sum(dtype=np.uint64)
    threshold = np.uint64(min(max(int(float(total) * min_share), 0), 2**64 - 1))
    ends = starts[1:]
    lengths = np.diff(starts)
    rows = np.arange(len(values))
    node = np.zeros(len(values), np.int64)
    levels: list[_Level] = []
    parent, frame, totals = np.zeros(1, np.int64), np.full(1, frames, np.int64), np.array([total], np.uint64)
    depth = 0
    while True:
        going = lengths[rows] > depth
        own = sum_by(node[~going], values[rows[~going]], len(totals))
        rows, node = rows[going], node[going]
        keys = node * frames + frame_index[ends[rows] - 1 - depth] if len(rows) else node
        unique, child = np.unique(keys, return_inverse=True)
        child_totals = sum_by(child, values[rows], len(unique))
        kept = (child_totals >= threshold) & (child_totals > 0)
        above = unique // max(frames, 1)
        pruned = sum_by(above[~kept], child_totals[~kept], len(totals))
        levels.append(_Level(parent, frame, totals, own, pruned))
        if not kept.any():
            return levels
        number = np.cumsum(kept) - 1
        stays = kept[child]
        rows, node = rows[stays], number[child[stays]]
        parent, frame, totals = above[kept], unique[kept] % frames, child_totals[kept]
        depth += 1


def _arrange(levels: list[_Level], frames: list[Frame], unit: str, whole: int) -> FlameTree:
    """Pre-order arrays of the grown levels."""
    pruned = len(frames) + 1  # len(frames) is the root, as _grow numbered it
    # Names that nodes of equal weight are ordered by, so that the same data always gives the same picture.
    used = np.unique(np.concatenate([level.frame for level in levels]))
    rank = np.zeros(len(frames) + 2, np.int64)
    every = [*frames, ROOT, PRUNED]
    rank[sorted(used.tolist(), key=lambda index: every[index])] = np.arange(len(used))
    rank[pruned] = len(used)
    levels = [
        _with_pruned(level, levels[depth - 1] if depth else None, pruned)
        for depth, level in enumerate(levels)
    ] + [_with_pruned(None, levels[-1], pruned)]
    levels = [level for level in levels if len(level.frame)]
    sizes = _subtree_sizes(levels)
    positions = [np.zeros(1, np.int64)]
    for level, size in zip(levels[1:], sizes[1:], strict=True):
        positions.append(_positions(level, size, positions[-1], rank, pruned))
    order = np.argsort(np.concatenate(positions))
    depth_of = np.repeat(np.arange(len(levels), dtype=np.int32), [len(level.frame) for level in levels])
    name = np.concatenate([level.frame for level in levels])[order]
    table, name_index = np.unique(name, return_inverse=True)
    return FlameTree(
        frames=[every[index] for index in table.tolist()],
        name=name_index.astype(np.int32),
        self_value=np.concatenate([level.own for level in levels])[order],
        total_value=np.concatenate([level.total for level in levels])[order],
        depth=depth_of[order],
        unit=unit,
        whole=whole,
    )


def _with_pruned(level: _Level | None, above: _Level | None, pruned: int) -> _Level:
    """`level` with a "(pruned)" node for each node above that lost children."""
    empty = np.zeros(0, np.int64)
    level = level or _Level(empty, empty, *(np.zeros(0, np.uint64) for _ in range(3)))
    lost = np.flatnonzero(above.pruned) if above else empty
    if above is None or not len(lost):
        return level
    values = above.pruned[lost]
    return _Level(
        np.append(level.parent, lost),
        np.append(level.frame, np.full(len(lost), pruned)),
        np.append(level.total, values),
        np.append(level.own, values),
        np.append(level.pruned, np.zeros(len(lost), np.uint64)),
    )


def _subtree_sizes(levels: list[_Level]) -> list[I64]:
    """How many nodes hang below each node, itself included."""
    sizes = [np.ones(len(level.frame), np.int64) for level in levels]
    for depth in range(len(levels) - 1, 0, -1):
        below = np.bincount(levels[depth].parent, sizes[depth], len(sizes[depth - 1]))
        sizes[depth - 1] += below.astype(np.int64)
    return sizes


def _positions(level: _Level, size: I64, above: I64, rank: I64, pruned: int) -> I64:
    """Pre-order positions of a level's nodes, given those of the level above."""
    order = np.lexsort((rank[level.frame], ~level.total, level.frame == pruned, level.parent))
    parent, ordered = level.parent[order], size[order]
    before = np.cumsum(ordered) - ordered
    first = np.append(True, parent[1:] != parent[:-1])
    siblings_before = before - before[first][np.cumsum(first) - 1]
    positions = np.empty(len(order), np.int64)
    positions[order] = above[parent] + 1 + siblings_before
    return positions


def to_wire(tree: FlameTree) -> Json:
    """`tree` as JSON columns: `names`, `kinds`, `mappings` (index into `mapping_names`) and `files` by name;
    `name`, `self` and `depth` by node in pre-order. Values are plain numbers in `unit`.
    """
    mapping_names = sorted({frame.mapping for frame in tree.frames})
    number = {mapping: index for index, mapping in enumerate(mapping_names)}
    return {
        "names": [frame.name for frame in tree.frames],
        "kinds": [int(frame.kind) for frame in tree.frames],
        "mapping_names": mapping_names,
        "mappings": [number[frame.mapping] for frame in tree.frames],
        "files": [_place(frame) for frame in tree.frames],
        "known": [int(bool(frame.function)) for frame in tree.frames],
        "name": tree.name.tolist(),
        "self": tree.self_value.tolist(),
        "depth": tree.depth.tolist(),
        "total": tree.total,
        "whole": tree.whole,
        "unit": tree.unit,
    }


def _place(frame: Frame) -> str:
    return f"{frame.file}:{frame.line}" if frame.file and frame.line else frame.file
