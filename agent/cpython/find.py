"""Finds CPython in the file of an executable or a library: its version, its runtime, the loop that runs functions.

Nothing of a process's memory is read for it: versions, and since 3.13 offsets, lie in the file as constants.
"""

import struct
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from agent.cpython.layout import (
    DEBUG_OFFSETS_BYTES,
    Groups,
    Layout,
    Version,
    known_layout,
    told_layout,
)
from agent.symbolize.elf import (
    PF_X,
    PT_LOAD,
    SHT_DYNSYM,
    SHT_NOBITS,
    SHT_SYMTAB,
    ByteSource,
    ElfError,
    ElfFile,
    Section,
)

MAX_NAMES_BYTES = 8 << 20
MAX_SYMBOLS_BYTES = 8 << 20
MAX_PLACES = 16
"""Most places of a name in a string table that are looked at: as the end of a longer name, too."""

_SYMBOL = np.dtype(
    [("name", "<u4"), ("info", "u1"), ("other", "u1"), ("shndx", "<u2"), ("value", "<u8"), ("size", "<u8")]
)
_RUNTIME, _LOOP, _VERSION = b"_PyRuntime", b"_PyEval_EvalFrameDefault", b"Py_Version"
_SINCE_3_10, _SINCE_3_9 = b"Py_NewRef", b"PyFrame_GetCode"
_NAMES = (_RUNTIME, _LOOP, _VERSION, _SINCE_3_10, _SINCE_3_9)


class Symbol(NamedTuple):
    """Address in the file, and bytes."""

    vaddr: int
    size: int


class CodeSpan(NamedTuple):
    """Code of the file: bytes [offset, offset + size) lie at `vaddr`."""

    offset: int
    size: int
    vaddr: int


@dataclass(frozen=True, slots=True)
class Interpreter:
    """CPython as it is in one file; addresses are the file's."""

    layout: Layout
    runtime_vaddr: int
    loop: Symbol
    code: tuple[CodeSpan, ...]

    def bias(self, start_addr: int, file_offset: int) -> int | None:
        """What to add to the file's addresses in a process that maps its code so; None for other mappings."""
        for span in self.code:
            if span.offset - 4096 < file_offset < span.offset + span.size:
                return start_addr - (file_offset - span.offset + span.vaddr)
        return None


def find_interpreter(source: ByteSource) -> Interpreter | None:
    """The interpreter in a file, None without one of a known version. Never raises because of its content."""
    try:
        elf = ElfFile(source)
        if not elf.is_64 or not elf.runs_here:
            return None
        symbols = _symbols(elf)
        runtime = symbols.get(_RUNTIME)
        layout = _layout(elf, symbols, runtime) if runtime else None
        if runtime is None or layout is None:
            return None
        loop = symbols.get(_LOOP, Symbol(0, 0))
        if layout.groups is Groups.BY_CODE and not loop.size:
            return None
        return Interpreter(layout, runtime.vaddr, loop, _code(elf))
    except ElfError:
        return None


def _layout(elf: ElfFile, symbols: dict[bytes, Symbol], runtime: Symbol) -> Layout | None:
    told = told_layout(_at(elf, runtime.vaddr, DEBUG_OFFSETS_BYTES))
    if told is not None:
        return told
    version = _version(elf, symbols)
    return known_layout(version) if version else None


def _version(elf: ElfFile, symbols: dict[bytes, Symbol]) -> Version | None:
    """By the constant that has it since 3.11, before by what each version brought."""
    if _VERSION in symbols:
        data = _at(elf, symbols[_VERSION].vaddr, 8)
        (number,) = struct.unpack("<Q", data) if data else (0,)
        return number >> 24 & 0xFF, number >> 16 & 0xFF
    if _SINCE_3_9 not in symbols:
        return None
    return (3, 10) if _SINCE_3_10 in symbols else (3, 9)


def _at(elf: ElfFile, vaddr: int, size: int) -> bytes:
    """What the file has at an address; b"" where it has less than `size` bytes there."""
    for segment in elf.segments:
        inside = vaddr - segment.vaddr
        if segment.type == PT_LOAD and inside >= 0 and inside + size <= segment.file_size:
            return elf.source.read(segment.offset + inside, size)
    return b""


def _code(elf: ElfFile) -> tuple[CodeSpan, ...]:
    return tuple(
        CodeSpan(s.offset, s.file_size, s.vaddr) for s in elf.segments if s.type == PT_LOAD and s.flags & PF_X
    )


def _symbols(elf: ElfFile) -> dict[bytes, Symbol]:
    """Those of _NAMES that the file defines: exported ones, as an interpreter's nearly always are, else all."""
    for kind in (SHT_DYNSYM, SHT_SYMTAB):
        section = next((s for s in elf.sections if s.type == kind), None)
        found = _in_table(elf, section) if section else {}
        if _RUNTIME in found:
            return found
    return {}


def _in_table(elf: ElfFile, section: Section) -> dict[bytes, Symbol]:
    if section.link >= len(elf.sections) or section.entry_size != _SYMBOL.itemsize:
        return {}
    strings = elf.sections[section.link]
    if strings.type == SHT_NOBITS or strings.size > MAX_NAMES_BYTES or section.size > MAX_SYMBOLS_BYTES:
        return {}
    names = elf.contents(strings, MAX_NAMES_BYTES)
    places = {name: _places(names, name) for name in _NAMES}
    if not places[_RUNTIME]:
        return {}
    table = np.frombuffer(elf.source.read(section.offset, section.size // 24 * 24), _SYMBOL)
    defined = table[table["shndx"] != 0]
    found = {}
    for name, offsets in places.items():
        rows = np.flatnonzero(np.isin(defined["name"], np.array(offsets, np.uint32)))
        if len(rows):
            row = defined[rows[0]]
            found[name] = Symbol(int(row["value"]), int(row["size"]))
    return found


def _places(names: bytes, name: bytes) -> list[int]:
    """Where `name` stands in a string table, as a whole string or the end of one."""
    found: list[int] = []
    at = names.find(name + b"\0")
    while at >= 0 and len(found) < MAX_PLACES:
        found.append(at)
        at = names.find(name + b"\0", at + 1)
    return found
