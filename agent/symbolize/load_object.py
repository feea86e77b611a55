"""Read an executable or library once: which tables does it have, and which of them name its functions?

In order of trust: Go's function table, which knows files and lines; its own .symtab, else that of its separate
debug file; the MiniDebugInfo that Fedora's packages carry (.gnu_debugdata); .dynsym; PLT entries.
"""

import contextlib
import lzma
from collections.abc import Callable, Iterator

from agent.symbolize.build_id import build_id_of
from agent.symbolize.debug_files import DebugFile, find_debug_file
from agent.symbolize.elf import (
    SHT_DYNSYM,
    SHT_NOBITS,
    SHT_SYMTAB,
    ByteSource,
    ElfError,
    ElfFile,
    MemoryBytes,
    Section,
)
from agent.symbolize.go_pclntab import go_table
from agent.symbolize.go_places import is_go
from agent.symbolize.object_symbols import NamedTable, ObjectSymbols, Segments
from agent.symbolize.plt import plt_tables
from agent.symbolize.symbol_table import TooManySymbols, load_symbol_table
from fleetprof.frames import FrameKind
from fleetprof.losses import DropReason

MAX_MINIDEBUG_BYTES = 8 << 20
MAX_MINIDEBUG_UNPACKED_BYTES = 16 << 20
MAX_LZMA_BYTES = 64 << 20


def load_object(
    source: ByteSource, path: str, roots: tuple[str, ...], memory_limit_bytes: int
) -> ObjectSymbols:
    """The symbols of a file that a process maps as `path`; never raises because of what the file holds.

    `roots`: where debug files are looked for. `loss` is set when tables that are there could not be read.
    """
    symbols = ObjectSymbols()
    try:
        elf = ElfFile(source)
        symbols.build_id = build_id_of(elf)
        if not elf.runs_here:
            raise ElfError("built for another kind of CPU")
        symbols.segments = Segments.of(elf)
        symbols.kind = FrameKind.GO if is_go(elf) else FrameKind.NATIVE
        symbols.tables = tuple(_tables(elf, path, roots, memory_limit_bytes))
    except ElfError:
        symbols.loss = DropReason.OBJECT_UNREADABLE
    except TooManySymbols:
        symbols.loss = DropReason.SYMBOL_LIMIT
    return symbols


def _tables(elf: ElfFile, path: str, roots: tuple[str, ...], limit: int) -> Iterator[NamedTable]:
    if is_go(elf):
        yield from _optional(lambda: go_table(elf, limit))
    full = _table_of(elf, SHT_SYMTAB, None, limit)
    if full is None:
        debug = find_debug_file(elf, path, roots)
        full = _debug_table(debug, limit) if debug else None
    if full:
        yield full
    else:
        yield from _optional(lambda: _mini_debug_table(elf, limit))
    dynamic = _table_of(elf, SHT_DYNSYM, None, limit)
    if dynamic:
        yield dynamic
    with contextlib.suppress(ElfError):
        yield from plt_tables(elf, full or dynamic)


def _optional(load: Callable[[], NamedTable | None]) -> Iterator[NamedTable]:
    """A table that does good where it can be read, and whose damage does not void the others."""
    with contextlib.suppress(ElfError):
        table = load()
        if table:
            yield table


def _table_of(elf: ElfFile, kind: int, source: ByteSource | None, limit: int) -> NamedTable | None:
    section = next((s for s in elf.sections if s.type == kind and s.size), None)
    if section is None:
        return None
    strings = _strings(elf, section)
    return NamedTable(load_symbol_table(elf, section, limit), strings.offset, strings.size, source)


def _strings(elf: ElfFile, section: Section) -> Section:
    if section.link >= len(elf.sections):
        raise ElfError("a symbol table without its string table")
    strings = elf.sections[section.link]
    if strings.type == SHT_NOBITS or strings.offset + strings.size > elf.source.size:
        raise ElfError("a string table outside the file")
    return strings


def _debug_table(debug: DebugFile, limit: int) -> NamedTable | None:
    try:
        table = _table_of(ElfFile(debug), SHT_SYMTAB, debug, limit)
    except ElfError:
        table = None
    if table is None:
        debug.close()
    return table


def _mini_debug_table(elf: ElfFile, limit: int) -> NamedTable | None:
    section = elf.section(".gnu_debugdata")
    if section is None:
        return None
    packed = elf.contents(section, MAX_MINIDEBUG_BYTES)
    unpack = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_LZMA_BYTES)
    try:
        image = unpack.decompress(packed, max_length=MAX_MINIDEBUG_UNPACKED_BYTES)
    except lzma.LZMAError as error:
        raise ElfError(f"damaged .gnu_debugdata: {error}") from error
    inner = ElfFile(MemoryBytes(image))
    section = next((s for s in inner.sections if s.type == SHT_SYMTAB and s.size), None)
    if section is None:
        return None
    strings = _strings(inner, section)
    names = MemoryBytes(inner.contents(strings, MAX_MINIDEBUG_UNPACKED_BYTES))
    return NamedTable(load_symbol_table(inner, section, limit), 0, names.size, names)
