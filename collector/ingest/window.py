"""A window that was admitted: what names and surrounds it is checked, its columns are still encoded."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from fleetprof.losses import DropReason

if TYPE_CHECKING:
    from collector.ingest.places import Places

U8 = npt.NDArray[np.uint8]
U16 = npt.NDArray[np.uint16]
U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]


class Sender(NamedTuple):
    """A run of an agent: whose numbers stand for stacks and frames."""

    agent_id: str
    run_id: int


class WindowKey(NamedTuple):
    """What names a window: it is stored once, however often it is pushed."""

    agent_id: str
    run_id: int
    sequence: int

    @property
    def sender(self) -> Sender:
        """Who sent it."""
        return Sender(self.agent_id, self.run_id)


@dataclass(frozen=True, slots=True)
class Columns:
    """A window's columns as they came: varints, and the ids little-endian uint64s."""

    series_ids: bytes
    stack_ids: bytes
    series: bytes
    stack: bytes
    """Or differences to the row before."""
    type: bytes
    value: bytes
    captures: bytes
    offset_count: bytes
    offsets: bytes
    stack_is_steps: bool = False


@dataclass(frozen=True, slots=True)
class AgentCost:
    """What the agent used during the window."""

    cpu_ns: int
    bpf_ns: int
    rss_bytes: int
    map_bytes: int


@dataclass(frozen=True, slots=True)
class Window:
    """One agent's window."""

    key: WindowKey
    start_s: int
    """Unix seconds, a multiple of 10."""
    host: str
    covered_ns: int
    cpu_count: int
    cpu_exact: bool
    period_ns: int
    losses: dict[DropReason, int]
    cost: AgentCost
    columns: Columns
    rows: int
    """How many sample rows the columns hold."""
    definitions: bytes
    """What came with it that the collector may not know, still encoded (a Definitions); mostly empty."""
    places: "Places | None" = None
    """Where inside functions CPU time was spent, of agents that say it."""
