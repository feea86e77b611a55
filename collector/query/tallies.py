"""Sums over a profile's stacks, exact in 64-bit integers: by frame, and the top table."""

import numpy as np
import numpy.typing as npt

from collector.query.model import Profile, TopRow

U64 = npt.NDArray[np.uint64]

_ROWS_EXACT = 1 << 20
"""Floats add up 2^20 numbers below 2^32 exactly (53 bits)."""


def sum_by(index: npt.NDArray[np.integer], values: U64, size: int) -> U64:
    """The sum of `values` by `index` (0..size-1), as np.bincount but without its rounding to float64."""
    total = np.zeros(size, np.uint64)
    for start in range(0, len(index), _ROWS_EXACT):
        rows, part = index[start : start + _ROWS_EXACT], values[start : start + _ROWS_EXACT]
        low = np.bincount(rows, (part & np.uint64(0xFFFFFFFF)).astype(np.float64), size)
        high = np.bincount(rows, (part >> np.uint64(32)).astype(np.float64), size)
        total += low.astype(np.uint64) + (high.astype(np.uint64) << np.uint64(32))
    return total


def frame_tallies(profile: Profile) -> tuple[U64, U64]:
    """(self, total) of each frame: a stack in which a frame recurs counts once in its total."""
    frame_index, starts, values = profile.frame_index, profile.starts, profile.values
    size = len(profile.frames)
    lengths = np.diff(starts)
    with_frames = lengths > 0
    own = sum_by(frame_index[starts[:-1][with_frames]], values[with_frames], size)
    stack_of = np.repeat(np.arange(len(values), dtype=np.int64), lengths)
    pairs = np.sort((frame_index.astype(np.int64) << 32) | stack_of)
    if len(pairs):
        pairs = pairs[np.append(True, pairs[1:] != pairs[:-1])]
    total = sum_by(pairs >> 32, values[pairs & 0xFFFFFFFF], size)
    return own, total


def top_of(profile: Profile) -> list[TopRow]:
    """All frames of the profile that have a value, by self then total then name."""
    own, total = frame_tallies(profile)
    rows = [
        TopRow(frame, self_value, total_value)
        for frame, self_value, total_value in zip(profile.frames, own.tolist(), total.tolist(), strict=True)
        if total_value
    ]
    return sort_top(rows, "self")


def sort_top(rows: list[TopRow], sort: str) -> list[TopRow]:
    """Heaviest first by "self" or "total"; equal ones by the other value, then by name."""
    if sort == "total":
        return sorted(rows, key=lambda row: (-row.total_value, -row.self_value, row.frame))
    return sorted(rows, key=lambda row: (-row.self_value, -row.total_value, row.frame))
