"""Go binaries made by hand, with function tables in all forms that Go's linker has written."""

import struct
from dataclasses import dataclass, field

from tests.unit.elf_images import SECTION, note

TEXT_ADDR, TEXT_OFFSET = 0x401000, 0x1000
DATA_ADDR = 0x900000
MAGIC = {2: 0xFFFFFFFB, 16: 0xFFFFFFFA, 18: 0xFFFFFFF0, 20: 0xFFFFFFF1}


@dataclass(frozen=True)
class Function:
    name: str
    size: int
    file: str
    line: int


def varint(number: int) -> bytes:
    """A signed number as Go's tables hold it."""
    left, out = (number << 1) ^ (number >> 63), bytearray()
    while True:
        left, low = left >> 7, left & 127
        out.append(low | (128 if left else 0))
        if not left:
            return bytes(out)


@dataclass
class _Parts:
    """What the records point into."""

    names: bytearray = field(default_factory=bytearray)
    files: dict[str, int] = field(default_factory=dict)
    values: bytearray = field(default_factory=lambda: bytearray(b"\0"))

    def value(self, number: int, size: int) -> int:
        """A table of one value for a whole function; where it begins."""
        at = len(self.values)
        self.values += varint(number + 1) + varint(size) + b"\0"
        return at


def table(functions: list[Function], version: int, word: int = 8, text_start: int = TEXT_ADDR) -> bytes:
    """A whole .gopclntab, for code that lies at TEXT_ADDR; `text_start` is what it says of that (from 1.18 on)."""
    parts = _Parts()
    for function in functions:
        parts.files.setdefault(function.file, len(parts.files) + (1 if version == 2 else 0))
    header_words = {2: 1, 16: 7, 18: 8, 20: 8}[version]
    start = struct.pack("<IHBB", MAGIC[version], 0, 1, word)
    size = 8 + header_words * word
    if version == 2:
        return _old_table(functions, parts, word, start)
    return _new_table(functions, parts, version, word, start, size, text_start)


def _entries(functions: list[Function], base: int) -> list[int]:
    entries = [base]
    for function in functions:
        entries.append(entries[-1] + function.size)
    return entries


def _record(
    function: Function, parts: _Parts, name: int, entry: bytes, values: int, startline: bool
) -> bytes:
    file = parts.value(parts.files[function.file], function.size) + values
    line = parts.value(function.line + (5 if startline else 0), function.size) + values
    last = function.line if startline else 0
    return entry + struct.pack("<9I", name, 0, 0, 0, file, line, 0, 0, last)


def _old_table(functions: list[Function], parts: _Parts, word: int, start: bytes) -> bytes:
    cell = f"<{'Q' if word == 8 else 'I'}"
    entries, count = _entries(functions, TEXT_ADDR), len(functions)
    rows_at = 8 + word
    records_at = rows_at + (2 * count + 1) * word + 8
    record_bytes = word + 36
    names_at = records_at + record_bytes * count
    names, name_at = bytearray(), []
    for function in functions:
        name_at.append(names_at + len(names))
        names += function.name.encode() + b"\0"
    values_at = names_at + len(names)
    records = b"".join(
        _record(function, parts, name_at[i], struct.pack(cell, entries[i]), values_at, False)
        for i, function in enumerate(functions)
    )
    rows = b"".join(
        struct.pack(cell[0] + cell[1] * 2, entries[i], records_at + i * record_bytes) for i in range(count)
    )
    files_at = values_at + len(parts.values)
    texts_at, texts, places = files_at + 4 * (len(parts.files) + 1), bytearray(), []
    for file in parts.files:
        places.append(texts_at + len(texts))
        texts += file.encode() + b"\0"
    files = struct.pack(f"<{len(places) + 1}I", len(places) + 1, *places)
    middle = struct.pack(cell, entries[-1]) + struct.pack("<II", files_at, 0)
    head = start + struct.pack(cell, count)
    return head + rows + middle + records + bytes(names) + bytes(parts.values) + files + bytes(texts)


def _new_table(
    functions: list[Function],
    parts: _Parts,
    version: int,
    word: int,
    start: bytes,
    size: int,
    text_start: int,
) -> bytes:
    cell = "I" if version >= 18 or word == 4 else "Q"
    entries = _entries(functions, 0 if version >= 18 else TEXT_ADDR)
    cell_bytes = struct.calcsize("<" + cell)
    record_bytes = cell_bytes + 36
    first = (2 * len(functions) + 1) * cell_bytes
    rows, records, names = b"", b"", bytearray(b"\0")
    for i, function in enumerate(functions):
        rows += struct.pack("<" + cell * 2, entries[i], first + i * record_bytes)
        entry = struct.pack("<" + cell, entries[i])
        records += _record(function, parts, len(names), entry, 0, version >= 20)
        names += function.name.encode() + b"\0"
    rows += struct.pack("<" + cell, entries[-1])
    texts, units = bytearray(), b""
    for file in parts.files:
        units += struct.pack("<I", len(texts))
        texts += file.encode() + b"\0"
    places, at = [], size
    for part in (names, units, texts, parts.values):
        places.append(at)
        at += len(part)
    words = [len(functions), len(parts.files), *([text_start] if version >= 18 else []), *places, at]
    head = start + struct.pack(f"<{len(words)}{'Q' if word == 8 else 'I'}", *words)
    return head + bytes(names) + units + bytes(texts) + bytes(parts.values) + rows + records


def module_data(minimum: int, maximum: int, table_addr: int) -> bytes:
    """The beginning of runtime.moduledata: a pointer to the table, 19 other words, minpc, maxpc, more."""
    return struct.pack("<48Q", table_addr, *range(1, 20), minimum, maximum, minimum, maximum, *[7] * 24)


def binary(
    pclntab: bytes,
    text_bytes: int,
    *,
    section: str = ".gopclntab",
    module: bytes = b"",
    relocations: dict[int, int] | None = None,
    headers: bool = True,
    text_addr: int = TEXT_ADDR,
) -> bytes:
    """An executable of Go's: `pclntab` lies at DATA_ADDR, moduledata behind it at the next multiple of 64.

    `relocations`: addresses of words that only a relocation fills, and their values. Without `headers` it has no
    sections.
    """
    text_end = TEXT_OFFSET + text_bytes
    data_offset = text_end + 4095 & ~4095
    table_bytes = len(pclntab) + 63 & ~63
    rela = b"".join(struct.pack("<QQQ", at, 8, value) for at, value in (relocations or {}).items())
    go_note = note(b"Go", 4, b"abc/def")
    rela_offset = data_offset + table_bytes + len(module)
    note_offset = rela_offset + len(rela)
    names = b"\0.text\0" + section.encode() + b"\0.noptrdata\0.rela.dyn\0.note.go.buildid\0.shstrtab\0"
    names_offset = note_offset + len(go_note)
    data_bytes = table_bytes + len(module)
    module_at = DATA_ADDR + table_bytes, data_offset + table_bytes
    rows = [
        bytes(64),
        SECTION.pack(names.index(b".text"), 1, 6, text_addr, TEXT_OFFSET, text_bytes, 0, 0, 16, 0),
        SECTION.pack(names.index(section.encode()), 1, 2, DATA_ADDR, data_offset, len(pclntab), 0, 0, 32, 0),
        SECTION.pack(names.index(b".noptrdata"), 1, 3, *module_at, len(module), 0, 0, 8, 0),
        SECTION.pack(names.index(b".rela.dyn"), 4, 2, 0, rela_offset, len(rela), 0, 0, 8, 24),
        SECTION.pack(names.index(b".note.go"), 7, 2, 0, note_offset, len(go_note), 0, 0, 4, 0),
        SECTION.pack(names.index(b".shstrtab"), 3, 0, 0, names_offset, len(names), 0, 0, 1, 0),
    ]
    section_offset = names_offset + len(names) + 7 & ~7
    segments = [
        struct.pack("<IIQQQQQQ", 1, 5, TEXT_OFFSET, text_addr, 0, text_bytes, text_bytes, 4096),
        struct.pack("<IIQQQQQQ", 1, 6, data_offset, DATA_ADDR, 0, data_bytes, data_bytes, 4096),
        struct.pack("<IIQQQQQQ", 4, 4, note_offset, 0, 0, len(go_note), len(go_note), 4),
    ]
    count = len(rows) if headers else 0
    at = section_offset if headers else 0
    header = struct.pack(
        "<HHIQQQIHHHHHH", 2, 62, 1, text_addr, 64, at, 0, 64, 56, 3, 64, count, count - 1 if count else 0
    )
    start = (b"\x7fELF\x02\x01\x01" + bytes(9) + header + b"".join(segments)).ljust(TEXT_OFFSET, b"\0")
    body = start + bytes(text_bytes).ljust(data_offset - TEXT_OFFSET, b"\0")
    body += pclntab.ljust(table_bytes, b"\0") + module + rela + go_note + names
    return body.ljust(section_offset, b"\0") + b"".join(rows)
