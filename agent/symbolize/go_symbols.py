"""Function names of Go binaries from .gopclntab: Go's runtime needs that table, so it survives stripping.

Format: https://go.dev/src/debug/gosym/pclntab.go, of Go 1.18 and newer.
"""

import hashlib
import struct

import numpy as np

from agent.samples import U32
from agent.symbolize.elf import ElfError, ElfFile, Section
from agent.symbolize.intervals import Intervals
from agent.symbolize.object_symbols import NamedTable
from agent.symbolize.symbol_table import SymbolTable, TooManySymbols

MAX_TABLE_BYTES = 96 << 20
_MAGIC_1_18, _MAGIC_1_20 = 0xFFFFFFF0, 0xFFFFFFF1
_TEXT_SLACK_BYTES = 4096


def go_table_section(elf: ElfFile) -> Section | None:
    """The section of Go's function table; None when this is not a Go binary."""
    return elf.section(".gopclntab") or elf.section(".data.rel.ro.gopclntab")


def is_go(elf: ElfFile) -> bool:
    """Whether the Go linker made this file."""
    return any(elf.section(name) for name in (".go.buildinfo", ".note.go.buildid")) or bool(
        go_table_section(elf)
    )


def go_table(elf: ElfFile, memory_limit_bytes: int) -> NamedTable | None:
    """Functions of a Go binary; None for tables of another form. Raises ElfError and TooManySymbols."""
    section = go_table_section(elf)
    if section is None:
        return None
    if section.size > MAX_TABLE_BYTES:
        raise TooManySymbols(f"a Go function table of {section.size} bytes")
    raw = elf.contents(section, MAX_TABLE_BYTES)
    if len(raw) < 72 or struct.unpack_from("<I", raw)[0] not in (_MAGIC_1_18, _MAGIC_1_20) or raw[7] != 8:
        return None
    count, _, text_start, names_at, _, _, _, functions_at = struct.unpack_from("<8Q", raw, 8)
    if count * 32 > memory_limit_bytes:
        raise TooManySymbols(f"{count} Go functions")
    if not count or functions_at + (2 * count + 1) * 4 > len(raw) or names_at >= len(raw):
        raise ElfError("a Go function table that ends outside its section")
    table = np.frombuffer(raw, "<u4", 2 * count + 1, functions_at)
    entries, records = table[0::2].astype(np.uint64), table[1::2].astype(np.int64)
    base = _text_base(elf, text_start, int(entries[-1]))
    if base is None or bool((np.diff(entries.astype(np.int64)) < 0).any()):
        return None
    names = _name_offsets(raw, functions_at + records + 4)
    starts = entries[:-1] + np.uint64(base)
    intervals = Intervals.of_sorted(starts, entries[1:] + np.uint64(base))
    digest = hashlib.blake2b(raw[:72] + table.tobytes() + names.tobytes(), digest_size=16).digest()
    symbols = SymbolTable(intervals, names, np.ones(count, np.uint8), digest)
    return NamedTable(symbols, section.offset + names_at, section.size - names_at)


def _name_offsets(raw: bytes, at: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> U32:
    if len(at) and (int(at.min()) < 0 or int(at.max()) + 4 > len(raw)):
        raise ElfError("a Go function record outside its section")
    data = np.frombuffer(raw, np.uint8)
    return np.ascontiguousarray(data[at[:, None] + np.arange(4)]).view("<u4").reshape(-1)


def _text_base(elf: ElfFile, text_start: int, span: int) -> int | None:
    """The address that entries count from.

    Newer linkers and position independent files leave the field 0. Then it is the start of .text, but only
    where Go's functions fill that section: with C code before them, every name would be wrong.
    """
    text = elf.section(".text")
    if text_start:
        return text_start if text_start < 1 << 47 else None
    if text is None or text.vaddr >= 1 << 47 or not 0 <= text.size - span <= _TEXT_SLACK_BYTES:
        return None
    return text.vaddr
