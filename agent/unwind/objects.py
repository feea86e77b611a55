"""The executables and libraries that processes map, each with its unwind table as far as there is one."""

import contextlib
import os
import queue
import threading
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple

from agent.process_budget import Budget
from agent.symbolize.elf import PF_X, PT_LOAD, ByteSource, ElfError, ElfFile, FileBytes, MemoryBytes
from agent.symbolize.reading_cost import spending
from agent.unwind.build import FrameSection
from agent.unwind.table_files import TableFiles, key_of

FileKey = tuple[int, int, int, int]


class Span(NamedTuple):
    """Code of a file: bytes [offset, offset + size) lie at `vaddr`."""

    offset: int
    size: int
    vaddr: int


@dataclass(slots=True, eq=False)
class Table:
    """One table, shared by files with the same call frame information."""

    key: str
    size: int
    base: int
    slot: int | None = None
    """Where the kernel has it; None while it is not loaded."""
    refused_ns: int = 0
    """When there was no room for it last."""


@dataclass(slots=True, eq=False)
class ObjectCode:
    """One file, or the vDSO. `table` is None while it is not built yet, and where it has none."""

    spans: tuple[Span, ...] = ()
    pending: bool = True
    table: Table | None = None

    def bias(self, start_addr: int, file_offset: int) -> int | None:
        """What to add to addresses in the file for addresses in a mapping; None for one that holds no code."""
        for span in self.spans:
            if span.offset - 4096 < file_offset < span.offset + span.size:
                return start_addr - (file_offset - span.offset + span.vaddr)
        return None


class Built(NamedTuple):
    """What the builder has to tell of an object: its code, and where there is a table the open file of it."""

    code: ObjectCode
    spans: tuple[Span, ...]
    key: str
    base: int
    file: BinaryIO | None
    size: int


@dataclass(slots=True)
class _Order:
    code: ObjectCode
    source: ByteSource
    fd: int = -1
    budget: Budget | None = None


@dataclass(slots=True)
class TableBuilder:
    """Builds tables one after the other on a thread of its own, which ends with the process."""

    files: TableFiles
    _orders: "queue.SimpleQueue[_Order | None]" = field(default_factory=queue.SimpleQueue)
    _built: "queue.SimpleQueue[Built]" = field(default_factory=queue.SimpleQueue)
    _thread: threading.Thread | None = None
    waiting: int = 0
    """Objects ordered and not yet taken."""

    def order(self, fd: int, budget: Budget | None = None) -> ObjectCode:
        """Have the table of an open file built; the descriptor stays the caller's. `budget` pays for it."""
        code = ObjectCode()
        try:
            own = os.dup(fd)
        except OSError:
            code.pending = False
            return code
        try:
            self._put(_Order(code, FileBytes(own), own, budget))
        except ElfError:
            os.close(own)
            code.pending = False
        return code

    def order_image(self, image: bytes) -> ObjectCode:
        """Have the table of an ELF image in memory built."""
        code = ObjectCode()
        self._put(_Order(code, MemoryBytes(image)))
        return code

    def _put(self, order: _Order) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="unwind tables", daemon=True)
            self._thread.start()
        self.waiting += 1
        self._orders.put(order)

    def take(self) -> list[Built]:
        """What was built since the last call. Files in it are the caller's to close."""
        done = []
        with contextlib.suppress(queue.Empty):
            while True:
                done.append(self._built.get_nowait())
        self.waiting -= len(done)
        return done

    def close(self) -> None:
        """End the thread after what it is doing; safe to call twice."""
        if self._thread is not None:
            with contextlib.suppress(queue.Empty):
                while True:
                    order = self._orders.get_nowait()
                    if order and order.fd >= 0:
                        os.close(order.fd)
            self._orders.put(None)
            self._thread.join()
            self._thread = None
        for built in self.take():
            if built.file:
                built.file.close()

    def _run(self) -> None:
        # At the agent's own priority: a lower one would never get its turn on a busy host, where it matters most.
        while order := self._orders.get():
            try:
                with spending(order.budget) if order.budget else contextlib.nullcontext():
                    self._built.put(self._build(order))
            finally:
                if order.fd >= 0:
                    os.close(order.fd)

    def _build(self, order: _Order) -> Built:
        try:
            elf = ElfFile(order.source)
            spans = tuple(
                Span(s.offset, s.file_size, s.vaddr)
                for s in elf.segments
                if s.type == PT_LOAD and s.flags & PF_X
            )
            section = FrameSection(elf)
            file, size = self.files.table(section)
        except (ElfError, OSError):
            return Built(order.code, (), "", 0, None, 0)
        return Built(order.code, spans, key_of(section), section.base, file, size)
