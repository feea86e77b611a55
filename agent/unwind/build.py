"""Builds the unwind table of one executable or library."""

import ctypes
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Protocol

import numpy as np

from agent.symbolize.elf import (
    EM_AARCH64,
    EM_X86_64,
    PF_X,
    PT_LOAD,
    SHT_NOBITS,
    ElfError,
    ElfFile,
)
from agent.unwind.cfi import CfiRows
from agent.unwind.cfi_library import LibraryRows, load_library
from agent.unwind.layout import (
    ARM64,
    HEADER,
    LINE_BYTES,
    MAGIC,
    MAX_PAGES,
    PAGE_BITS,
    PAGE_BYTES,
    ROWS_PER_LINE,
    X86_64,
    Fdes,
    Rows,
    Rules,
    TooMuchWork,
)
from agent.unwind.pages import PagePacker
from fleetprof.errors import UnavailableError

MAX_SECTION_BYTES = 256 << 20
_MACHINES = {EM_X86_64: X86_64, EM_AARCH64: ARM64}
_PT_GNU_EH_FRAME = 0x6474E550
_END_OF_MEMORY = 1 << 63
"""Of programs: the other half is the kernel's."""


class RowSource(Protocol):
    """The builder of rows: agent.unwind.cfi.CfiRows, or agent.unwind.cfi_library.LibraryRows in C."""

    def index(self) -> Fdes:
        """The FDEs in the section's order."""
        ...

    def rows(self, fdes: Fdes, base: int, code_end: int) -> Iterator[Rows]:
        """Rows of FDEs sorted by start, batch by batch."""
        ...

    @property
    def end(self) -> int:
        """Where the code covered so far ends."""
        ...

    @property
    def rules(self) -> Rules:
        """The rules so far, by number."""
        ...

    @property
    def skipped(self) -> int:
        """FDEs that could not be understood."""
        ...


class FrameSection:
    """What a table is made of: the section's bytes, its address, and the bounds of the code it speaks of."""

    def __init__(self, elf: ElfFile) -> None:
        """Raises ElfError where there is no call frame information for this kind of CPU."""
        if not elf.is_64 or elf.machine not in _MACHINES:
            raise ElfError("no 64-bit code of a kind of CPU that is unwound")
        self.machine = _MACHINES[elf.machine]
        code = [s for s in elf.segments if s.type == PT_LOAD and s.flags & PF_X and s.memory_size]
        if not code:
            raise ElfError("no code")
        self.base = min(segment.vaddr for segment in code) & ~(PAGE_BYTES - 1)
        self.code_end = max(segment.vaddr + segment.memory_size for segment in code)
        if self.code_end - self.base >= MAX_PAGES << PAGE_BITS:
            raise ElfError("more code than a table can tell of")
        self.vaddr, offset, size = _eh_frame(elf)
        if not 0 <= self.vaddr < _END_OF_MEMORY or self.code_end > _END_OF_MEMORY:
            raise ElfError("code outside of all memory")
        if size > MAX_SECTION_BYTES:
            raise ElfError(f".eh_frame is larger than {MAX_SECTION_BYTES} bytes")
        self.data = elf.source.read(offset, size)


def _eh_frame(elf: ElfFile) -> tuple[int, int, int]:
    """(address, file offset, size) of .eh_frame: by section, else as .eh_frame_hdr points to it."""
    section = elf.section(".eh_frame")
    if section and section.type != SHT_NOBITS and section.size:
        return section.vaddr, section.offset, section.size
    header = next((s for s in elf.segments if s.type == _PT_GNU_EH_FRAME), None)
    if header is None:
        raise ElfError("no call frame information")
    first = elf.source.read(header.offset, 8)
    if first[0] != 1 or first[1] != 0x1B:  # DW_EH_PE_pcrel | DW_EH_PE_sdata4, as all linkers write it
        raise ElfError("an .eh_frame_hdr of an unknown form")
    vaddr = header.vaddr + 4 + int.from_bytes(first[4:8], "little", signed=True)
    for segment in elf.segments:
        if segment.type == PT_LOAD and segment.vaddr <= vaddr < segment.vaddr + segment.file_size:
            inside = vaddr - segment.vaddr
            return vaddr, segment.offset + inside, segment.file_size - inside
    raise ElfError("an .eh_frame_hdr that points outside the file")


_library: list[ctypes.CDLL | None] = []


def row_source(section: FrameSection) -> RowSource:
    """The builder in C where it can be used, else the one in Python."""
    if not _library:
        try:
            _library.append(load_library())
        except UnavailableError:
            _library.append(None)
    if _library[0] is None:
        return CfiRows(section.data, section.vaddr, section.machine)
    return LibraryRows(_library[0], section.data, section.vaddr, section.machine)


def write_table(section: FrameSection, source: RowSource, out: BinaryIO) -> int:
    """Write the table of `section` to `out`, a file at its start; returns its size in bytes.

    Raises ElfError where the section holds no FDE, or nothing that could be believed.
    """
    fdes = source.index()
    if not len(fdes):
        raise ElfError("no call frame information")
    fdes = fdes[np.argsort(fdes["start"], kind="stable")]
    out.write(bytes(LINE_BYTES))
    packer, checksum = PagePacker(), 0
    try:
        for batch in source.rows(fdes, section.base, section.code_end):
            checksum = _write(out, packer.add(batch), checksum)
    except TooMuchWork:
        raise ElfError("call frame information without end") from None
    pages = -(-(section.code_end - section.base) // PAGE_BYTES)
    checksum = _write(out, packer.finish(pages, max(source.end, section.base) - section.base), checksum)
    directory = packer.directory + 1  # after the header
    header = np.zeros(1, HEADER)
    header["magic"], header["machine"], header["base"] = MAGIC, section.machine, section.base
    header["pages"], header["skipped"] = pages, source.skipped
    header["directory_line"] = out.tell() // LINE_BYTES
    checksum = _write(out, _lines(directory.astype(np.uint32).view(np.uint8)), checksum)
    header["rules_line"], header["rules"] = out.tell() // LINE_BYTES, len(source.rules)
    checksum = _write(out, _lines(source.rules.view(np.uint8)), checksum)
    size = out.tell()
    header["lines"], header["checksum"] = size // LINE_BYTES, checksum
    out.seek(0)
    out.write(header.tobytes())
    return size


def _write(out: BinaryIO, data: np.ndarray, checksum: int) -> int:
    content = data.tobytes()
    out.write(content)
    return zlib.crc32(content, checksum)


def _lines(data: np.ndarray) -> np.ndarray:
    """Bytes filled up to whole lines."""
    return np.pad(data, (0, -len(data) % LINE_BYTES))


assert HEADER.itemsize == LINE_BYTES == 4 * ROWS_PER_LINE
