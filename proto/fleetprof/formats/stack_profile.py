"""The neutral profile that every format is written from and read into."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fleetprof.frames import Frame


class ValueType(NamedTuple):
    """What a column of values counts, and in which unit (as in pprof)."""

    type: str
    unit: str


Labels = tuple[tuple[str, str], ...]
"""Names and values of a sample's labels."""

CPU_NANOSECONDS = ValueType("cpu", "nanoseconds")
SAMPLES_COUNT = ValueType("samples", "count")


@dataclass(frozen=True, slots=True)
class StackProfile:
    """Stacks with one or more values each.

    Stack i is frame_index[starts[i]:starts[i + 1]], leaf first; it indexes `frames`. `values` has one row a
    stack and one column a value type. Times are nanoseconds: `time_ns` since the Unix epoch, 0 when unknown.
    """

    frames: list[Frame]
    frame_index: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int64]
    value_types: tuple[ValueType, ...]
    values: npt.NDArray[np.int64]
    period_type: ValueType = CPU_NANOSECONDS
    period: int = 0
    time_ns: int = 0
    duration_ns: int = 0
    labels: Sequence[Labels] = ()
    """Of each row; empty where no row has any."""

    def __len__(self) -> int:
        return len(self.starts) - 1

    def stack(self, row: int) -> list[Frame]:
        """The frames of one stack, leaf first."""
        return [self.frames[i] for i in self.frame_index[self.starts[row] : self.starts[row + 1]].tolist()]


def from_stacks(
    stacks: Iterable[Sequence[Frame]],
    values: Sequence[Sequence[int]],
    value_types: tuple[ValueType, ...],
    period_type: ValueType = CPU_NANOSECONDS,
    period: int = 0,
    time_ns: int = 0,
    duration_ns: int = 0,
    labels: Sequence[Labels] = (),
) -> StackProfile:
    """A profile of `stacks` (leaf first), each with its row of `values`; equal frames are kept once."""
    codes: dict[Frame, int] = {}
    flat: list[int] = []
    starts = [0]
    for stack in stacks:
        flat.extend(codes.setdefault(frame, len(codes)) for frame in stack)
        starts.append(len(flat))
    return StackProfile(
        frames=list(codes),
        frame_index=np.array(flat, np.int32),
        starts=np.array(starts, np.int64),
        value_types=value_types,
        values=np.array(values, np.int64).reshape(len(starts) - 1, len(value_types)),
        period_type=period_type,
        period=period,
        time_ns=time_ns,
        duration_ns=duration_ns,
        labels=labels,
    )
