"""What the resolver remembers: frame ids by address and by whole stack, each for one address space.

On a steady host nine of ten stacks of a window were seen in the window before. A stack that no window needed for
KEPT_TURNS to twice as many windows is forgotten, so that a host whose programs change all the time does not fill
the agent's memory. Of an address space whose program makes code, only names that may change are asked for again in
each window: ctypes alone makes some, so that this is nearly every Python program.
"""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from agent.process import Mapping, Process
from agent.samples import U64
from agent.symbolize.regions import is_made_code
from fleetprof.frames import Frame, FrameKind

KEPT_TURNS = 6
"""Windows; a minute. A stack takes about 1 KB, and 10 us to be put together again."""

FrameIds = tuple[int, ...]
Key = TypeVar("Key")
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """A mapping that forgets what was not asked for, or put in, during one or two turns."""

    def __init__(self) -> None:
        self._new: dict[Key, Value] = {}
        self._old: dict[Key, Value] = {}

    def __len__(self) -> int:
        return len(self._new) + len(self._old)

    def __contains__(self, key: Key) -> bool:
        return self.get(key) is not None

    def get(self, key: Key) -> Value | None:
        """The value, None where it is not known; keeps it for another turn."""
        value = self._new.get(key)
        if value is None and self._old and (value := self._old.pop(key, None)) is not None:
            self._new[key] = value
        return value

    def __setitem__(self, key: Key, value: Value) -> None:
        self._new[key] = value

    def discard(self, key: Key) -> None:
        """Forget one."""
        self._new.pop(key, None)
        self._old.pop(key, None)

    def turn(self) -> None:
        """Forget what was not needed since the last turn."""
        self._old, self._new = self._new, {}


@dataclass(slots=True)
class Space:
    """What is known of one address space."""

    owner: Process | None = None
    mappings: list[Mapping] | None = None
    window: int = 0
    """When it was last used. Holding `owner` keeps its id(), the key of this space, from being reused."""
    by_addr: dict[int, int] = field(default_factory=dict)
    by_stack: Recent[bytes, FrameIds] = field(default_factory=Recent)
    _made: tuple[U64, U64] | None = None
    """Starts and ends of memory whose code may be another one in the next window."""
    _passing: set[int] = field(default_factory=set)
    """Addresses that may have another name in the next window."""
    _passing_stacks: set[bytes] = field(default_factory=set)

    def remember(self, addrs: U64, ids: list[int], frames: list[Frame]) -> None:
        """The frames of some addresses, and their ids."""
        self.by_addr.update(zip(addrs.tolist(), ids, strict=True))
        made = self._is_made(addrs)
        for addr, frame, in_made in zip(addrs.tolist(), frames, made.tolist(), strict=True):
            if in_made or (not frame.function and self._may_be_named(frame)):
                self._passing.add(addr)

    def remember_stack(self, part: bytes, addrs: list[int], ids: FrameIds) -> None:
        """The frame ids of a stack; `addrs` are those that they were looked up by."""
        self.by_stack[part] = ids
        if self._passing and not self._passing.isdisjoint(addrs):
            self._passing_stacks.add(part)

    def forget_passing(self) -> None:
        """Forget what may be known better by now. Call once a window, before it is resolved."""
        for addr in self._passing:
            self.by_addr.pop(addr, None)
        for part in self._passing_stacks:
            self.by_stack.discard(part)
        self._passing.clear()
        self._passing_stacks.clear()

    def _is_made(self, addrs: U64) -> npt.NDArray[np.bool_]:
        starts, ends = self._made_ranges()
        if not len(starts):
            return np.zeros(len(addrs), np.bool_)
        index = np.searchsorted(starts, addrs, side="right") - 1
        inside: npt.NDArray[np.bool_] = (index >= 0) & (addrs < ends[index])
        return inside

    def _made_ranges(self) -> tuple[U64, U64]:
        if self._made is None:
            made = [mapping for mapping in self.mappings or [] if is_made_code(mapping)]
            self._made = (
                np.array([mapping.start_addr for mapping in made], np.uint64),
                np.array([mapping.end_addr for mapping in made], np.uint64),
            )
        return self._made

    def _may_be_named(self, frame: Frame) -> bool:
        """Whether a frame without a name may have one later: Python's that could not be read, the kernel's of new
        modules, and any where the process's runtime tells names."""
        return frame.kind in (FrameKind.PYTHON, FrameKind.KERNEL) or len(self._made_ranges()[0]) > 0
