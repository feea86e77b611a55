"""All stacks of a simulated fleet, numbered, with the identities under which they are sent."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from fleetprof.frames import Frame, frame_id, stack_id

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]


class StackBook:
    """Numbers stacks from 1; 0 is the empty stack."""

    def __init__(self) -> None:
        self.frames: dict[int, Frame] = {}
        """By id, as `ClosedWindow.frames` wants them."""
        self.frame_ids: list[tuple[int, ...]] = [()]
        """By number, leaf first."""
        self._ids: list[int] = [0]
        self._numbers: dict[int, int] = {0: 0}
        self._frame_ids: dict[Frame, int] = {}
        self._array: U64 | None = None

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, stacks: Iterable[tuple[Frame, ...]]) -> I64:
        """The number of each stack; one that is known already keeps its number."""
        self._array = None
        return np.array([self._number(stack) for stack in stacks], np.int64)

    @property
    def ids(self) -> U64:
        """Stack ids by number."""
        if self._array is None:
            self._array = np.array(self._ids, np.uint64)
        return self._array

    def _number(self, stack: tuple[Frame, ...]) -> int:
        frames = tuple(self._frame(frame) for frame in stack)
        identity = stack_id(frames)
        number = self._numbers.setdefault(identity, len(self._ids))
        if number == len(self._ids):
            self._ids.append(identity)
            self.frame_ids.append(frames)
        return number

    def _frame(self, frame: Frame) -> int:
        number = self._frame_ids.get(frame)
        if number is None:
            number = self._frame_ids[frame] = frame_id(frame)
            self.frames[number] = frame
        return number


def sums(values: npt.NDArray[Any], groups: I64, count: int) -> I64:
    """Exact sums of 64-bit values by group."""
    total = np.zeros(count, np.int64)
    np.add.at(total, groups, values.astype(np.int64))
    return total
