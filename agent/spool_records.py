"""How windows lie in a spool file: records that a torn write or a damaged block can lose, but never alter.

A file begins with its layout's name and 8 random bytes, the salt. Each record is a header (magic, length and
CRC-32 of the payload, CRC-32 of these) and the payload. Both sums begin with the salt, so that bytes inside of
a payload, which come from anywhere, are not taken for a record of this file.
"""

import os
import struct
import zlib
from collections.abc import Iterator

LAYOUT = b"fleetprof spool 1\n"
SALT_BYTES = 8
PROLOGUE_BYTES = len(LAYOUT) + SALT_BYTES

_MAGIC = b"FPw\x1e"
_FACTS = struct.Struct("<4sII")
_SUM = struct.Struct("<I")
HEADER_BYTES = _FACTS.size + _SUM.size


def prologue() -> bytes:
    """The beginning of a new file."""
    return LAYOUT + os.urandom(SALT_BYTES)


def record(payload: bytes, beginning: bytes) -> bytes:
    """`payload` as a record of the file that begins with `beginning`."""
    salt = zlib.crc32(beginning)
    facts = _FACTS.pack(_MAGIC, len(payload), zlib.crc32(payload, salt))
    return facts + _SUM.pack(zlib.crc32(facts, salt)) + payload


def payloads(data: bytes) -> Iterator[bytes | None]:
    """The payloads of a file's content in order; None for each damaged or torn stretch."""
    if not data.startswith(LAYOUT) or len(data) < PROLOGUE_BYTES:
        if data:
            yield None
        return
    salt, place = zlib.crc32(data[:PROLOGUE_BYTES]), PROLOGUE_BYTES
    while place < len(data):
        found = _facts(data[place : place + HEADER_BYTES], salt)
        start = place + HEADER_BYTES
        payload = data[start : start + found[0]] if found else None
        if found and payload is not None and len(payload) == found[0]:
            yield payload if zlib.crc32(payload, salt) == found[1] else None
            place = start + found[0]
        else:
            yield None
            place = _next_header(data, place + 1, salt)


def count(path: "os.PathLike[str]") -> int:
    """How many records a file seems to hold, by its headers alone; raises OSError."""
    with open(path, "rb", buffering=0) as file:
        size, found = os.fstat(file.fileno()).st_size, 0
        salt, place = zlib.crc32(file.read(PROLOGUE_BYTES)), PROLOGUE_BYTES
        while place < size:
            facts = _facts(os.pread(file.fileno(), HEADER_BYTES, place), salt)
            if not facts:
                return found + 1
            found, place = found + 1, place + HEADER_BYTES + facts[0]
    return found


def _facts(header: bytes, salt: int) -> tuple[int, int] | None:
    """(length, CRC-32) of the payload after a header; None where there is no header."""
    if len(header) < HEADER_BYTES or not header.startswith(_MAGIC):
        return None
    if _SUM.unpack_from(header, _FACTS.size)[0] != zlib.crc32(header[: _FACTS.size], salt):
        return None
    _, length, checksum = _FACTS.unpack_from(header)
    return length, checksum


def _next_header(data: bytes, place: int, salt: int) -> int:
    """Where the next header begins, at `place` or later; the data's end where there is none."""
    while (place := data.find(_MAGIC, place)) >= 0:
        if _facts(data[place : place + HEADER_BYTES], salt):
            return place
        place += 1
    return len(data)
