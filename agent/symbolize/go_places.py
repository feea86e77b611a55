"""Where a Go binary keeps its function table, and what the table's entries count from.

The section .gopclntab is there in most files. C's linker puts the table of a position independent file into the
middle of .data.rel.ro, and a file can have no section headers at all: there it is found by its first bytes.
"""

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np

from agent.samples import U64
from agent.symbolize.elf import PF_X, PT_LOAD, SHT_NOBITS, ElfFile, Section
from agent.symbolize.relocations import Relocated

MAX_SEARCHED_BYTES = 64 << 20
"""Of a section or segment."""
_CHUNK_BYTES = 1 << 20
_MAX_CANDIDATES = 4
_ALIGNMENT = 16
_MODULE_WORDS = 48
"""Of runtime.moduledata so many are looked at; minpc and maxpc are words 20 and 21 in Go 1.16 to 1.27."""
_TEXT_SLACK_BYTES = 4096
_DATA_SECTIONS = (".go.module", ".noptrdata", ".data", ".data.rel.ro")


class Place(NamedTuple):
    """Bytes of the file, and where they are meant to be in memory (0 where that is not known)."""

    offset: int
    size: int
    vaddr: int


def go_section(elf: ElfFile) -> Section | None:
    """The section of Go's function table, where it has one of its own."""
    found = elf.section(".gopclntab") or elf.section(".data.rel.ro.gopclntab")
    return found if found and found.type != SHT_NOBITS else None


def is_go(elf: ElfFile) -> bool:
    """Whether the Go linker made this file."""
    named = (".go.buildinfo", ".note.go.buildid", ".gopclntab", ".data.rel.ro.gopclntab")
    return any(elf.section(name) for name in named) or any(owner == b"Go" for owner, _, _ in elf.notes())


def find_places(elf: ElfFile, magics: list[int]) -> Iterator[Place]:
    """Where the table may be, best first: its section, else where one of `magics` stands. Raises ElfError."""
    section = go_section(elf)
    if section is not None:
        yield Place(section.offset, section.size, section.vaddr)
    elif is_go(elf):
        yield from islice(_search(elf, magics), _MAX_CANDIDATES)


def _search(elf: ElfFile, magics: list[int]) -> Iterator[Place]:
    for region in _data_regions(elf):
        for begin, chunk in _chunks(elf, region):
            first_words = np.frombuffer(chunk[: len(chunk) // _ALIGNMENT * _ALIGNMENT], "<u4")[
                :: _ALIGNMENT // 4
            ]
            for hit in np.flatnonzero(np.isin(first_words, magics)).tolist():
                at = begin + hit * _ALIGNMENT
                yield Place(region.offset + at, region.size - at, region.vaddr + at)


def _chunks(elf: ElfFile, region: Place) -> Iterator[tuple[int, bytes]]:
    """(where in the region, bytes) of the first MAX_SEARCHED_BYTES."""
    size = min(region.size, MAX_SEARCHED_BYTES)
    for begin in range(0, size, _CHUNK_BYTES):
        yield begin, elf.source.read(region.offset + begin, min(_CHUNK_BYTES, size - begin))


def _data_regions(elf: ElfFile) -> Iterator[Place]:
    """Parts of the file that hold data the program reads: sections, or segments where there are none."""
    section = elf.section(".data.rel.ro")
    if section is not None and section.type != SHT_NOBITS:
        yield Place(section.offset, section.size, section.vaddr)
    elif not elf.sections:
        for segment in elf.segments:
            if segment.type == PT_LOAD and not segment.flags & PF_X:
                yield Place(segment.offset, segment.file_size, segment.vaddr)


def text_base(elf: ElfFile, place: Place, word: int, text_start: int, entries: U64) -> int | None:
    """The address that the table's entries count from; None where nothing tells it.

    `text_start` is what the table says of it: 0 from newer linkers and in position independent files. Then the
    runtime's moduledata has it, a structure that points to the table. Else it is the start of .text, but only where
    Go's functions fill that section: with C code before them, every name would be wrong.
    """
    if text_start:
        return text_start if text_start < 1 << 47 else None
    base = _base_of_module(elf, place, entries) if word == 8 and place.vaddr else None
    if base is not None:
        return base
    text, span = elf.section(".text"), int(entries[-1])
    if text is None or text.vaddr >= 1 << 47 or not 0 <= text.size - span <= _TEXT_SLACK_BYTES:
        return None
    return text.vaddr


def _base_of_module(elf: ElfFile, place: Place, entries: U64) -> int | None:
    """From moduledata: it points to the table, and minpc and maxpc a few words on must fit the entries."""
    relocated = Relocated(elf)
    span = entries[-1] - entries[0]
    for vaddr in islice(_pointers(elf, relocated, place.vaddr), _MAX_CANDIDATES):
        offset = elf.offset_of(vaddr)
        if offset is None or offset + 8 * _MODULE_WORDS > elf.source.size:
            continue
        words = relocated.read(offset, 8 * _MODULE_WORDS, 8)
        fits = np.flatnonzero((words[1:] - words[:-1] == span) & (words[:-1] >= entries[0]))
        if span and len(fits) and int(words[fits[0]]) < 1 << 47:
            return int(words[fits[0]] - entries[0])
    return None


def _pointers(elf: ElfFile, relocated: Relocated, vaddr: int) -> Iterator[int]:
    """Addresses of words in the data that point to `vaddr`."""
    for name in _DATA_SECTIONS:
        section = elf.section(name)
        if section is None or section.type == SHT_NOBITS:
            continue
        for begin, chunk in _chunks(elf, Place(section.offset, section.size, section.vaddr)):
            words = np.frombuffer(chunk[: len(chunk) // 8 * 8], "<u8")
            yield from (section.vaddr + begin + 8 * hit for hit in np.flatnonzero(words == vaddr).tolist())
    yield from relocated.pointing_to(vaddr, _MAX_CANDIDATES)
