"""Names that an ELF file defines for others, and what lies at an address of it: enough to find a run time's own
data in its executable or library, without reading all symbols."""

from typing import NamedTuple

import numpy as np

from agent.symbolize.elf import PF_X, PT_LOAD, SHT_DYNSYM, SHT_NOBITS, SHT_SYMTAB, ElfFile, Section

MAX_NAMES_BYTES = 8 << 20
MAX_SYMBOLS_BYTES = 8 << 20
MAX_PLACES = 16
"""Most places of a name in a string table that are looked at: as the end of a longer name, too."""

_SYMBOL = np.dtype(
    [("name", "<u4"), ("info", "u1"), ("other", "u1"), ("shndx", "<u2"), ("value", "<u8"), ("size", "<u8")]
)


class Symbol(NamedTuple):
    """Address in the file, and bytes."""

    vaddr: int
    size: int


class CodeSpan(NamedTuple):
    """Code of the file: bytes [offset, offset + size) lie at `vaddr`."""

    offset: int
    size: int
    vaddr: int


def code_spans(elf: ElfFile) -> tuple[CodeSpan, ...]:
    """The parts of a file that are mapped to be executed."""
    return tuple(
        CodeSpan(s.offset, s.file_size, s.vaddr) for s in elf.segments if s.type == PT_LOAD and s.flags & PF_X
    )


def bias_of(spans: tuple[CodeSpan, ...], start_addr: int, file_offset: int) -> int | None:
    """What to add to addresses in the file for addresses in a mapping; None for one that holds no code."""
    for span in spans:
        if span.offset - 4096 < file_offset < span.offset + span.size:
            return start_addr - (file_offset - span.offset + span.vaddr)
    return None


def bytes_at(elf: ElfFile, vaddr: int, size: int) -> bytes:
    """What the file has at an address; b"" where it has less than `size` bytes there."""
    for segment in elf.segments:
        inside = vaddr - segment.vaddr
        if segment.type == PT_LOAD and inside >= 0 and inside + size <= segment.file_size:
            return elf.source.read(segment.offset + inside, size)
    return b""


def defined_symbols(elf: ElfFile, names: tuple[bytes, ...]) -> dict[bytes, Symbol]:
    """Those of `names` that the file defines, among its exported symbols if the first name is there, else among
    all; none if it is nowhere. Raises ElfError."""
    for kind in (SHT_DYNSYM, SHT_SYMTAB):
        section = next((s for s in elf.sections if s.type == kind), None)
        found = _in_table(elf, section, names) if section else {}
        if names[0] in found:
            return found
    return {}


def _in_table(elf: ElfFile, section: Section, wanted: tuple[bytes, ...]) -> dict[bytes, Symbol]:
    if section.link >= len(elf.sections) or section.entry_size != _SYMBOL.itemsize:
        return {}
    strings = elf.sections[section.link]
    if strings.type == SHT_NOBITS or strings.size > MAX_NAMES_BYTES or section.size > MAX_SYMBOLS_BYTES:
        return {}
    names = elf.contents(strings, MAX_NAMES_BYTES)
    places = {name: _places(names, name) for name in wanted}
    if not places[wanted[0]]:
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
