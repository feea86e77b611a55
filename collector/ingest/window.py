"""A window that was admitted: the request's columns as checked numpy arrays."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fleetprof.losses import DropReason

U8 = npt.NDArray[np.uint8]
U16 = npt.NDArray[np.uint16]
U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]


class WindowKey(NamedTuple):
    """What names a window: it is stored once, however often it is pushed."""

    agent_id: str
    run_id: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Rows:
    """Samples as columns of equal length; row i has the next `offset_count[i]` entries of `offsets`."""

    series: U32
    """Place in the window's series_ids."""
    stack: U32
    """Place in the window's stack_ids."""
    type: U8
    value: U64
    captures: U32
    offset_count: U32
    offsets: U16
    """10 ms steps from the window's start, each absolute, ascending inside a row."""

    def __len__(self) -> int:
        return len(self.value)


@dataclass(frozen=True, slots=True)
class AgentCost:
    """What the agent used during the window."""

    cpu_ns: int
    bpf_ns: int
    rss_bytes: int
    map_bytes: int


@dataclass(frozen=True, slots=True)
class Window:
    """One agent's window; every index and bound has been checked."""

    key: WindowKey
    start_s: int
    """Unix seconds, a multiple of 10."""
    host: str
    covered_ns: int
    cpu_count: int
    cpu_exact: bool
    period_ns: int
    series_ids: list[int]
    stack_ids: list[int]
    rows: Rows
    losses: dict[DropReason, int]
    cost: AgentCost
