"""Where the code of an ELF file is: from offsets in the file that ran to addresses in its debug information.

A separate debug file (objcopy --only-keep-debug) has no code; its program headers keep addresses, but their
offsets in the file are those of the debug file. Linkers lay segments out one after the other, each at the next
offset that equals its address modulo its alignment, so the offsets can be had again.
Format: https://refspecs.linuxfoundation.org/elf/gabi4+/contents.html, 64 bits, little-endian.
"""

import struct
from collections.abc import Iterable
from typing import NamedTuple

MAX_HEADERS = 512
_PT_LOAD, _PF_X = 1, 1
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")


class NotElf(Exception):
    """The bytes are no ELF file of a kind that is read here; the message says why."""


class Segment(NamedTuple):
    """Executable code: `size` bytes from `offset` of the file that ran are at `address`."""

    offset: int
    size: int
    address: int


class Loaded(NamedTuple):
    """A PT_LOAD header."""

    executable: bool
    offset: int
    address: int
    file_size: int
    memory_size: int
    alignment: int


def read_segments(data: bytes | memoryview) -> tuple[list[Segment], int]:
    """(the executable segments, address of the image's start); raises NotElf."""
    loads = _loads(data)
    if not loads:
        raise NotElf("it has no segments, as an object file has not: link it first")
    offsets = [load.offset for load in loads]
    if any(load.executable and load.file_size < load.memory_size for load in loads):
        offsets = list(_laid_out(loads))
    segments = [
        Segment(offset, load.memory_size, load.address)
        for load, offset in zip(loads, offsets, strict=True)
        if load.executable
    ]
    return segments, loads[0].address


def _loads(data: bytes | memoryview) -> list[Loaded]:
    if len(data) < _HEADER.size or bytes(data[:4]) != b"\x7fELF":
        raise NotElf("it is no ELF file")
    if bytes(data[4:6]) != b"\x02\x01":
        raise NotElf("it is not of 64 bits, little-endian")
    header = _HEADER.unpack_from(data)
    start, size, count = header[5], header[9], header[10]
    if size != _PROGRAM_HEADER.size or count > MAX_HEADERS or start + size * count > len(data):
        raise NotElf("its program headers are damaged")
    rows = [_PROGRAM_HEADER.unpack_from(data, start + size * place) for place in range(count)]
    return [
        Loaded(bool(flags & _PF_X), offset, address, file_size, memory_size, max(alignment, 1))
        for kind, flags, offset, address, _, file_size, memory_size, alignment in rows
        if kind == _PT_LOAD
    ]


def _laid_out(loads: list[Loaded]) -> Iterable[int]:
    """The offsets that a linker gave these segments."""
    end = 0
    for load in loads:
        offset = end + (load.address - end) % load.alignment
        # The part of data that is zero at start (.bss) is in memory only, but no code lies behind it.
        end = offset + load.memory_size
        yield offset
