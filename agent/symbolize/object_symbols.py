"""The functions of one executable or library, from all the tables that know some of them."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from agent.samples import I64, U64
from agent.symbolize.elf import PF_X, PT_LOAD, ByteSource, ElfError, ElfFile
from agent.symbolize.intervals import Intervals
from agent.symbolize.signal_return import NAME as SIGNAL_RETURN
from agent.symbolize.signal_return import returns_from_signal
from agent.symbolize.symbol_table import SymbolTable
from fleetprof.demangle import readable, shorten
from fleetprof.frames import Frame, FrameKind
from fleetprof.losses import DropReason

MAX_SYMBOL_BYTES = 4096


class Name(NamedTuple):
    """A function as a table names it; `file` and `line` where it begins, "" and 0 where that is not told."""

    function: str
    kind: FrameKind
    file: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class NamedTable:
    """A symbol table and its names: `size` bytes from `offset` of `source` (None: the object itself)."""

    table: SymbolTable
    offset: int
    size: int
    source: ByteSource | None = None
    suffix: str = ""

    def name(self, index: int, own: ByteSource) -> Name | None:
        """The best of the names of function `index`: fewest leading underscores, shortest, first in order."""
        symbols = [self._symbol(alias, own) for alias in self.table.aliases(index)]
        known = [symbol for symbol in symbols if symbol]
        if not known:
            return None
        best = min(known, key=lambda text: (len(text) - len(text.lstrip("_")), len(text), text))
        name, kind = readable(best)
        file, line = self.place(index, own)
        return Name(shorten(name + self.suffix) if self.suffix else name, kind, shorten(file), line)

    def place(self, index: int, own: ByteSource) -> tuple[str, int]:
        """File and line where function `index` begins; ELF symbols do not tell them."""
        return "", 0

    def _symbol(self, index: int, own: ByteSource) -> str:
        start = int(self.table.names[index])
        size = min(MAX_SYMBOL_BYTES, self.size - start)
        if size <= 0:
            return ""
        try:
            data = read_text(self.source or own, self.offset + start, size)
        except ElfError:
            return ""
        return data.decode("utf-8", "replace")


def read_text(source: ByteSource, offset: int, size: int) -> bytes:
    """At most `size` bytes up to the first NUL; most names are short, so a short read comes first."""
    short = source.read(offset, min(size, 128)).partition(b"\0")
    return short[0] if short[1] or size <= 128 else source.read(offset, size).partition(b"\0")[0]


@dataclass(slots=True)
class ObjectSymbols:
    """What is known of one file. `tables` in order of trust; `loss` says why there are none, if so."""

    build_id: str = ""
    kind: FrameKind = FrameKind.NATIVE
    segments: "Segments | None" = None
    tables: tuple[NamedTable, ...] = ()
    loss: DropReason | None = None
    names: dict[tuple[int, int], Name | None] = field(default_factory=dict)
    """Names of looked-up functions by (table, index)."""

    def frames(self, own: ByteSource, offsets: U64, mapping: str) -> list[Frame]:
        """One frame per offset in the file; unnamed ones carry build id and offset. `own`: the file."""
        native, build_id = FrameKind.NATIVE, self.build_id  # an enumeration's attribute takes long to find
        frames = [Frame(native, "", mapping, build_id, offset) for offset in offsets.tolist()]
        if self.segments is None:
            return frames
        vaddrs = self.segments.vaddrs(offsets)
        missing = np.flatnonzero(vaddrs)
        for number, table in enumerate(self.tables):
            found = table.table.intervals.find(vaddrs[missing])
            for position, index in zip(missing.tolist(), found.tolist(), strict=True):
                name = self._name(number, index, own) if index >= 0 else None
                if name:
                    kind = self.kind if name.kind is native else name.kind
                    frames[position] = Frame(kind, name.function, mapping, file=name.file, line=name.line)
            missing = np.array([at for at in missing.tolist() if not frames[at].function], np.int64)
        for at in missing.tolist():
            if returns_from_signal(own, int(offsets[at])):
                frames[at] = Frame(native, SIGNAL_RETURN, mapping)
        return frames

    def _name(self, table: int, index: int, own: ByteSource) -> Name | None:
        key = (table, index)
        if key not in self.names:
            self.names[key] = self.tables[table].name(index, own)
        return self.names[key]


@dataclass(frozen=True, slots=True)
class Segments:
    """Where parts of a file are meant to be in memory: file offset → symbol address."""

    offsets: Intervals
    shifts: U64

    @classmethod
    def of(cls, elf: ElfFile) -> "Segments":
        """From the executable PT_LOAD headers; raises ElfError."""
        loads = [s for s in elf.segments if s.type == PT_LOAD and s.flags & PF_X and s.file_size]
        rows = sorted(
            (load.offset, load.offset + load.file_size, load.vaddr - load.offset & (1 << 64) - 1)
            for load in loads
            if load.offset + load.file_size < 1 << 63
        )
        columns = np.array(rows, np.uint64).reshape(-1, 3)
        return cls(Intervals.of_sorted(columns[:, 0].copy(), columns[:, 1].copy()), columns[:, 2].copy())

    def vaddrs(self, offsets: U64) -> U64:
        """The symbol address of each file offset; 0 where no executable segment holds it."""
        index: I64 = self.offsets.find(offsets)
        found = np.zeros(len(offsets), np.uint64)
        inside = index >= 0
        found[inside] = offsets[inside] + self.shifts[index[inside]]
        return found
