"""Unwind tables, mappings and processes as the BPF program sees them: the maps of bpf/unwind_tables.h."""

import mmap
import os
from collections import deque
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from agent.cpython.kernel_python import MAP_ENTRIES as PYTHON_MAP_ENTRIES
from agent.cpython.kernel_python import SHARED as PYTHON_SHARED
from agent.cpython.kernel_python import KernelPython
from agent.libbpf import BpfObject, create_inner_array, remove_key, set_numbers, set_value
from agent.samples import U64
from agent.unwind.layout import LINE_BYTES

MAX_TABLES = 8192
"""FP_MAX_TABLES."""
NO_TABLE, OVER_BUDGET, PENDING = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
"""Values of a mapping's `table` that are no slot."""
MAX_PROCESSES = 8192
MAX_JAVA_PROCESSES = 1024
MAX_CHANGES = 64
"""Tables whose descriptors are open at a time."""
MAX_MAPPINGS = 32_768
"""Of all processes together; those with the same ones, as forks have, share them."""

MAPPING = np.dtype([("start", "<u8"), ("end", "<u8"), ("base", "<u8"), ("table", "<u4"), ("reserved", "<u4")])
"""struct fp_mapping."""

Mappings = npt.NDArray[np.void]

MAP_ENTRIES = {
    "unwind_processes": MAX_PROCESSES,
    "unwind_mappings": MAX_MAPPINGS,
    "hotspot_processes": MAX_JAVA_PROCESSES,
    **PYTHON_MAP_ENTRIES,
}
"""Sizes that the object is loaded with."""


SHARED = (
    "unwind_tables",
    "unwind_generation",
    "unwind_used",
    "unwind_mappings",
    "unwind_processes",
    "hotspot_processes",
)
"""The maps that all programs that unwind look into."""

_PIECE_BYTES = 1 << 20
"""Of a map that is written at once: mapped memory counts as the agent's own while it is mapped."""


class KernelTables:
    """The maps of a loaded cpu_unwind.bpf.o. They are the object's: free it, and they are gone.

    `python`: those for Python frames, None where these are not wanted. `hotspot_fd`: the processes that run a Java
    VM (agent/jvm/java_frames.py). `shared`: descriptors by name, for another object whose programs unwind by the
    same tables.
    """

    def __init__(self, loaded: BpfObject, python: bool = False) -> None:
        self.python = KernelPython(loaded) if python else None
        self.shared = {name: loaded.map_fd(name) for name in (*SHARED, *PYTHON_SHARED)}
        self.hotspot_fd = self.shared["hotspot_processes"]
        self._generation_memory = mmap.mmap(self.shared["unwind_generation"], mmap.PAGESIZE)
        self._generation: U64 = np.frombuffer(self._generation_memory, np.uint64, 1)
        self._generation[0] = 1
        self._tables_fd = loaded.map_fd("unwind_tables")
        self._processes_fd = loaded.map_fd("unwind_processes")
        size = MAX_MAPPINGS * MAPPING.itemsize
        self._mappings_memory = mmap.mmap(loaded.map_fd("unwind_mappings"), size)
        self._mappings: Mappings = np.frombuffer(self._mappings_memory, MAPPING)
        self._used_memory = mmap.mmap(loaded.map_fd("unwind_used"), MAX_TABLES * 8)
        self._used: U64 = np.frombuffer(self._used_memory, np.uint64)
        self._free_slots = deque(range(MAX_TABLES))
        self._sizes: dict[int, int] = {}
        self._nothing_fd = create_inner_array("unwind_nothing", LINE_BYTES, 1)
        self._changes: dict[int, int] = {}
        """Descriptors of what slots are to hold, until `commit`."""
        self._room = Ranges(MAX_MAPPINGS)
        self.processes: set[int] = set()
        """Ids of the processes that are known to the kernel."""

    @property
    def nbytes(self) -> int:
        """Kernel memory of the tables that are loaded."""
        return sum(self._sizes.values())

    def load(self, table: BinaryIO, size: int) -> int | None:
        """Load a table of `size` bytes from a file; its slot, or None when all slots are taken. It is there after
        `commit`.

        Raises BpfError where the kernel has no memory, OSError or EOFError where the file cannot be read.
        """
        if not self._free_slots:
            return None
        if len(self._changes) >= MAX_CHANGES:
            self.commit()
        fd = create_inner_array("unwind_table", LINE_BYTES, size // LINE_BYTES)
        try:
            table.seek(0)
            for first in range(0, size, _PIECE_BYTES):
                _copy_piece(table, fd, first, min(_PIECE_BYTES, size - first))
        except BaseException:
            os.close(fd)
            raise
        slot = self._free_slots.popleft()
        self._used[slot] = 0
        self._change(slot, fd)
        self._sizes[slot] = memory_of(size)
        return slot

    def unload(self, slot: int) -> None:
        """Free a table's memory, with the next `commit`. Slots come back in order, the longest free first."""
        self._change(slot, os.dup(self._nothing_fd))
        del self._sizes[slot]
        self._free_slots.append(slot)

    def _change(self, slot: int, fd: int) -> None:
        before = self._changes.pop(slot, None)
        if before is not None:
            os.close(before)
        self._changes[slot] = fd

    def commit(self) -> None:
        """Let the kernel have what was loaded and unloaded, all at once: the call waits until no program runs
        that may be looking at a table, some 10 ms at rest and many times that on a busy host."""
        if not self._changes:
            return
        changes, self._changes = self._changes, {}
        try:
            set_numbers(self._tables_fd, changes)
        finally:
            for fd in changes.values():
                os.close(fd)
        self._generation[0] = self._generation[0] % ((1 << 19) - 1) + 1

    def used_ns(self, slot: int) -> int:
        """The CLOCK_MONOTONIC time, to a second or so, at which a walk needed the table last; 0 for never."""
        return int(self._used[slot]) << 30

    def place(self, mappings: Mappings) -> tuple[int, int] | None:
        """Put mappings, sorted by start, where processes can refer to them: (first, count), None for no room."""
        first = self._room.take(len(mappings))
        if first is None:
            return None
        self._mappings[first : first + len(mappings)] = mappings
        return first, len(mappings)

    def displace(self, place: tuple[int, int]) -> None:
        """Give room back. It is used again only after the next call of `settle`: a walk may be looking at it."""
        self._room.give_back(*place)

    def settle(self) -> None:
        """Let what was displaced before the last call be used again. Call once a second or so."""
        self._room.settle()

    def set_process(self, pid: int, place: tuple[int, int]) -> bool:
        """Let stacks of a process be unwound by the mappings at `place`; False when there are too many."""
        if pid not in self.processes and len(self.processes) >= MAX_PROCESSES:
            return False
        set_value(self._processes_fd, pid, place[0].to_bytes(4, "little") + place[1].to_bytes(4, "little"))
        self.processes.add(pid)
        return True

    def remove_process(self, pid: int) -> None:
        """Forget a process."""
        remove_key(self._processes_fd, pid)
        self.processes.discard(pid)

    def close(self) -> None:
        """Unmap the memory; the maps go with their object. Safe to call twice."""
        self._generation = self._generation.copy()
        for fd in [*self._changes.values(), *([self._nothing_fd] if self._nothing_fd >= 0 else [])]:
            os.close(fd)
        self._changes, self._nothing_fd = {}, -1
        self._mappings, self._used = np.empty(0, MAPPING), np.empty(0, np.uint64)


def _copy_piece(table: BinaryIO, fd: int, first: int, size: int) -> None:
    """The next `size` bytes of a file into a map's memory."""
    with (
        mmap.mmap(fd, memory_of(size) - mmap.PAGESIZE, offset=first) as memory,
        memoryview(memory) as view,
        view[:size] as part,
    ):
        if table.readinto(part) != size:  # type: ignore[attr-defined]
            raise EOFError("an unwind table was cut short")


def memory_of(size: int) -> int:
    """Kernel memory of a table of `size` bytes: whole pages, and one for the map itself."""
    return (size + mmap.PAGESIZE - 1 & ~(mmap.PAGESIZE - 1)) + mmap.PAGESIZE


class Ranges:
    """Hands out ranges of an array of `size` entries, the first that fits."""

    def __init__(self, size: int) -> None:
        self._free = [(0, size)]
        self._given_back: list[tuple[int, int]] = []
        self._resting: list[tuple[int, int]] = []

    def take(self, count: int) -> int | None:
        """The first of `count` entries in a row, None when there are none."""
        for number, (first, room) in enumerate(self._free):
            if room >= count:
                self._free[number] = first + count, room - count
                if room == count:
                    del self._free[number]
                return first
        return None

    def give_back(self, first: int, count: int) -> None:
        """Return a range; it rests until `settle` was called twice."""
        if count:
            self._given_back.append((first, count))

    def settle(self) -> None:
        """Take ranges that have rested into use again, and begin the rest of the others."""
        resting, self._resting, self._given_back = self._resting, self._given_back, []
        if not resting:
            return
        merged: list[tuple[int, int]] = []
        for first, count in sorted([*self._free, *resting]):
            if merged and merged[-1][0] + merged[-1][1] == first:
                merged[-1] = merged[-1][0], merged[-1][1] + count
            else:
                merged.append((first, count))
        self._free = merged
