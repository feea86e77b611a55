"""Definitions of stacks that were asked for lately: a stack never changes, so the store is asked for it once."""

import threading

import numpy as np

from collector.query.asking import Asking
from collector.query.definitions import (
    U64,
    StackFrames,
    distinct_stacks,
    find_sorted,
    load_stacks,
    take_ragged,
)
from collector.query.sources import Binds

MOST_BYTES = 96 << 20
"""Of ids, frames and bounds together: some 300,000 stacks of 35 frames."""


class KnownStacks:
    """Frames of stacks by id. Safe to use from several threads: what is kept is replaced as a whole."""

    def __init__(self, asking: Asking, most_bytes: int = MOST_BYTES) -> None:
        self._asking = asking
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._kept = StackFrames(np.empty(0, np.uint64), np.empty(0, np.uint64), np.zeros(1, np.int64))

    def load(self, services: list[str], wanted: U64, chosen_by: tuple[str, Binds]) -> StackFrames:
        """The definitions of `wanted`, undefined ones left out; see `load_stacks` for how they are asked for."""
        ids = np.unique(wanted)
        kept = self._kept
        found = _take(kept, ids)
        missing = ids[~np.isin(ids, found.ids, assume_unique=True)]
        missing = missing[missing != 0]  # the empty stack is defined nowhere
        if not len(missing):
            return found
        fresh = load_stacks(self._asking, services, missing, chosen_by)
        self._keep(fresh, ids)
        return _take(_joined(found, fresh), ids)

    def _keep(self, fresh: StackFrames, ids: U64) -> None:
        """Add what was found; where that is too much, only what this question needs is kept."""
        with self._lock:
            every = _joined(self._kept, fresh)
            if _bytes(every) > self._most_bytes:
                every = _take(every, ids)
            if _bytes(every) <= self._most_bytes:
                self._kept = every


def _take(stacks: StackFrames, ids: U64) -> StackFrames:
    """Those of the ids (ascending) that are there."""
    rows, there = find_sorted(stacks.ids, ids)
    return StackFrames(ids[there], *take_ragged(stacks.frames, stacks.starts, rows[there]))


def _joined(one: StackFrames, other: StackFrames) -> StackFrames:
    """Those of both."""
    depths = np.concatenate([np.diff(one.starts), np.diff(other.starts)])
    return distinct_stacks(
        np.concatenate([one.ids, other.ids]), depths, np.concatenate([one.frames, other.frames])
    )


def _bytes(stacks: StackFrames) -> int:
    return int(stacks.ids.nbytes + stacks.frames.nbytes + stacks.starts.nbytes)
