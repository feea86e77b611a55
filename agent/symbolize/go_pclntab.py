"""Functions of Go binaries, with file and line, from .gopclntab: Go's runtime needs that table, so it survives
stripping.

All forms that linkers write: of Go 1.2, 1.16, 1.18 and 1.20 (https://go.dev/src/debug/gosym/pclntab.go,
https://go.dev/src/runtime/symtab.go). At load only the sorted addresses are read; a function's record, its name,
file and line when somebody asks for them.
"""

import contextlib
import hashlib
import struct
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from agent.samples import U64
from agent.symbolize.elf import ByteSource, ElfError, ElfFile
from agent.symbolize.go_places import Place, find_places, text_base
from agent.symbolize.intervals import Intervals
from agent.symbolize.object_symbols import NamedTable, read_text
from agent.symbolize.relocations import Relocated
from agent.symbolize.symbol_table import SymbolTable, TooManySymbols

MAX_NAME_BYTES = 4096
_VERSIONS = {0xFFFFFFFB: 2, 0xFFFFFFFA: 16, 0xFFFFFFF0: 18, 0xFFFFFFF1: 20}
_HEADER_WORDS = {2: 1, 16: 7, 18: 8, 20: 8}
_MAX_VARINT_BYTES = 5


class GoHeader(NamedTuple):
    """What the table begins with; the offsets count from there."""

    version: int
    """2, 16, 18 or 20: the Go 1.x that brought this form."""
    word: int
    """Bytes of a pointer."""
    functions: int
    text_start: int
    """What entries count from, 0 where the linker does not say it here; entries are addresses before 1.18."""
    names: int
    units: int
    files: int
    values: int
    table: int
    """Of the sorted table of entries."""

    @property
    def cell(self) -> int:
        """Bytes of an entry of the sorted table, half of a pair."""
        return self.word if self.version < 18 else 4

    @property
    def table_bytes(self) -> int:
        """Pairs of (entry, record), and the end of the last function."""
        return (2 * self.functions + 1) * self.cell


_NO_HEADER = GoHeader(0, 0, 0, 0, 0, 0, 0, 0, 0)


def read_header(elf: ElfFile, place: Place) -> GoHeader | None:
    """The header at a place in the file; None when there is none of a known form. Raises ElfError."""
    start = elf.source.read(place.offset, min(72, place.size))
    if len(start) < 24:
        return None
    (magic,) = struct.unpack_from("<I", start)
    version, word = _VERSIONS.get(magic, 0), start[7]
    if not version or start[4:6] != b"\0\0" or start[6] not in (1, 2, 4) or word not in (4, 8):
        return None
    count = _HEADER_WORDS[version]
    if len(start) < 8 + count * word:
        return None
    words = struct.unpack_from(f"<{count}{'Q' if word == 8 else 'I'}", start, 8)
    if version == 2:
        return GoHeader(version, word, words[0], 0, 0, 0, 0, 0, 8 + word)
    text_start = words[2] if version >= 18 else 0
    return GoHeader(version, word, words[0], text_start, *words[-5:])


@dataclass(frozen=True, slots=True)
class GoTable(NamedTable):
    """Functions of Go: `table.names` are where their records are, counted from `records`."""

    header: GoHeader = _NO_HEADER
    records: int = 0

    def place(self, index: int, own: ByteSource) -> tuple[str, int]:
        """File and line where function `index` begins, ("", 0) where the table does not say."""
        with contextlib.suppress(ElfError):
            return self._place(self._record(index, own), own)
        return "", 0

    def _symbol(self, index: int, own: ByteSource) -> str:
        try:
            name = self._text(self.header.names + self._record(index, own)[0], own)
        except ElfError:
            return ""
        return name.decode("utf-8", "replace")

    def _record(self, index: int, own: ByteSource) -> tuple[int, ...]:
        """(name, arguments, frame, sp values, file values, line values, tables, unit, first line), as unsigned."""
        at = self.records + int(self.table.names[index]) + self._entry_bytes
        return struct.unpack("<9I", self._read(at, 36, own))

    @property
    def _entry_bytes(self) -> int:
        return self.header.word if self.header.version < 18 else 4

    def _place(self, record: tuple[int, ...], own: ByteSource) -> tuple[str, int]:
        header, (_, _, _, _, files_at, lines_at, _, unit, first_line) = self.header, record
        number = self._first_value(files_at, own)
        line = first_line if header.version >= 20 else self._first_value(lines_at, own)
        if header.version == 2:
            at = self._word32(header.table + header.table_bytes, own)
            file = self._word32(at + 4 * number, own) if number > 0 else 0
        else:
            file = self._word32(header.units + 4 * (unit + number), own) if number >= 0 else 0xFFFFFFFF
            file = header.files + file if file != 0xFFFFFFFF else 0
        name = self._text(file, own).decode("utf-8", "replace") if file else ""
        return name, line if name and 0 < line < 1 << 31 else 0

    def _first_value(self, at: int, own: ByteSource) -> int:
        """The first of a function's values: a signed difference to -1, in groups of seven bits."""
        raw = self._read(self.header.values + at, _MAX_VARINT_BYTES, own)
        value = 0
        for position, byte in enumerate(raw):
            value |= (byte & 127) << 7 * position
            if byte < 128:
                break
        return (value >> 1 ^ -(value & 1)) - 1

    def _word32(self, at: int, own: ByteSource) -> int:
        return int.from_bytes(self._read(at, 4, own), "little")

    def _text(self, at: int, own: ByteSource) -> bytes:
        return read_text(self.source or own, self.offset + at, min(MAX_NAME_BYTES, self.size - at))

    def _read(self, at: int, size: int, own: ByteSource) -> bytes:
        if not 0 <= at <= self.size - size:
            raise ElfError("a part of Go's function table is outside it")
        return (self.source or own).read(self.offset + at, size)


def go_table(elf: ElfFile, memory_limit_bytes: int) -> GoTable | None:
    """Functions of a Go binary; None where there is no table that can be used.

    Raises ElfError and TooManySymbols.
    """
    for place in find_places(elf, list(_VERSIONS)):
        header = read_header(elf, place)
        if header and header.functions:
            found = _load(elf, place, header, memory_limit_bytes)
            if found:
                return found
    return None


def _load(elf: ElfFile, place: Place, header: GoHeader, memory_limit_bytes: int) -> GoTable | None:
    if header.functions * 32 > memory_limit_bytes:
        raise TooManySymbols(f"{header.functions} Go functions")
    if header.table + header.table_bytes > place.size:
        raise ElfError("a Go function table that ends outside its section")
    words = Relocated(elf).read(place.offset + header.table, header.table_bytes, header.cell)
    entries, records = words[0::2], words[1::2]
    if bool((entries[1:] < entries[:-1]).any()):
        return None
    base = 0 if header.version < 18 else text_base(elf, place, header.word, header.text_start, entries)
    if base is None or not _plausible(elf, entries, base, records):
        return None
    starts = entries + np.uint64(base)
    first = place.offset, header, base
    digest = hashlib.blake2b(repr(first).encode() + words.tobytes(), digest_size=16).digest()
    names, exported = records.astype(np.uint32), np.ones(header.functions, np.uint8)
    table = SymbolTable(Intervals.of_sorted(starts[:-1].copy(), starts[1:].copy()), names, exported, digest)
    records_at = header.table if header.version > 2 else 0
    return GoTable(table, place.offset, place.size, None, "", header, records_at)


def _plausible(elf: ElfFile, entries: U64, base: int, records: U64) -> bool:
    """Whether all functions lie in one executable segment."""
    if int(records.max()) >= 1 << 32:
        return False
    first, last = base + int(entries[0]), base + int(entries[-1])
    return any(s.vaddr <= first and last <= s.vaddr + s.memory_size for s in elf.code_segments)
