"""Callers and callees of one function ("sandwich"): two flame trees that meet in it."""

from dataclasses import dataclass, replace

import numpy as np

from collector.query.definitions import I64, take_ragged
from collector.query.flame import FlameTree, build_flame
from collector.query.model import Profile
from fleetprof.frames import Frame


@dataclass(frozen=True, slots=True)
class Sandwich:
    """Both trees have the function as the only child of their root, and the same total.

    `callers` grows from the function to who called it, `callees` to what it called. Of a recursive function
    the outermost call counts, so that no time counts twice.
    """

    callers: FlameTree
    callees: FlameTree


def callers_callees(profile: Profile, frame: Frame, min_share: float = 0.0005) -> Sandwich:
    """The sandwich of `frame`; both trees are a bare root of 0 when the profile does not have it."""
    code = profile.frames.index(frame) if frame in profile.frames else -1
    rows, places = _outermost(profile, code)
    starts, ends, values = profile.starts[rows], profile.starts[rows + 1], profile.values[rows]
    callees = _cut(profile, starts, places + 1)
    above = _cut(profile, places, ends)
    return Sandwich(
        callers=build_flame(replace(_reversed(above), values=values), min_share),
        callees=build_flame(replace(callees, values=values), min_share),
    )


def find_frames(profile: Profile, name: str, mapping: str | None = None) -> list[Frame]:
    """Frames of the profile that are called `name` (in `mapping`, if given)."""
    return [
        frame
        for frame in profile.frames
        if frame.name == name and (mapping is None or frame.mapping == mapping)
    ]


def _outermost(profile: Profile, code: int) -> tuple[I64, I64]:
    """(rows of the stacks that have the frame, place of its outermost call in frame_index)."""
    places = np.flatnonzero(profile.frame_index == code)
    rows = np.searchsorted(profile.starts, places, side="right") - 1
    last = np.append(rows[1:] != rows[:-1], True)[: len(rows)]
    return rows[last], places[last]


def _cut(profile: Profile, starts: I64, ends: I64) -> Profile:
    """The profile with stacks frame_index[starts[i]:ends[i]]."""
    bounds = np.stack([starts, ends], axis=1).ravel()
    # Every second row of a ragged array whose bounds interleave is one of the wanted pieces.
    order = np.arange(0, len(bounds), 2)
    pieces, piece_starts = take_ragged(profile.frame_index, np.append(bounds, 0), order)
    return replace(profile, frame_index=pieces, starts=piece_starts, values=np.zeros(len(starts), np.uint64))


def _reversed(profile: Profile) -> Profile:
    """Each stack the other way round."""
    lengths = np.diff(profile.starts)
    places = np.arange(len(profile.frame_index))
    mirrored = np.repeat(profile.starts[:-1] + profile.starts[1:] - 1, lengths) - places
    return replace(profile, frame_index=profile.frame_index[mirrored])
