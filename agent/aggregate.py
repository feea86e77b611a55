"""Groups a window's rows by series, profile type and stack, and adds up their values.

The result is what goes on the wire: one row per (series, type, stack), values summed exactly in 64-bit
integers, and for CPU samples when inside the window they fell.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from agent.resolve import Resolver
from agent.samples import I64, U16, U32, U64, Captures
from fleetprof.frames import Frame
from fleetprof.losses import Losses
from fleetprof.profile_types import OFFSET_STEP_NS, WINDOW_NS, ProfileType

if TYPE_CHECKING:
    from agent.places import Places

MAX_STEP = WINDOW_NS // OFFSET_STEP_NS - 1


@dataclass(frozen=True, slots=True)
class WindowTimes:
    """When a window was: its aligned start on the wall clock, the same moment on CLOCK_MONOTONIC, how much
    of it was covered."""

    start_unix_ns: int
    start_monotonic_ns: int
    covered_ns: int


@dataclass(frozen=True, slots=True)
class Cost:
    """What the agent itself cost during the window."""

    cpu_ns: int = 0
    bpf_ns: int = 0
    rss_bytes: int = 0
    map_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Rows:
    """Sample columns; `offsets[offset_starts[i]:offset_starts[i + 1]]` are row i's 10 ms steps, ascending."""

    series: U32
    stack: U32
    type: npt.NDArray[np.uint8]
    value: U64
    captures: U32
    offset_starts: I64
    offsets: U16

    def __len__(self) -> int:
        return len(self.series)


@dataclass(slots=True)
class ClosedWindow:
    """One window, ready to be sent, with the definitions of all that it refers to."""

    times: WindowTimes
    cpu_exact: bool
    period_ns: int
    cpu_count: int
    rows: Rows
    stack_ids: list[int]
    """`Rows.stack` indexes this; so do the entries of `stacks`."""
    stacks: list[tuple[int, ...]]
    """Frame ids of each stack, leaf first."""
    frames: dict[int, Frame]
    series_ids: list[int]
    series: list[dict[str, str]]
    """Labels of each series, in the order of `series_ids`."""
    losses: Losses = field(default_factory=Losses)
    cost: Cost = field(default_factory=Cost)
    places: "Places | None" = None
    """Where inside functions CPU time was spent, where that is asked for."""


def group(captures: Captures, series: U32, stack: U32, times: WindowTimes) -> Rows:
    """Sum rows with equal (series, type, stack). `series` and `stack` are row-wise indexes."""
    if not len(captures):
        return _no_rows()
    order, starts = _groups(series, captures.type, stack)
    first = order[starts]
    offset_starts, offsets = _offsets(captures, order, starts, times)
    return Rows(
        series=series[first],
        stack=stack[first],
        type=captures.type[first],
        value=np.add.reduceat(captures.value_ns[order], starts),
        captures=np.add.reduceat(captures.count[order], starts),
        offset_starts=offset_starts,
        offsets=offsets,
    )


def _groups(series: U32, kind: npt.NDArray[np.uint8], stack: U32) -> tuple[I64, I64]:
    """Row order that puts equal keys together, and where in it each group starts."""
    order = np.lexsort((stack, kind, series))
    begins = np.zeros(len(order), np.bool_)
    begins[0] = True
    for key in (series, kind, stack):
        ordered = key[order]
        begins[1:] |= ordered[1:] != ordered[:-1]
    return order.astype(np.int64), np.flatnonzero(begins).astype(np.int64)


def _offsets(captures: Captures, order: I64, starts: I64, times: WindowTimes) -> tuple[I64, U16]:
    """The 10 ms steps of each group's CPU samples (only rows whose time is known)."""
    timed = (captures.type == ProfileType.CPU) & (captures.time_ns > 0) & (captures.count > 0)
    elapsed = captures.time_ns.astype(np.int64) - times.start_monotonic_ns
    step = np.clip(elapsed // OFFSET_STEP_NS, 0, MAX_STEP)
    group_of = np.zeros(len(order), np.int64)
    group_of[starts[1:]] = 1
    group_of = group_of.cumsum()
    picked = timed[order]
    groups, steps = group_of[picked], step[order][picked]
    by_time = np.lexsort((steps, groups))
    counts = np.bincount(groups, minlength=len(starts))
    return np.concatenate([[0], counts.cumsum()]).astype(np.int64), steps[by_time].astype(np.uint16)


@dataclass(frozen=True, slots=True)
class RowStacks:
    """`index[row]` is the place of the row's stack in `ids` and `frame_ids`; place 0 is the empty stack."""

    index: U32
    ids: list[int]
    frame_ids: list[tuple[int, ...]]


def number_stacks(resolver: Resolver, stacks: list[tuple[int, ...]]) -> RowStacks:
    """Number the distinct stacks among the rows' frame ids.

    A tuple is hashed as a whole each time, so those that are one object are told by that.
    """
    places: dict[tuple[int, ...], int] = {(): 0}
    objects = {id(stack): stack for stack in stacks}
    numbers = {key: places.setdefault(stack, len(places)) for key, stack in objects.items()}
    index = [numbers[id(stack)] for stack in stacks]
    return RowStacks(
        index=np.array(index, np.uint32),
        ids=[resolver.stack_id(stack) for stack in places],
        frame_ids=list(places),
    )


def with_idle(rows: Rows, series: int, idle_ns: int) -> Rows:
    """The rows plus one IDLE row with the empty stack, for the series at place `series`."""
    return Rows(
        series=np.append(rows.series, np.uint32(series)),
        stack=np.append(rows.stack, np.uint32(0)),
        type=np.append(rows.type, np.uint8(ProfileType.IDLE)),
        value=np.append(rows.value, np.uint64(idle_ns)),
        captures=np.append(rows.captures, np.uint32(0)),
        offset_starts=np.append(rows.offset_starts, rows.offset_starts[-1]),
        offsets=rows.offsets,
    )


def _no_rows() -> Rows:
    u32 = np.empty(0, np.uint32)
    return Rows(
        series=u32,
        stack=u32,
        type=np.empty(0, np.uint8),
        value=np.empty(0, np.uint64),
        captures=u32,
        offset_starts=np.zeros(1, np.int64),
        offsets=np.empty(0, np.uint16),
    )
