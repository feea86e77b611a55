"""The parts of an ELF file that names and lines are found with; the program's own code and data are none of them.

What is sent keeps its place in the file, and what is not sent becomes zeros: all offsets stay true, and nothing of
the file has to be written anew.
"""

import struct

from agent.symbolize.elf import PT_NOTE, SHT_NOBITS, SHT_NOTE, SHT_SYMTAB, ElfError, ElfFile, Section

Range = tuple[int, int]
"""(offset, end) in the file."""

_TABLES = struct.Struct("<QQ")
_TABLES_AT = 0x20
"""e_phoff and e_shoff of a 64-bit header."""
_HEADER_BYTES, _PROGRAM_BYTES, _SECTION_BYTES = 64, 56, 64
_DEBUG = (".debug_", ".zdebug_")
_ALSO = {".strtab", ".shstrtab", ".gnu_debuglink", ".gnu_debugaltlink"}


def has_lines(elf: ElfFile) -> bool:
    """Whether there is DWARF; raises ElfError."""
    wanted = (".debug_info", ".zdebug_info")
    return any(section.name in wanted and _is_there(section) for section in elf.sections)


def has_symbols(elf: ElfFile) -> bool:
    """Whether there is a whole symbol table; raises ElfError."""
    return any(section.type == SHT_SYMTAB and _is_there(section) for section in elf.sections)


def needed_parts(elf: ElfFile) -> list[Range]:
    """What is to be sent of a 64-bit file, in order, without overlaps; raises ElfError."""
    programs, sections = _TABLES.unpack(elf.source.read(_TABLES_AT, _TABLES.size))
    ranges = [
        (0, _HEADER_BYTES),
        (programs, programs + _PROGRAM_BYTES * len(elf.segments)),
        (sections, sections + _SECTION_BYTES * len(elf.sections)),
    ]
    ranges += [(s.offset, s.offset + s.file_size) for s in elf.segments if s.type == PT_NOTE]
    ranges += [(s.offset, s.offset + s.size) for s in elf.sections if _is_needed(s)]
    if any(end > elf.source.size for _, end in ranges):
        raise ElfError("parts of it are outside the file")
    return _merged(ranges)


def _is_needed(section: Section) -> bool:
    if not _is_there(section):
        return False
    return section.type in (SHT_SYMTAB, SHT_NOTE) or section.name.startswith(_DEBUG) or section.name in _ALSO


def _is_there(section: Section) -> bool:
    return section.type != SHT_NOBITS and section.size > 0


def _merged(ranges: list[Range]) -> list[Range]:
    merged: list[Range] = []
    for start, end in sorted(ranges):
        if start == end:
            continue
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged
