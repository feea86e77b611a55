"""The functions of one ELF symbol table as numpy arrays; names stay in the file until somebody asks.

A table of 100,000 functions takes 2 MB here; Python strings exist only for functions that were sampled.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agent.samples import U8, U32, U64
from agent.symbolize.elf import ElfError, ElfFile, Section
from agent.symbolize.intervals import Intervals

MAX_SYMBOLS_BYTES = 128 << 20
"""Of raw symbol table: 5.6 million symbols, five times those of a browser."""
CHUNK_SYMBOLS = 1 << 16
MAX_ALIASES = 16

_STT_FUNC, _STT_GNU_IFUNC = 2, 10
_STB_LOCAL = 0
_SYMBOL_64 = np.dtype(
    [("name", "<u4"), ("info", "u1"), ("other", "u1"), ("shndx", "<u2"), ("value", "<u8"), ("size", "<u8")]
)
_SYMBOL_32 = np.dtype(
    [("name", "<u4"), ("value", "<u4"), ("size", "<u4"), ("info", "u1"), ("other", "u1"), ("shndx", "<u2")]
)

Structured = npt.NDArray[np.void]


class TooManySymbols(Exception):
    """The symbol table is larger than the agent may load."""


@dataclass(frozen=True, slots=True)
class SymbolTable:
    """Functions sorted by address; `names` are offsets into the string table that belongs to it.

    Aliases (several names for one address) are neighbours; exported ones come last.
    """

    intervals: Intervals
    names: U32
    exported: U8
    digest: bytes
    """Of the raw table: equal tables (the same library in a hundred containers) are kept once."""

    @property
    def nbytes(self) -> int:
        """Memory of the arrays."""
        return self.intervals.nbytes + self.names.nbytes + self.exported.nbytes

    def aliases(self, index: int) -> list[int]:
        """Indices of the equally good names of function `index`, at most MAX_ALIASES."""
        starts = self.intervals.starts
        last = int(np.searchsorted(starts, starts[index], side="right")) - 1
        first = max(last - MAX_ALIASES + 1, int(np.searchsorted(starts, starts[index], side="left")))
        best = self.exported[last]
        return [position for position in range(first, last + 1) if self.exported[position] == best]


def load_symbol_table(elf: ElfFile, section: Section, memory_limit_bytes: int) -> SymbolTable:
    """The functions of a SHT_SYMTAB or SHT_DYNSYM section.

    Raises ElfError for an unreadable table, TooManySymbols for one that does not fit.
    """
    digest = hashlib.blake2b(digest_size=16)
    kept: list[Structured] = []
    total = 0
    for raw in _chunks(elf, section):
        digest.update(raw)
        functions = _functions(np.frombuffer(raw, _SYMBOL_64 if elf.is_64 else _SYMBOL_32))
        total += len(functions)
        if total * 32 > memory_limit_bytes:
            raise TooManySymbols(f"{total} functions do not fit into {memory_limit_bytes} bytes")
        kept.append(functions)
    ends = np.array([s.vaddr + min(s.size, 1 << 48) & (1 << 64) - 1 for s in elf.sections], np.uint64)
    digest.update(ends.tobytes())
    symbols = np.concatenate(kept) if kept else np.empty(0, _SYMBOL_64)
    return _table(symbols, ends, digest.digest())


def _chunks(elf: ElfFile, section: Section) -> Iterator[bytes]:
    entry = (_SYMBOL_64 if elf.is_64 else _SYMBOL_32).itemsize
    if section.entry_size != entry:
        raise ElfError(f"symbols of {section.entry_size} bytes instead of {entry}")
    if section.size > MAX_SYMBOLS_BYTES:
        raise TooManySymbols(f"a symbol table of {section.size} bytes")
    if section.offset + section.size > elf.source.size:
        raise ElfError("the symbol table ends outside the file")
    step = CHUNK_SYMBOLS * entry
    for start in range(0, section.size // entry * entry, step):
        yield elf.source.read(section.offset + start, min(step, section.size // entry * entry - start))


def _functions(symbols: Structured) -> Structured:
    kind = symbols["info"] & 15
    wanted = ((kind == _STT_FUNC) | (kind == _STT_GNU_IFUNC)) & (symbols["shndx"] != 0)
    found: Structured = symbols[wanted & (symbols["value"] != 0) & (symbols["name"] != 0)]
    return found


def _table(symbols: Structured, section_ends: U64, digest: bytes) -> SymbolTable:
    exported = (symbols["info"] >> 4 != _STB_LOCAL).astype(np.uint8)
    order = np.lexsort((symbols["name"], exported, symbols["value"]))
    symbols, exported = symbols[order], exported[order]
    starts = symbols["value"].astype(np.uint64)
    ends = _ends(starts, symbols["size"].astype(np.uint64), symbols["shndx"], section_ends)
    return SymbolTable(Intervals.of_sorted(starts, ends), symbols["name"].astype(np.uint32), exported, digest)


def _ends(starts: U64, sizes: U64, sections: npt.NDArray[np.uint16], section_ends: U64) -> U64:
    """start + size; a function without a size (assembly) reaches to the next one, or its section's end."""
    highest = np.uint64(2**64 - 1)
    ends: U64 = starts + np.minimum(sizes, highest - starts)
    unsized = np.flatnonzero(sizes == 0)
    if not len(unsized):
        return ends
    following = np.searchsorted(starts, starts[unsized], side="right")
    limits = np.append(starts, highest)[following]
    section = sections[unsized].astype(np.int64)
    known = section < len(section_ends)
    limits[known] = np.minimum(limits[known], section_ends[section[known]])
    limits[~known] = starts[unsized][~known]
    ends[unsized] = np.maximum(limits, starts[unsized])
    return ends
