"""Finds in the file of libjvm.so what a walk through Java frames needs (bpf/hotspot.h).

HotSpot tells debuggers where its structures have their fields in an exported table, `gHotSpotVMStructs`
(src/hotspot/share/runtime/vmStructs.hpp). Names and addresses of static fields stand in the file; offsets are
filled in when the VM starts, so the kernel reads those of a process from its memory, by the addresses found here.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from agent.symbolize.elf import EM_X86_64, ByteSource, ElfError, ElfFile
from agent.symbolize.exports import CodeSpan, bytes_at, code_spans, defined_symbols
from agent.symbolize.relocations import Relocated

STRUCTS = b"gHotSpotVMStructs"
FIELDS = (
    ("GrowableArrayBase", "_len"),
    ("GrowableArray<int>", "_data"),
    ("CodeHeap", "_memory"),
    ("CodeHeap", "_segmap"),
    ("CodeHeap", "_log2_segment_size"),
    ("VirtualSpace", "_low"),
    ("VirtualSpace", "_high"),
    ("StubQueue", "_stub_buffer"),
    ("StubQueue", "_buffer_limit"),
    ("CodeBlob", "_frame_size"),
)
OPTIONAL_FIELDS = (("CodeBlob", "_name"), ("nmethod", "_verified_entry_point"))
"""Together enum fp_hotspot_field of bpf/hotspot.h, in its order."""
HEAPS, INTERPRETER = ("CodeCache", "_heaps"), ("AbstractInterpreter", "_code")
ENTRY_WORDS = 6
"""VMStructEntry: type, field, type of the field (texts), whether it is static, offset, address."""
_OFFSET, _ADDRESS = 4, 5
MAX_ENTRIES = 4096
_NAME_BYTES = 64


@dataclass(frozen=True, slots=True)
class CodeHeaps:
    """Addresses in the file of libjvm.so."""

    heaps_vaddr: int
    interpreter_vaddr: int
    entries: tuple[int, ...]
    """For each of FIELDS and OPTIONAL_FIELDS, where its offset will stand; 0 where it has none."""
    code: tuple[CodeSpan, ...]


def find_code_heaps(source: ByteSource) -> CodeHeaps | None:
    """What the file of a Java VM tells; None for another file, and for a VM that lacks a field. Never raises
    because of its content."""
    try:
        elf = ElfFile(source)
        if not elf.is_64 or elf.machine != EM_X86_64:
            return None
        pointer = defined_symbols(elf, (STRUCTS,)).get(STRUCTS)
        return _from_table(elf, pointer.vaddr) if pointer else None
    except ElfError:
        return None


def _from_table(elf: ElfFile, pointer_vaddr: int) -> CodeHeaps | None:
    image = Relocated(elf)
    pointer_offset = elf.offset_of(pointer_vaddr)
    if pointer_offset is None:
        return None
    table_vaddr = int(image.read(pointer_offset, 8, 8)[0])
    entries = dict(_entries(elf, image, table_vaddr))
    if not entries.keys() >= {*FIELDS, HEAPS, INTERPRETER}:
        return None
    return CodeHeaps(
        heaps_vaddr=entries[HEAPS][1],
        interpreter_vaddr=entries[INTERPRETER][1],
        entries=tuple(entries.get(field, (0, 0))[0] for field in (*FIELDS, *OPTIONAL_FIELDS)),
        code=code_spans(elf),
    )


def _entries(
    elf: ElfFile, image: Relocated, table_vaddr: int
) -> Iterator[tuple[tuple[str, str], tuple[int, int]]]:
    """For each field of the table, where its offset stands, and its own address if it is static."""
    table_offset = elf.offset_of(table_vaddr)
    if table_offset is None:
        return
    size = min(MAX_ENTRIES * ENTRY_WORDS * 8, elf.source.size - table_offset)
    words = image.read(table_offset, size, 8)
    rows = words[: len(words) // ENTRY_WORDS * ENTRY_WORDS].reshape(-1, ENTRY_WORDS)
    ends = np.flatnonzero(rows[:, 0] == 0)
    for number, row in enumerate(rows[: ends[0] if len(ends) else len(rows)].tolist()):
        at = table_vaddr + (number * ENTRY_WORDS + _OFFSET) * 8
        yield (_text(elf, row[0]), _text(elf, row[1])), (at, row[_ADDRESS])


def _text(elf: ElfFile, vaddr: int) -> str:
    text = bytes_at(elf, vaddr, _NAME_BYTES)
    return text.split(b"\0", 1)[0].decode("ascii", "replace")


_FIELD_COUNT = len(FIELDS) + len(OPTIONAL_FIELDS)
VALUE = struct.Struct(f"<{2 + 2 * _FIELD_COUNT + 1}Q")
"""struct fp_hotspot."""


def process_value(found: CodeHeaps, bias: int) -> bytes:
    """struct fp_hotspot for a process that has the file's addresses at `bias`; its offsets are not known yet."""
    addrs = (found.heaps_vaddr, found.interpreter_vaddr, *found.entries)
    lie_at = ((addr + bias) % (1 << 64) if addr else 0 for addr in addrs)
    return VALUE.pack(*lie_at, *(0,) * (_FIELD_COUNT + 1))
