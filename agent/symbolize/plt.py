"""Names for PLT entries: the small jumps through which a library calls another's functions.

They have no symbols. Each entry jumps through a slot of the GOT, and the relocation of that slot names the
function, so an entry is shown as `name@plt`; where the C library chooses one of several versions when a program
starts (memcpy and its like, in static programs too), the relocation gives the address of the function that chooses.
x86-64 only: `jmp *disp32(%rip)` is ff 25, after an optional endbr64 and an optional bnd prefix.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from agent.samples import U64
from agent.symbolize.elf import EM_X86_64, SHT_DYNSYM, SHT_RELA, ByteSource, ElfError, ElfFile, Section
from agent.symbolize.intervals import Intervals
from agent.symbolize.object_symbols import Name, NamedTable
from agent.symbolize.symbol_table import Structured, SymbolTable
from fleetprof.demangle import shorten

MAX_PLT_BYTES = 4 << 20
MAX_RELOCATIONS_BYTES = 8 << 20
"""libLLVM's .rela.dyn has 8 MB: entries of .plt.got are not worth that; .rela.plt is always small."""
_RELOCATION = np.dtype([("slot", "<u8"), ("type", "<u4"), ("symbol", "<u4"), ("addend", "<i8")])
_NAMED_TYPES = (6, 7)  # R_X86_64_GLOB_DAT, R_X86_64_JUMP_SLOT
_CHOSEN_TYPE = 37  # R_X86_64_IRELATIVE
_SYMBOL_BYTES = 24


def plt_tables(elf: ElfFile, functions: NamedTable | None) -> Iterator[NamedTable]:
    """PLT entries of a 64-bit x86 file: those with a name of their own, and those that `functions` name.

    Raises ElfError.
    """
    if elf.machine != EM_X86_64 or not elf.is_64:
        return
    entries = [_entries(elf, s) for s in elf.sections if s.name in (".plt", ".plt.sec", ".plt.got")]
    relocations = _relocations(elf)
    if not entries or not len(relocations):
        return
    whole = _Entries(*(np.concatenate(part) for part in zip(*entries, strict=True)))
    if chosen := _chosen(functions, whole, relocations):
        yield chosen  # first: damaged dynamic symbols void only the others
    if named := _named(elf, whole, relocations):
        yield named


def _named(elf: ElfFile, entries: "_Entries", relocations: Structured) -> NamedTable | None:
    """Entries whose slot has a dynamic symbol."""
    symbols = next((section for section in elf.sections if section.type == SHT_DYNSYM), None)
    if symbols is None or symbols.link >= len(elf.sections):
        return None
    table = _table(entries, *_named_slots(elf, symbols, relocations))
    strings = elf.sections[symbols.link]
    return NamedTable(table, strings.offset, strings.size, suffix="@plt") if table else None


def _chosen(functions: NamedTable | None, entries: "_Entries", relocations: Structured) -> NamedTable | None:
    """Entries of functions that are chosen when a program starts, by who chooses, whom `functions` name."""
    if functions is None:
        return None
    found = relocations[(relocations["type"] == _CHOSEN_TYPE) & (relocations["addend"] > 0)]
    places = functions.table.intervals.find(found["addend"].astype(np.uint64))
    table = _table(entries, found["slot"][places >= 0], places[places >= 0].astype(np.uint64))
    if table is None:
        return None
    return _ChosenPlt(table, functions.offset, functions.size, functions.source, functions=functions)


@dataclass(frozen=True, slots=True)
class _ChosenPlt(NamedTable):
    """`table.names` are places in `functions`."""

    functions: NamedTable | None = None

    def name(self, index: int, own: ByteSource) -> Name | None:
        """That of the function that chooses, which is the one by which the chosen one is known."""
        assert self.functions
        found = self.functions.name(int(self.table.names[index]), own)
        return found._replace(function=shorten(found.function + "@plt")) if found else None


class _Entries(NamedTuple):
    """PLT entries: where each is, and the GOT slot it jumps through."""

    starts: U64
    sizes: U64
    targets: U64


def _table(entries: _Entries, slots: U64, names: U64) -> SymbolTable | None:
    """The entries that jump through one of `slots`, which are sorted, each with the slot's name."""
    if not len(slots):
        return None
    starts, sizes, targets = entries
    at = np.minimum(np.searchsorted(slots, targets), len(slots) - 1)
    known = slots[at] == targets
    order = np.argsort(starts[known], kind="stable")
    starts, sizes, names = starts[known][order], sizes[known][order], names[at[known]][order]
    digest = hashlib.blake2b(starts.tobytes() + names.tobytes(), digest_size=16).digest()
    exported = np.ones(len(starts), np.uint8)
    return SymbolTable(Intervals.of_sorted(starts, starts + sizes), names.astype(np.uint32), exported, digest)


def _entries(elf: ElfFile, section: Section) -> _Entries:
    """Those of one PLT section."""
    if section.vaddr + section.size >= 1 << 62:
        raise ElfError("a PLT outside the address space")
    code = np.frombuffer(elf.contents(section, MAX_PLT_BYTES), np.uint8)
    jumps = np.flatnonzero((code[:-5] == 0xFF) & (code[1:-4] == 0x25)) if len(code) > 5 else np.empty(0, int)
    # Static programs do not say how large an entry is.
    size = 8 if 8 in (section.entry_size, section.size / max(len(jumps), 1)) else 16
    start = jumps // size * size
    jumps = jumps[(jumps - start <= 5) & (jumps + 6 <= start + size)]
    start = jumps // size * size
    bytes_4 = code[jumps[:, None] + np.arange(2, 6)] if len(jumps) else np.empty((0, 4), np.uint8)
    displacement = np.ascontiguousarray(bytes_4).view("<i4").reshape(-1).astype(np.int64)
    targets = (section.vaddr + jumps + 6 + displacement).astype(np.uint64)
    starts = (section.vaddr + start).astype(np.uint64)
    return _Entries(starts, np.full(len(starts), size, np.uint64), targets)


def _named_slots(elf: ElfFile, symbols: Section, relocations: Structured) -> tuple[U64, U64]:
    """GOT slots with a named relocation, sorted, and the offset of each name in the dynamic string table."""
    table = np.frombuffer(_whole_symbols(elf, symbols), np.dtype([("name", "<u4"), ("rest", "V20")]))
    is_named = np.isin(relocations["type"], _NAMED_TYPES) & (relocations["symbol"] < len(table))
    found = relocations[is_named]
    return found["slot"].astype(np.uint64), table["name"][found["symbol"]].astype(np.uint64)


def _relocations(elf: ElfFile) -> Structured:
    """Those of GOT slots, sorted by slot."""
    wanted = (".rela.plt", ".rela.dyn") if elf.section(".plt.got") else (".rela.plt",)
    parts = [
        np.frombuffer(raw[: len(raw) // 24 * 24], _RELOCATION)
        for section in elf.sections
        if section.type == SHT_RELA and section.name in wanted and section.size <= MAX_RELOCATIONS_BYTES
        for raw in [elf.contents(section, MAX_RELOCATIONS_BYTES)]
    ]
    found = np.concatenate(parts) if parts else np.empty(0, _RELOCATION)
    return found[np.argsort(found["slot"], kind="stable")]


def _whole_symbols(elf: ElfFile, symbols: Section) -> bytes:
    raw = elf.contents(symbols, MAX_RELOCATIONS_BYTES)
    return raw[: len(raw) // _SYMBOL_BYTES * _SYMBOL_BYTES]
