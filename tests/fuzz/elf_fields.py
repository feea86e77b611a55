"""Which bytes of a real ELF file, and of its call frame information, say how to read it."""

import struct

from agent.symbolize.elf import ElfError, ElfFile, MemoryBytes
from tests.fuzz.binary import Field, words

_HEADER = [(4, 1), (5, 1), (18, 2), (32, 8), (40, 8), (54, 2), (56, 2), (58, 2), (60, 2), (62, 2)]
_SEGMENT = [(0, 4), (4, 4), (8, 8), (16, 8), (32, 8), (40, 8)]
_SECTION = [(0, 4), (4, 4), (16, 8), (24, 8), (32, 8), (40, 4), (56, 8)]
_TELLING = (".note", ".gnu", ".symtab", ".dynsym", ".eh_frame", ".go", ".rela", ".plt", ".data.rel.ro")
_HEAD_BYTES = 120
"""Of a section's beginning each word is changed, and as many words over the rest of it."""


def elf_fields(data: bytes) -> list[Field]:
    """Of the headers, and of the first and some other entries of each section that is read."""
    elf = ElfFile(MemoryBytes(data))
    segments_at, sections_at = struct.unpack_from("<QQ", data, 32)
    fields = [Field(*each) for each in _HEADER]
    for number in range(len(elf.segments)):
        fields += [Field(segments_at + 56 * number + at, size) for at, size in _SEGMENT]
    for number, section in enumerate(elf.sections):
        fields += [Field(sections_at + 64 * number + at, size) for at, size in _SECTION]
        if section.name.startswith(_TELLING):
            end = min(section.offset + section.size, len(data))
            fields += words(data, section.offset, min(section.offset + _HEAD_BYTES, end))
            step = max((end - section.offset) // 30 & ~7, 8)
            fields += [Field(at, 8) for at in range(section.offset, end - 8, step)]
    return fields


def eh_frame_fields(section: bytes) -> list[Field]:
    """Lengths, kinds and versions of records, the bytes of CIEs, and all instructions."""
    fields, at = [], 0
    while at + 8 <= len(section):
        (length,) = struct.unpack_from("<I", section, at)
        end = at + 4 + length
        if not length or end > len(section):
            break
        fields += [Field(at, 4), Field(at + 4, 4)]
        is_cie = section[at + 4 : at + 8] == b"\0\0\0\0"
        fields += [Field(place, 1) for place in range(at + 8, min(end, at + 64))]
        if not is_cie:
            fields += [Field(at + 8, 4), Field(at + 12, 4)]
        at = end
    return fields


def whole_records(section: bytes, most: int) -> bytes:
    """The first records of a section, at most so many bytes."""
    at = 0
    while at + 4 <= len(section):
        (length,) = struct.unpack_from("<I", section, at)
        if not length or at + 4 + length > min(most, len(section)):
            break
        at += 4 + length
    return section[:at]


def is_elf(data: bytes) -> bool:
    """Whether it is an ELF file that the agent reads."""
    try:
        return bool(ElfFile(MemoryBytes(data)).sections)
    except ElfError:
        return False
