"""Stacks whose frames were named after they were stored: each such frame becomes the functions it stands for.

A stack stays itself (its id, its value); only what it is read as changes, so that old data gains names, too.
"""

import numpy as np
import numpy.typing as npt

from collector.query.definitions import I64, U64, StackFrames, encode_ids, take_ragged
from collector.query.frame_names import FrameNames
from fleetprof.frames import Frame

I32 = npt.NDArray[np.int32]


def load_named(names: FrameNames, stacks: StackFrames) -> tuple[list[Frame], I32, I64]:
    """(frames, frame_index, starts) of `stacks`, in their order, leaf first (what is inlined before its caller)."""
    codes, distinct = encode_ids(stacks.frames)
    frames = names.load(distinct)
    chains = load_chains(names, distinct, frames)
    if not chains:
        return frames, codes, stacks.starts
    ids, table, bounds = _table(distinct, chains)
    frames += names.load(ids[len(distinct) :])
    index, starts = take_ragged(table, bounds, codes)
    return frames, index, starts[stacks.starts]


def load_chains(names: FrameNames, ids: U64, frames: list[Frame]) -> dict[int, tuple[int, ...]]:
    """Place in `ids` → ids of the functions that stand for that frame, innermost first.

    `frames` are those of `ids`.
    """
    places = [place for place, frame in enumerate(frames) if frame.build_id and not frame.function]
    found = names.chains(ids[places].tolist() if places else [])
    return {place: chain for place, chain in zip(places, found, strict=True) if chain}


def _table(distinct: U64, chains: dict[int, tuple[int, ...]]) -> tuple[U64, I32, I64]:
    """(all ids, table, bounds): code i stands for the codes table[bounds[i]:bounds[i + 1]]."""
    place = {id_: code for code, id_ in enumerate(distinct.tolist())}
    lengths = np.ones(len(distinct), np.int64)
    rows = [[code] for code in range(len(distinct))]
    for code, chain in chains.items():
        rows[code] = [place.setdefault(id_, len(place)) for id_ in chain]
        lengths[code] = len(chain)
    bounds = np.append(0, np.cumsum(lengths))
    return np.fromiter(place, np.uint64, len(place)), np.concatenate(rows).astype(np.int32), bounds
