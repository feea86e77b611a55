"""Numbers that stand for ids of stacks, or for frames, once the collector holds them (ingest.proto, stack_numbers).

A stack's id takes 8 bytes that nothing compresses, and frames' names are most of a definition: together nine tenths
of a window's bytes. A number takes one or two.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agent.samples import I64
from fleetprof.wire_numbers import MOST_NUMBERS


@dataclass(frozen=True, slots=True)
class Numbering:
    """How one request names some ids."""

    numbers: I64
    """By place among the ids; 0 for those that the collector holds no number of."""
    first: int
    """The number that the first of these gets."""

    @property
    def in_use(self) -> bool:
        """Whether any is named by number."""
        return bool(self.numbers.any())


class WireNumbers:
    """What the collector holds of this run's numbers. Belongs to one thread, and one window at a time."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}

    def of(self, ids: Sequence[int]) -> Numbering:
        """How to name these ids now."""
        numbers = np.array([self._numbers.get(id_, 0) for id_ in ids], np.int64)
        if len(self._numbers) + np.count_nonzero(numbers == 0) > MOST_NUMBERS:
            self.forget()
            numbers = np.zeros(len(ids), np.int64)
        return Numbering(numbers, len(self._numbers) + 1)

    def answered(self, listed: Sequence[int], first: int, known: int) -> None:
        """The collector took a request whose `listed` ids have numbers from `first` on, and holds `known` now."""
        self._numbers.update(zip(listed, range(first, first + len(listed)), strict=True))
        if known < len(self._numbers):
            self._numbers = {id_: number for id_, number in self._numbers.items() if number <= known}
        if known != len(self._numbers):  # it holds what we do not: of another request than we think
            self.forget()

    def forget(self) -> None:
        """The collector holds none, or not those that we think."""
        self._numbers.clear()
