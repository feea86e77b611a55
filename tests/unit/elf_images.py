"""ELF images made by hand: small, exact, and easy to spoil."""

import struct
from dataclasses import dataclass

SECTION = struct.Struct("<IIQQQQIIQQ")
TEXT_ADDR, TEXT_OFFSET, TEXT_SIZE = 0x401000, 0x1000, 0x1000
FUNC, IFUNC, OBJECT = 2, 10, 1
LOCAL, GLOBAL, WEAK = 0, 1, 2


@dataclass(frozen=True)
class Symbol:
    name: str
    value: int
    size: int
    kind: int = FUNC
    binding: int = GLOBAL
    section: int = 1


def note(owner: bytes, kind: int, description: bytes) -> bytes:
    """One ELF note."""
    owner += b"\0"
    padded = owner.ljust(len(owner) + 3 & ~3, b"\0") + description.ljust(len(description) + 3 & ~3, b"\0")
    return struct.pack("<III", len(owner), len(description), kind) + padded


def image(symbols: list[Symbol], build_id: bytes = b"\x11" * 20, machine: int = 62) -> bytes:
    """An x86-64 executable with one text segment at TEXT_ADDR, a .symtab and a build id note."""
    strings, rows = b"\0", [bytes(24)]
    for symbol in symbols:
        info = symbol.binding << 4 | symbol.kind
        rows.append(struct.pack("<IBBHQQ", len(strings), info, 0, symbol.section, symbol.value, symbol.size))
        strings += symbol.name.encode() + b"\0"
    names = b"\0.text\0.symtab\0.strtab\0.shstrtab\0.note\0"
    parts = [b"".join(rows), strings, names, note(b"GNU", 3, build_id)]
    body, places = b"", []
    for part in parts:
        places.append((TEXT_OFFSET + TEXT_SIZE + len(body), len(part)))
        body += part.ljust(len(part) + 7 & ~7, b"\0")
    sections = [
        bytes(64),
        SECTION.pack(1, 1, 6, TEXT_ADDR, TEXT_OFFSET, TEXT_SIZE, 0, 0, 16, 0),
        SECTION.pack(7, 2, 0, 0, *places[0], 3, 1, 8, 24),
        SECTION.pack(15, 3, 0, 0, *places[1], 0, 0, 1, 0),
        SECTION.pack(23, 3, 0, 0, *places[2], 0, 0, 1, 0),
        SECTION.pack(33, 7, 0, 0, *places[3], 0, 0, 4, 0),
    ]
    section_offset = TEXT_OFFSET + TEXT_SIZE + len(body)
    segments = [
        struct.pack("<IIQQQQQQ", 1, 5, TEXT_OFFSET, TEXT_ADDR, TEXT_ADDR, TEXT_SIZE, TEXT_SIZE, 4096),
        struct.pack("<IIQQQQQQ", 4, 4, places[3][0], 0, 0, places[3][1], places[3][1], 4),
    ]
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = struct.pack(
        "<HHIQQQIHHHHHH", 2, machine, 1, TEXT_ADDR, 64, section_offset, 0, 64, 56, 2, 64, len(sections), 4
    )
    start = (ident + header + b"".join(segments)).ljust(TEXT_OFFSET + TEXT_SIZE, b"\x90")
    return start + body + b"".join(sections)
