"""Keeps the kernel able to unwind the processes that are sampled: their mappings, and the tables of their code.

A process is looked at when it was started or is first sampled, and again when its mappings changed. The tables of
its files come from the disk or are built on a thread of their own; until they are there, walks go along frame
pointers. Tables share a budget of kernel memory, and the least recently used ones give way.
"""

import logging
import os
from dataclasses import dataclass, field
from time import monotonic_ns

import numpy as np

from agent.cpython.python_frames import PythonFrames
from agent.jvm.java_frames import JavaFrames
from agent.libbpf import BpfError
from agent.mapped_files import MappedFiles
from agent.process import Mapping, Process
from agent.symbolize.reading_cost import FILES_BURST_NS, ProcessBudgets
from agent.symbolize.vdso import MAPPING as VDSO
from agent.symbolize.vdso import own_image
from agent.unwind.kernel_tables import (
    MAPPING,
    NO_TABLE,
    OVER_BUDGET,
    PENDING,
    KernelTables,
    memory_of,
)
from agent.unwind.objects import Built, FileKey, ObjectCode, Table, TableBuilder

log = logging.getLogger("fleetprof.unwind")

MAX_NEW_PER_TURN = 64
"""Processes taken in between two drains, each at some 100 us; others wait until they are sampled again."""
RECENT_NS = 60_000_000_000
"""A table that was used within this time does not give way to another: two that are in use would push each other
out for ever."""
MAX_MAPPINGS_EACH = 8192
MAX_OBJECTS = 16_384

_VDSO_KEY: FileKey = (0, 0, 0, 0)
_NOT_NOW = ObjectCode(pending=False)
"""Stands for a file whose table is not built at this process's expense."""


@dataclass(slots=True)
class _Layout:
    """Mappings as they lie in the kernel, and how many processes have them."""

    place: tuple[int, int]
    objects: frozenset[ObjectCode]
    users: int = 0


@dataclass(slots=True)
class _Followed:
    process: Process
    mappings: list[Mapping]
    layout: bytes


@dataclass(frozen=True, slots=True)
class UnwindState:
    """Figures for people: what is loaded, and what had no room."""

    processes: int
    tables: int
    table_bytes: int
    over_budget: int


@dataclass(slots=True)
class Unwinder:
    """See the module's text. Not thread-safe: the pipeline's thread owns it.

    `limit_bytes` bounds the kernel memory of the tables.
    """

    kernel: KernelTables
    files: MappedFiles
    builder: TableBuilder
    limit_bytes: int
    python: PythonFrames | None = None
    """Follows the same processes for their Python frames, where these are wanted."""
    java: JavaFrames | None = None
    """Follows them for their Java code."""
    _objects: dict[FileKey, ObjectCode] = field(default_factory=dict)
    _tables: dict[str, Table] = field(default_factory=dict)
    _followed: dict[int, _Followed] = field(default_factory=dict)
    _layouts: dict[bytes, _Layout] = field(default_factory=dict)
    _building: ProcessBudgets = field(default_factory=lambda: ProcessBudgets(FILES_BURST_NS))
    """Time for tables of a process's files: it may map ever other ones."""
    _new: int = 0
    _seen: dict[tuple[int, int], ObjectCode | None] = field(default_factory=dict)
    """By device and inode, for the time of a window: a number may come back for another file."""

    def follow(self, process: Process) -> None:
        """Let the stacks of a process be unwound; cheap when nothing changed since the last call."""
        known = self._followed.get(process.pid)
        if known is not None and known.process is process and known.mappings is process.mappings:
            return
        if process.is_kernel or self._new >= MAX_NEW_PER_TURN:
            return
        self._new += 1
        self._publish(process)
        if self.python is not None:
            self.python.follow(process)
        if self.java is not None:
            self.java.follow(process)

    def turn(self) -> None:
        """Load what was built since the last call. Call about once a second."""
        self._new = 0
        self.kernel.settle()
        if self.python is not None:
            self.python.learn()
        self.load_built()

    @property
    def waiting(self) -> bool:
        """Whether tables are being built: `load_built` will have something to do soon."""
        return self.builder.waiting > 0

    def load_built(self) -> None:
        """Load what was built since the last call, without the rest of `turn`."""
        changed = {code for built in self.builder.take() for code in self._take(built)}
        self.kernel.commit()
        if changed:
            self._publish_again(changed)

    def forget_ended(self) -> None:
        """Forget processes that are gone, and try again what had no room. Call once a window."""
        self._seen.clear()
        for pid in [pid for pid in self._followed if not os.path.exists(f"/proc/{pid}")]:
            self._forget(pid)
        now_ns = monotonic_ns()
        refused = [table for table in self._tables.values() if table.refused_ns]
        for table in refused:
            if now_ns - table.refused_ns > RECENT_NS:
                self._forget_objects(table)
        if len(self._objects) > MAX_OBJECTS:
            self._objects = {
                key: code for key, code in self._objects.items() if code.pending or code.table is not None
            }

    def state(self) -> UnwindState:
        """Figures as of now."""
        loaded = sum(table.slot is not None for table in self._tables.values())
        refused = sum(bool(table.refused_ns) for table in self._tables.values())
        return UnwindState(len(self._followed), loaded, self.kernel.nbytes, refused)

    def close(self) -> None:
        """End the builder; safe to call twice."""
        self.builder.close()
        if self.python is not None:
            self.python.close()
        self.kernel.close()

    def _take(self, built: Built) -> list[ObjectCode]:
        """Load a table that is there now; the objects whose mappings are to be told anew."""
        code = built.code
        code.pending, code.spans = False, built.spans
        if built.file is None:
            return [code]
        with built.file:
            table = self._tables.setdefault(built.key, Table(built.key, built.size, built.base))
            code.table = table
            if table.slot is None:
                gone = self._make_room(memory_of(table.size))
                if gone is not None:
                    self._load(table, built)
                if table.slot is None:
                    table.refused_ns = monotonic_ns()
                return [code, *(gone or [])]
        return [code]

    def _load(self, table: Table, built: Built) -> None:
        assert built.file is not None
        try:
            table.slot = self.kernel.load(built.file, table.size)
        except (BpfError, OSError, EOFError) as error:
            log.warning("An unwind table of %d bytes cannot be loaded: %s", table.size, error)
            return
        table.refused_ns = 0

    def _make_room(self, size: int) -> list[ObjectCode] | None:
        """Unload least recently used tables until `size` bytes fit; the objects they were of, None for no room."""
        recent_ns = monotonic_ns() - RECENT_NS
        loaded = [table for table in self._tables.values() if table.slot is not None]
        loaded.sort(key=lambda table: self.kernel.used_ns(table.slot or 0))
        free = self.limit_bytes - self.kernel.nbytes
        leaving = []
        for table in loaded:
            if free >= size:
                break
            if self.kernel.used_ns(table.slot or 0) > recent_ns:
                return None
            leaving.append(table)
            free += memory_of(table.size)
        if free < size:
            return None
        return [code for table in leaving for code in self._unload(table)]

    def _unload(self, table: Table) -> list[ObjectCode]:
        if table.slot is not None:
            self.kernel.unload(table.slot)
        table.slot, table.refused_ns = None, monotonic_ns()
        return [code for code in self._objects.values() if code.table is table]

    def _forget_objects(self, table: Table) -> None:
        """Have the objects of a table that had no room looked at anew when they are next sampled."""
        del self._tables[table.key]
        gone = {key for key, code in self._objects.items() if code.table is table}
        codes = {self._objects.pop(key) for key in gone}
        for pid, known in list(self._followed.items()):
            if not codes.isdisjoint(self._layouts[known.layout].objects):
                self._forget(pid)

    def _publish_again(self, changed: set[ObjectCode]) -> None:
        for known in list(self._followed.values()):
            if not changed.isdisjoint(self._layouts[known.layout].objects):
                self._publish(known.process)

    def _publish(self, process: Process) -> None:
        """Tell the kernel of a process's mappings."""
        mappings = process.mappings
        rows, objects = self._rows(process, mappings[:MAX_MAPPINGS_EACH])
        content = rows.tobytes()
        layout = self._layouts.get(content)
        if layout is None:
            place = self.kernel.place(rows)
            if place is None:
                return
            layout = self._layouts[content] = _Layout(place, objects)
        layout.users += 1
        done = self.kernel.set_process(process.pid, layout.place)
        before = self._followed.pop(process.pid, None)
        if before is not None:
            self._release(before.layout)
        if done:
            self._followed[process.pid] = _Followed(process, mappings, content)
        else:
            self._release(content)

    def _release(self, content: bytes) -> None:
        layout = self._layouts[content]
        layout.users -= 1
        if not layout.users:
            self.kernel.displace(layout.place)
            del self._layouts[content]

    def _forget(self, pid: int) -> None:
        self.kernel.remove_process(pid)
        self._release(self._followed.pop(pid).layout)
        if self.python is not None:
            self.python.forget(pid)
        if self.java is not None:
            self.java.forget(pid)

    def _rows(self, process: Process, mappings: list[Mapping]) -> tuple[np.ndarray, frozenset[ObjectCode]]:
        """Mappings as the kernel wants them, and the objects behind them."""
        rows, objects = [], set()
        for mapping in mappings:
            code = self._object(process, mapping)
            table, base = NO_TABLE, 0
            if code is not None:
                objects.add(code)
                table, base = _reference(code, mapping)
            rows.append((mapping.start_addr, mapping.end_addr, base, table, 0))
        return np.array(rows, MAPPING), frozenset(objects)

    def _object(self, process: Process, mapping: Mapping) -> ObjectCode | None:
        """The code behind a mapping; its table is ordered when it is met first. None for memory of a JIT, and for
        one file more of a process whose files took too much time."""
        if mapping.path == VDSO:
            return self._vdso(mapping)
        if not mapping.inode:
            return None
        place = mapping.device, mapping.inode
        if place not in self._seen:
            code = self._object_of_file(process, mapping)
            if code is _NOT_NOW:
                return None  # others may have it all the same
            self._seen[place] = code
        return self._seen[place]

    def _object_of_file(self, process: Process, mapping: Mapping) -> ObjectCode | None:
        fd = self.files.fd(mapping)
        if fd is None:
            return None
        try:
            status = os.fstat(fd)
        except OSError:
            return None
        key = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
        code = self._objects.get(key)
        if code is None:
            budget = self._building.of(process)
            if budget.wait_ns():
                return _NOT_NOW
            code = self._objects[key] = self.builder.order(fd, budget)
        return code

    def _vdso(self, mapping: Mapping) -> ObjectCode | None:
        """All 64-bit processes have the agent's own image; that of a 32-bit one is not unwound."""
        code = self._objects.get(_VDSO_KEY)
        if code is None:
            image = own_image(mapping.end_addr - mapping.start_addr)
            if image is None or not mapping.start_addr >> 32:
                return None
            code = self._objects[_VDSO_KEY] = self.builder.order_image(image)
        return code if mapping.start_addr >> 32 else None


def _reference(code: ObjectCode, mapping: Mapping) -> tuple[int, int]:
    """(table, address of its base) for a mapping of `code`."""
    if code.pending:
        return PENDING, 0
    bias = code.bias(mapping.start_addr, mapping.file_offset)
    if code.table is None or bias is None:
        return NO_TABLE, 0
    slot = OVER_BUDGET if code.table.slot is None else code.table.slot
    return slot, (bias + code.table.base) % (1 << 64)
