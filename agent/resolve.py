"""Turns captured rows of addresses into content-addressed stacks of frames.

Addresses become frames here and nowhere else, so this is the one place where a return address is moved back
by one: it names the instruction after a call, which may already belong to the next function. The leaf of a
user stack is an instruction pointer and stays; its other frames are return addresses. In kernel
stacks the leaf is exact for CPU samples only (waits are captured from inside the scheduler's own call chain).

Work is remembered per process image and stack (agent/known_stacks.py), since windows repeat.
"""

import itertools
from functools import lru_cache
from typing import Protocol

import numpy as np
import numpy.typing as npt

from agent.cpython.merge import is_call, without_calls
from agent.cpython.words import are_words
from agent.known_stacks import KEPT_TURNS, FrameIds, Recent, Space
from agent.process import Process
from agent.samples import U64, Captures, Stacks, UserEnd
from agent.symbolize.symbolizer import UNMAPPED
from fleetprof.frames import UNSAMPLED, Frame, FrameKind, frame_id, stack_id
from fleetprof.losses import Losses
from fleetprof.profile_types import ProfileType

PROCESS_GONE = Frame(FrameKind.NATIVE, "", "[process gone]")
TRUNCATED = Frame(FrameKind.NATIVE, "", "[truncated]")
"""Stands for the frames that a walk did not reach."""
CUT_ENDS = frozenset(
    {
        UserEnd.DEPTH,
        UserEnd.NO_TABLE,
        UserEnd.NO_RULE,
        UserEnd.UNREADABLE,
        UserEnd.BUDGET,
        UserEnd.NEW,
    }
)
OUTERMOST = frozenset(
    {
        *("_start", "__libc_start_main", "__libc_start_call_main", "libc_start_main_stage2"),
        *("clone", "__clone", "clone3", "__clone3", "start_thread"),
        *("runtime.goexit", "runtime.goexit.abi0", "runtime.mstart", "runtime.mstart.abi0"),
    }
)
"""Functions that threads begin with: a stack that ends there lacks nothing, even if the walk could not tell."""
KEPT_WINDOWS = 6
MAX_REMEMBERED_ADDRS = 400_000
"""About 100 bytes each; past it everything is forgotten and learned again."""


class Symbols(Protocol):
    """What the resolver asks of agent.symbolize."""

    def user_frames(self, process: Process, addrs: U64) -> list[Frame]:
        """One frame per address, in order."""
        ...

    def kernel_frames(self, addrs: U64) -> list[Frame]:
        """One frame per address, in order."""
        ...

    def take_losses(self) -> Losses:
        """What could not be named since the last call."""
        ...


class Resolver:
    """Frames of rows, with memory across windows. Not thread-safe: the pipeline's thread owns it."""

    def __init__(self, symbols: Symbols) -> None:
        self._symbols = symbols
        self._kernel_exact = Space()
        self._kernel_waits = Space()
        self._spaces: dict[int, Space] = {}
        self._window = 0
        self._stack_ids: Recent[FrameIds, int] = Recent()
        self.frames: dict[int, Frame] = {}
        """Frame by id, of everything resolved and not yet forgotten."""
        self._python: set[int] = set()
        """Those of them that are Python's."""
        self._calls: set[int] = set()
        """Those that only call."""

    def resolve(self, captures: Captures, owners: list[Process | None]) -> list[FrameIds]:
        """The frame ids, leaf first, of each row's kernel stack followed by its user stack.

        `owners`: the process image behind each row. A row without any stack becomes "(unsampled)". Rows with
        the same addresses of the same owner get the same tuple: most of a window's rows repeat others.
        """
        is_cpu = captures.type == ProfileType.CPU
        user = _slices(_looked_up(captures.user, np.ones(len(captures), np.bool_)))
        kernel = _slices(_looked_up(captures.kernel, is_cpu))
        self._learn_user(user, owners)
        self._learn_kernel(kernel, is_cpu)
        exact = is_cpu.tolist()
        ends = captures.user_end.tolist()
        made: dict[tuple[int, bytes, bytes, bool, int], FrameIds] = {}
        stacks = []
        for row, owner in enumerate(owners):
            key = (id(owner), kernel[row], user[row], exact[row], ends[row])
            ids = made.get(key)
            if ids is None:
                ids = made[key] = self._stack(owner, *key[1:])
            stacks.append(ids)
        return stacks

    def _stack(self, owner: Process | None, kernel: bytes, user: bytes, exact: bool, end: int) -> FrameIds:
        in_user = self._user_ids(owner, user)
        if end == UserEnd.NEW and _UNMAPPED in in_user[1:]:
            in_user = in_user[: in_user.index(_UNMAPPED, 1)]
        ids = self._kernel_ids(kernel, exact) + in_user
        if owner is not None and user and end in CUT_ENDS:
            ids = self._mark_cut(ids)
        return ids or (self._define(UNSAMPLED),)

    def stack_id(self, frame_ids: FrameIds) -> int:
        """The identity of a resolved stack."""
        known = self._stack_ids.get(frame_ids)
        if known is None:
            known = self._stack_ids[frame_ids] = stack_id(frame_ids)
        return known

    def turn(self) -> None:
        """Begin the next window, after this one's definitions were taken.

        Forgets processes that were not seen for KEPT_WINDOWS, and everything when it has become too much.
        """
        oldest = self._window - KEPT_WINDOWS
        self._spaces = {key: space for key, space in self._spaces.items() if space.window > oldest}
        remembered = sum(len(space.by_addr) for space in self._spaces.values())
        if remembered + len(self.frames) > MAX_REMEMBERED_ADDRS:
            self._spaces.clear()
            self.frames.clear()
            self._python.clear()
            self._calls.clear()
            self._kernel_exact, self._kernel_waits = Space(), Space()
        self._window += 1
        if self._window % KEPT_TURNS == 0:
            self._stack_ids.turn()
            for space in (self._kernel_exact, self._kernel_waits, *self._spaces.values()):
                space.by_stack.turn()

    def _define(self, frame: Frame) -> int:
        number = _frame_id(frame)
        self.frames[number] = frame
        if frame.kind is _PYTHON:
            self._python.add(number)
        elif is_call(frame):
            self._calls.add(number)
        return number

    def _open(self, process: Process) -> Space:
        """The memory for one image; without what may be known better than in the window before."""
        space = self._spaces.get(id(process))
        if space is None or space.mappings is not process.mappings:
            space = self._spaces[id(process)] = Space(process, process.mappings)
        space.window = self._window
        space.forget_passing()
        return space

    def _learn_user(self, slices: list[bytes], owners: list[Process | None]) -> None:
        opened: dict[int, Space] = {}
        wanted: dict[int, set[int]] = {}
        for row, owner in enumerate(owners):
            if owner is None or not slices[row]:
                continue
            space = opened.get(id(owner)) or opened.setdefault(id(owner), self._open(owner))
            if slices[row] not in space.by_stack:
                wanted.setdefault(id(owner), set()).update(_addrs(slices[row]))
        for key, addrs in wanted.items():
            space = opened[key]
            if new := sorted(addrs - space.by_addr.keys()):
                assert space.owner is not None
                ordered = np.array(new, np.uint64)
                self._remember(space, ordered, self._symbols.user_frames(space.owner, ordered))

    def _learn_kernel(self, slices: list[bytes], exact: npt.NDArray[np.bool_]) -> None:
        for space, rows in (
            (self._kernel_exact, np.flatnonzero(exact)),
            (self._kernel_waits, np.flatnonzero(~exact)),
        ):
            space.forget_passing()
            unknown = {part for part in {slices[row] for row in rows.tolist()} if part not in space.by_stack}
            addrs = {addr for part in unknown for addr in _addrs(part)}
            if new := sorted(addrs - space.by_addr.keys()):
                ordered = np.array(new, np.uint64)
                self._remember(space, ordered, self._symbols.kernel_frames(ordered))

    def _remember(self, space: Space, addrs: U64, frames: list[Frame]) -> None:
        space.remember(addrs, [self._define(frame) for frame in frames], frames)

    def _user_ids(self, owner: Process | None, part: bytes) -> FrameIds:
        if not part:
            return ()
        if owner is None:
            return (self._define(PROCESS_GONE),)
        return self._stack_of(self._spaces[id(owner)], part)

    def _mark_cut(self, ids: FrameIds) -> FrameIds:
        return ids if self.frames[ids[-1]].function in OUTERMOST else (*ids, self._define(TRUNCATED))

    def _kernel_ids(self, part: bytes, exact: bool) -> FrameIds:
        if not part:
            return ()
        return self._stack_of(self._kernel_exact if exact else self._kernel_waits, part)

    def _stack_of(self, space: Space, part: bytes) -> FrameIds:
        ids = space.by_stack.get(part)
        if ids is None:
            addrs = _addrs(part)
            ids = tuple([space.by_addr[addr] for addr in addrs])
            if not self._python.isdisjoint(ids):
                ids = without_calls(ids, self._python, self._calls)
            space.remember_stack(part, addrs, ids)
        return ids


_frame_id = lru_cache(maxsize=16_384)(frame_id)
"""Processes that run the same programs have the same frames."""
_UNMAPPED = frame_id(UNMAPPED)
"""While tables are loaded, the kernel walks, and takes whatever lies where a frame pointer should be for one: from
its first address outside of the process's memory on, nothing it says is believed."""
_PYTHON = FrameKind.PYTHON  # an enumeration's attribute takes long to find


def _looked_up(stacks: Stacks, leaf_exact: npt.NDArray[np.bool_]) -> Stacks:
    """Stacks of the addresses to look up: return addresses moved back by one, once, here, for all rows together.

    Python frames among them are no addresses, and stay; so do the leaves of rows where these are exact.
    """
    back = (stacks.addrs != 0) & ~are_words(stacks.addrs)
    begins = stacks.starts[:-1][leaf_exact & (np.diff(stacks.starts) > 0)]
    back[begins] = False
    return Stacks(stacks.addrs - back.astype(np.uint64), stacks.starts)


def _addrs(part: bytes) -> list[int]:
    addrs: list[int] = memoryview(part).cast("Q").tolist()
    return addrs


def _slices(stacks: Stacks) -> list[bytes]:
    """Each row's addresses as bytes: the key under which a stack is remembered."""
    data = stacks.addrs.tobytes()
    bounds = (stacks.starts * 8).tolist()
    return [data[start:end] for start, end in itertools.pairwise(bounds)]
