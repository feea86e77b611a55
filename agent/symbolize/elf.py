"""The parts of an ELF file that symbolization needs: headers, sections, notes. Every byte of it is untrusted.

All reads go through a `ByteSource` with explicit offsets and sizes (pread, never mmap: a file that is
truncated under a mapping would kill the agent with SIGBUS). A field that points outside the file raises
ElfError. Format: System V ABI, https://refspecs.linuxfoundation.org/elf/gabi4+/contents.html; both classes,
little-endian.
"""

import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

MAX_PROGRAM_HEADERS = 512
MAX_SECTIONS = 16_384
MAX_SECTION_NAMES_BYTES = 1 << 20
MAX_NOTES_BYTES = 1 << 16
MAX_NOTES = 64

PT_LOAD, PT_NOTE = 1, 4
PF_X = 1
SHT_SYMTAB, SHT_RELA, SHT_NOTE, SHT_NOBITS, SHT_DYNSYM = 2, 4, 7, 8, 11
EM_386, EM_ARM, EM_X86_64, EM_AARCH64 = 3, 40, 62, 183

_HOST_MACHINES = {"x86_64": (EM_X86_64, EM_386), "aarch64": (EM_AARCH64, EM_ARM)}


class ElfError(Exception):
    """The file is not an ELF file that can be read here; the message says why."""


class ByteSource(Protocol):
    """Where an ELF image is read from."""

    size: int

    def read(self, offset: int, size: int) -> bytes:
        """Exactly `size` bytes from `offset`; raises ElfError when they are not there."""
        ...


class FileBytes:
    """An open file. The descriptor stays the caller's; this object must not outlive it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        try:
            status = os.fstat(fd)
        except OSError as error:
            raise ElfError(f"cannot stat: {error}") from error
        if not stat.S_ISREG(status.st_mode):
            raise ElfError("not a regular file")
        self.size = status.st_size

    def read(self, offset: int, size: int) -> bytes:
        """See ByteSource."""
        if offset < 0 or size < 0 or offset + size > self.size:
            raise ElfError(f"{size} bytes at {offset:#x} are outside the file")
        try:
            data = os.pread(self._fd, size, offset)
        except (OSError, OverflowError) as error:
            raise ElfError(f"cannot read: {error}") from error
        if len(data) != size:
            raise ElfError("the file was truncated")
        return data


class MemoryBytes:
    """An ELF image in memory (vdso, MiniDebugInfo)."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def read(self, offset: int, size: int) -> bytes:
        """See ByteSource."""
        if offset < 0 or size < 0 or offset + size > self.size:
            raise ElfError(f"{size} bytes at {offset:#x} are outside the image")
        return self._data[offset : offset + size]


class Segment(NamedTuple):
    """One program header."""

    type: int
    flags: int
    offset: int
    vaddr: int
    file_size: int
    memory_size: int


class Section(NamedTuple):
    """One section header; `name` is "" when it cannot be read."""

    name: str
    type: int
    flags: int
    vaddr: int
    offset: int
    size: int
    link: int
    entry_size: int


@dataclass(frozen=True, slots=True)
class _Header:
    is_64: bool
    machine: int
    program_offset: int
    program_entry: int
    program_count: int
    section_offset: int
    section_entry: int
    section_count: int
    section_names: int


class ElfFile:
    """A view of one ELF image: cheap to make (one read), the rest is read when asked for."""

    def __init__(self, source: ByteSource) -> None:
        self.source = source
        self._header = _parse_header(source)

    @property
    def is_64(self) -> bool:
        """Whether it is of class ELF64."""
        return self._header.is_64

    @property
    def machine(self) -> int:
        """e_machine."""
        return self._header.machine

    @property
    def runs_here(self) -> bool:
        """Whether this host's CPU runs this code; unknown CPUs are taken on trust."""
        return self.machine in _HOST_MACHINES.get(os.uname().machine, (self.machine,))

    @cached_property
    def segments(self) -> list[Segment]:
        """The program headers; raises ElfError."""
        header = self._header
        form = struct.Struct("<IIQQQQQQ" if header.is_64 else "<IIIIIIII")
        rows = self._table(header.program_offset, header.program_entry, header.program_count, form)
        if header.is_64:
            return [Segment(r[0], r[1], r[2], r[3], r[5], r[6]) for r in rows]
        return [Segment(r[0], r[6], r[1], r[2], r[4], r[5]) for r in rows]

    @property
    def code_segments(self) -> list[Segment]:
        """The parts that are loaded as code; raises ElfError."""
        return [s for s in self.segments if s.type == PT_LOAD and s.flags & PF_X]

    def vaddr_of(self, offset: int) -> int | None:
        """Where a byte of the file is meant to be in memory; None for one that is not loaded. Raises ElfError."""
        for s in self.segments:
            if s.type == PT_LOAD and s.offset <= offset < s.offset + s.file_size:
                return offset - s.offset + s.vaddr
        return None

    def offset_of(self, vaddr: int) -> int | None:
        """Where in the file the byte for an address is; None for one that is not from the file. Raises ElfError."""
        for s in self.segments:
            if s.type == PT_LOAD and s.vaddr <= vaddr < s.vaddr + s.file_size:
                return vaddr - s.vaddr + s.offset
        return None

    @cached_property
    def sections(self) -> list[Section]:
        """The section headers in order, an empty list when the file has none; raises ElfError."""
        header = self._header
        if not header.section_offset or not header.section_count:
            return []
        form = struct.Struct("<IIQQQQIIQQ" if header.is_64 else "<IIIIIIIIII")
        rows = self._table(header.section_offset, header.section_entry, header.section_count, form)
        names = self._section_names(rows)
        return [Section(_text_at(names, r[0]), r[1], r[2], r[3], r[4], r[5], r[6], r[9]) for r in rows]

    def section(self, name: str) -> Section | None:
        """The first section called `name`."""
        return next((section for section in self.sections if section.name == name), None)

    def contents(self, section: Section, limit_bytes: int) -> bytes:
        """The bytes of a section; raises ElfError when it has none, or more than `limit_bytes`."""
        if section.type == SHT_NOBITS:
            raise ElfError(f"section {section.name} has no contents")
        if section.size > limit_bytes:
            raise ElfError(f"section {section.name} is larger than {limit_bytes} bytes")
        return self.source.read(section.offset, section.size)

    def notes(self) -> Iterator[tuple[bytes, int, bytes]]:
        """(owner, type, description) of the notes, at most MAX_NOTES; unreadable parts are left out."""
        count = 0
        for offset, size in self._note_ranges():
            try:
                data = self.source.read(offset, min(size, MAX_NOTES_BYTES))
            except ElfError:
                continue
            for note in split_notes(data):
                yield note
                count += 1
                if count >= MAX_NOTES:
                    return

    def _note_ranges(self) -> Iterator[tuple[int, int]]:
        """Notes by program header, then by section (separate debug files keep only these)."""
        try:
            yield from ((s.offset, s.file_size) for s in self.segments if s.type == PT_NOTE)
        except ElfError:
            pass
        try:
            yield from ((s.offset, s.size) for s in self.sections if s.type == SHT_NOTE)
        except ElfError:
            pass

    def _table(self, offset: int, entry: int, count: int, form: struct.Struct) -> list[tuple[int, ...]]:
        if count and entry != form.size:
            raise ElfError(f"header entries of {entry} bytes instead of {form.size}")
        return list(form.iter_unpack(self.source.read(offset, entry * count)))

    def _section_names(self, rows: list[tuple[int, ...]]) -> bytes:
        index = self._header.section_names
        if index >= len(rows) or rows[index][1] == SHT_NOBITS:
            return b""
        return self.source.read(rows[index][4], min(rows[index][5], MAX_SECTION_NAMES_BYTES))


def _parse_header(source: ByteSource) -> _Header:
    ident = source.read(0, 16)
    if ident[:4] != b"\x7fELF":
        raise ElfError("not an ELF file")
    if ident[4] not in (1, 2) or ident[5] != 1:
        raise ElfError("neither a 32-bit nor a 64-bit little-endian ELF file")
    is_64 = ident[4] == 2
    form = struct.Struct("<HHIQQQIHHHHHH" if is_64 else "<HHIIIIIHHHHHH")
    fields = form.unpack(source.read(16, form.size))
    _, machine, _, _, phoff, shoff, _, _, phentsize, phnum, shentsize, shnum, shstrndx = fields
    if shoff and (shnum == 0 or shstrndx == 0xFFFF):
        shnum, shstrndx = _extended_counts(source, shoff, is_64, shnum, shstrndx)
    if phnum > MAX_PROGRAM_HEADERS or shnum > MAX_SECTIONS:
        raise ElfError(f"{phnum} program headers and {shnum} sections are too many")
    return _Header(is_64, machine, phoff, phentsize, phnum, shoff, shentsize, shnum, shstrndx)


def _extended_counts(source: ByteSource, shoff: int, is_64: bool, shnum: int, names: int) -> tuple[int, int]:
    """Counts too large for the header are kept in section 0 (gABI, "Sections")."""
    form = struct.Struct("<32xQI" if is_64 else "<20xII")
    try:
        size, link = form.unpack(source.read(shoff, form.size))
    except ElfError:
        return 0, 0
    return shnum or size, link if names == 0xFFFF else names


def split_notes(data: bytes) -> Iterator[tuple[bytes, int, bytes]]:
    """(owner, type, description) of the notes in a note section, up to the first that is cut."""
    position = 0
    while position + 12 <= len(data):
        owner_size, size, kind = struct.unpack_from("<III", data, position)
        owner_start = position + 12
        start = owner_start + (owner_size + 3 & ~3)
        if start + size > len(data):
            return
        yield data[owner_start : owner_start + owner_size].rstrip(b"\0"), kind, data[start : start + size]
        position = start + (size + 3 & ~3)


def _text_at(blob: bytes, offset: int) -> str:
    end = blob.find(b"\0", offset, offset + 256)
    return blob[offset:end].decode("ascii", "replace") if end > offset else ""
