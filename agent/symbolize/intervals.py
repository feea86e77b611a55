"""Which of many address ranges holds an address, for thousands of addresses at once."""

from dataclasses import dataclass

import numpy as np

from agent.samples import I64, U64

MAX_STEPS = 64
"""Ranges may overlap (hostile files, reused JIT memory): at most this many are tried for one address."""


@dataclass(frozen=True, slots=True)
class Intervals:
    """Half-open ranges [starts[i], ends[i]), sorted by start; `reach` is the running maximum of `ends`."""

    starts: U64
    ends: U64
    reach: U64

    @classmethod
    def of_sorted(cls, starts: U64, ends: U64) -> "Intervals":
        """Ranges whose starts are in order already."""
        reach = np.maximum.accumulate(ends)
        return cls(starts, ends, ends if np.array_equal(reach, ends) else reach)

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def nbytes(self) -> int:
        """Memory of the arrays."""
        shared = 0 if self.reach is self.ends else self.reach.nbytes
        return self.starts.nbytes + self.ends.nbytes + shared

    def find(self, addrs: U64, order: I64 | None = None) -> I64:
        """The range of each address, -1 where there is none.

        Of several, the innermost (greatest start; among equal starts the last); with `order`, the one with
        the greatest order.
        """
        if self.reach is self.ends and order is None:
            return self._nearest(addrs.astype(np.uint64))
        best = np.full(len(addrs), -1, np.int64)
        position = np.searchsorted(self.starts, addrs.astype(np.uint64), side="right").astype(np.int64) - 1
        for _ in range(MAX_STEPS):
            active = np.flatnonzero(position >= 0)
            active = active[self.reach[position[active]] > addrs[active]]
            if not len(active):
                break
            here = position[active]
            hit = self.ends[here] > addrs[active]
            if order is not None:
                known = best[active]
                hit &= (known < 0) | (order[here] > order[known])
            best[active[hit]] = here[hit]
            done = position.copy()
            position = np.full_like(position, -1)
            rest = active if order is not None else active[~hit]
            position[rest] = done[rest] - 1
        return best

    def _nearest(self, addrs: U64) -> I64:
        """Where no range ends before one that began earlier: the last to begin holds an address, or none does."""
        position = np.searchsorted(self.starts, addrs, side="right").astype(np.int64) - 1
        if not len(self):
            return position
        position[(position < 0) | (self.ends[position] <= addrs)] = -1
        return position
