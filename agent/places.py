"""Where inside functions the CPU time was spent: the places of leaf frames, for values by line of source.

A sample's leaf is an instruction. Stacks name its function only; here its place in the object's file is kept, and
the values of a window's rows are split among the places that stand behind each: so all places of a function add up
to what its rows have. A window's heaviest are sent. Frames without a name need none of this: they are places.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from agent.aggregate import Rows, RowStacks
from agent.apportion import apportion
from agent.process import Process
from agent.round_values import Integers, KernelRandom, round_values
from agent.samples import I64, U32, U64, Captures
from fleetprof.frames import Frame
from fleetprof.profile_types import ProfileType

Mask = npt.NDArray[np.bool_]


class BuildPlaces(Protocol):
    """What is asked of agent.symbolize."""

    def build_places(self, process: Process, addrs: U64) -> list[tuple[str, int]]:
        """(build id, offset in its file) of each address; ("", 0) for one in no file that has a build id."""
        ...


@dataclass(frozen=True, slots=True)
class Places:
    """Columns of equal length, ordered by series, stack, build and offset."""

    build_ids: list[str]
    series: U32
    stack: U32
    """Place of a stack of the window that ends in the function."""
    build: U32
    """Place in `build_ids`."""
    offset: U64
    value: U64

    def __len__(self) -> int:
        return len(self.series)


@dataclass(frozen=True, slots=True)
class LeafRows:
    """The captures whose leaf is a named function in a file: their rows, and where each leaf is."""

    row: I64
    build: I64
    """Place in `build_ids`, -1 for none."""
    offset: U64
    build_ids: list[str]


class PlaceSums:
    """Sums the places of windows. Not thread-safe: the pipeline's thread owns it."""

    def __init__(self, builds: BuildPlaces, most: int, random: Integers | None = None) -> None:
        """`most`: how many places of a window are kept, the heaviest."""
        self._builds, self._most = builds, most
        self._random = random or KernelRandom()

    def of_window(
        self,
        captures: Captures,
        owners: list[Process | None],
        series: U32,
        stacks: RowStacks,
        frames: dict[int, Frame],
        summed: Rows,
    ) -> Places:
        """The heaviest places of a window.

        `captures`, `owners` and `series` are row-wise, as `group` sums them; `summed` has the values that are sent.
        """
        leaves = self._leaves(captures, owners, stacks, frames)
        group = _group_of(summed, series, captures.type, stacks.index)[leaves.row]
        order = np.lexsort((leaves.offset, leaves.build, group))
        starts = _begins(group[order], leaves.build[order], leaves.offset[order])
        weights = np.add.reduceat(captures.value_ns[leaves.row[order]], starts) if len(order) else np.empty(0)
        first = order[starts]
        values = self._split(weights.astype(np.int64), group[first], summed)
        kept = np.flatnonzero((values > 0) & (leaves.build[first] >= 0))
        picked = first[kept]
        return self._heaviest(
            Places(
                leaves.build_ids,
                summed.series[group[picked]],
                _spokesmen(stacks)[summed.stack[group[picked]]],
                leaves.build[picked].astype(np.uint32),
                leaves.offset[picked],
                values[kept],
            )
        )

    def _leaves(
        self, captures: Captures, owners: list[Process | None], stacks: RowStacks, frames: dict[int, Frame]
    ) -> LeafRows:
        named = np.array([bool(ids) and bool(frames[ids[0]].function) for ids in stacks.frame_ids], np.bool_)
        in_user = (np.diff(captures.kernel.starts) == 0) & (np.diff(captures.user.starts) > 0)
        rows = np.flatnonzero((captures.type == ProfileType.CPU) & in_user & named[stacks.index])
        addrs = captures.user.addrs[captures.user.starts[rows]]
        build, offset = np.full(len(rows), -1, np.int64), np.zeros(len(rows), np.uint64)
        numbers: dict[str, int] = {}
        for owner, places in _by_owner(owners, rows).items():
            distinct, back = np.unique(addrs[places], return_inverse=True)
            process = owners[int(rows[places[0]])]
            assert process is not None, owner
            found = self._builds.build_places(process, distinct)
            codes = [numbers.setdefault(build_id, len(numbers)) if build_id else -1 for build_id, _ in found]
            build[places] = np.array(codes, np.int64)[back]
            offset[places] = np.array([at for _, at in found], np.uint64)[back]
        return LeafRows(rows, build, offset, list(numbers))

    def _split(self, weights: I64, group: I64, summed: Rows) -> U64:
        """The value of each cell (a place within a row of `summed`): the rows' values, split by weight.

        Rounded as the rows are, and their sums are kept.
        """
        targets = summed.value.astype(np.int64)
        parts = apportion(weights, group.astype(np.intp), targets).astype(np.uint64)
        return round_values(parts, group, np.zeros(len(group), np.uint8), self._random, exact_sums=True)

    def _heaviest(self, cells: Places) -> Places:
        """One place for cells that are alike, of those the heaviest, in order."""
        columns = (cells.series, cells.stack, cells.build, cells.offset)
        order = np.lexsort(columns[::-1])
        starts = _begins(*(column[order] for column in columns))
        first = order[starts]
        values = np.add.reduceat(cells.value[order], starts) if len(order) else cells.value
        kept = np.sort(np.argsort(values)[::-1][: self._most])
        rows = first[kept]
        used, build = np.unique(cells.build[rows], return_inverse=True)
        return Places(
            [cells.build_ids[number] for number in used.tolist()],
            cells.series[rows],
            cells.stack[rows],
            build.astype(np.uint32),
            cells.offset[rows],
            values[kept].astype(np.uint64),
        )


def _by_owner(owners: list[Process | None], rows: I64) -> dict[int, I64]:
    """Places in `rows` by the process that owns them; rows without one are left out."""
    found: dict[int, list[int]] = {}
    for place, row in enumerate(rows.tolist()):
        if owners[row] is not None:
            found.setdefault(id(owners[row]), []).append(place)
    return {key: np.array(places, np.int64) for key, places in found.items()}


def _group_of(summed: Rows, series: U32, kind: npt.NDArray[np.uint8], stack: U32) -> I64:
    """The row of `summed` that each captured row was summed into."""
    stacks = int(max(stack.max(initial=0), summed.stack.max(initial=0))) + 1
    kinds = int(max(ProfileType)) + 1
    key = (series.astype(np.int64) * kinds + kind) * stacks + stack
    keys = (summed.series.astype(np.int64) * kinds + summed.type) * stacks + summed.stack
    return np.searchsorted(keys, key).astype(np.int64)


def _begins(*columns: npt.NDArray[np.integer]) -> I64:
    """Where runs of rows begin that are equal in all columns."""
    begins = np.ones(len(columns[0]), np.bool_)
    if len(begins):
        begins[1:] = np.logical_or.reduce([column[1:] != column[:-1] for column in columns])
    return np.flatnonzero(begins).astype(np.int64)


def _spokesmen(stacks: RowStacks) -> U32:
    """For each stack the first one that ends in the same function."""
    first: dict[int, int] = {}
    return np.array(
        [first.setdefault(ids[0], place) if ids else place for place, ids in enumerate(stacks.frame_ids)],
        np.uint32,
    )
