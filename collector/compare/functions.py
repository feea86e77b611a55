"""When two frames are the same function, also across builds.

A named function is itself by kind, name and mapping. Two builds of one program often are files of different
names, so where a mapping exists on one side only, the function is itself by kind and name. A frame without a
name is an offset into one build: where that build ran on one side only, all its nameless frames are one.
"""

from collections.abc import Hashable, Iterable

import numpy as np
import numpy.typing as npt

from fleetprof.frames import Frame

I32 = npt.NDArray[np.int32]
Seen = npt.NDArray[np.bool_]

NO_SYMBOL = "(no symbol)"


def unify(frames: list[Frame], in_a: Seen, in_b: Seen) -> tuple[list[Frame], I32]:
    """(functions, code of each frame's function). `in_a`, `in_b`: on which sides each frame was seen."""
    mappings = _on_both({frame.mapping for frame in _chosen(frames, in_a)}, _chosen(frames, in_b))
    builds_a = {(frame.mapping, frame.build_id) for frame in _chosen(frames, in_a)}
    builds_b = {(frame.mapping, frame.build_id) for frame in _chosen(frames, in_b)}
    builds = builds_a & builds_b
    codes: dict[Hashable, int] = {}
    functions: list[Frame] = []
    found = np.empty(len(frames), np.int32)
    # B's frames first: its files and lines are the ones that a reader will look up.
    for place in np.argsort(~in_b, kind="stable").tolist():
        frame = _shown(frames[place], builds)
        mapping = frame.mapping if frame.mapping in mappings else None
        key: Hashable = (frame.kind, frame.function, mapping) if frame.function else frame
        code = codes.setdefault(key, len(codes))
        if code == len(functions):
            functions.append(frame)
        found[place] = code
    return functions, found


def _chosen(frames: list[Frame], seen: Seen) -> Iterable[Frame]:
    return (frames[place] for place in np.flatnonzero(seen).tolist())


def _on_both(names: set[str], others: Iterable[Frame]) -> set[str]:
    return names & {frame.mapping for frame in others}


def _shown(frame: Frame, builds: set[tuple[str, str]]) -> Frame:
    """A nameless frame of a build that is on one side only becomes the mapping's "(no symbol)"."""
    if frame.function or (frame.mapping, frame.build_id) in builds or frame.mapping.startswith("["):
        return frame
    return Frame(frame.kind, NO_SYMBOL, frame.mapping)
