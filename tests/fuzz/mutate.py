"""Mutations of requests: of bytes, of lengths, and of protobuf fields as fields."""

import gzip
import random
import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

VARINTS = (0, 1, 127, 128, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1)
TEXTS = (
    b"",
    b"\x00",
    b"'",
    b'"',
    b"\\",
    b"<script>",
    b"{}",
    b"\xff\xfe",
    "𝕏\u202e".encode(),
    b"%s",
    b"a" * 5000,
)


def varint(number: int) -> bytes:
    """A number as protobuf writes it; larger ones than 64 bits are written on."""
    out = bytearray()
    while True:
        number, low = number >> 7, number & 127
        out.append(low | (128 if number else 0))
        if not number:
            return bytes(out)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """(number, place after it); IndexError at the end, ValueError past 10 bytes."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError


class Field(NamedTuple):
    """Where one field of a message is: data[start:end], its content data[content:end]."""

    start: int
    number: int
    kind: int
    content: int
    end: int


@lru_cache(maxsize=1024)
def scan(data: bytes, at: int, end: int) -> list[Field]:
    """The fields of data[at:end]; none of what does not look like a message. The list is not to be changed."""
    fields = []
    try:
        while at < end:
            start = at
            tag, at = read_varint(data, at)
            number, kind = tag >> 3, tag & 7
            content = at
            if kind == 0:
                _, at = read_varint(data, at)
            elif kind == 2:
                length, content = read_varint(data, at)
                at = content + length
            elif kind in (1, 5):
                at += 8 if kind == 1 else 4
            else:
                return []
            if at > end or not 0 < number < 1000:
                return []
            fields.append(Field(start, number, kind, content, at))
    except (IndexError, ValueError):
        return []
    return fields


def field(number: int, kind: int, content: bytes) -> bytes:
    """A field as protobuf writes it."""
    length = varint(len(content)) if kind == 2 else b""
    return varint(number << 3 | kind) + length + content


class Mutator:
    """Makes inputs from seeds; the same random numbers make the same inputs."""

    def __init__(self, chance: random.Random, seeds: list[bytes], structured: bool, packed: bool) -> None:
        """`structured`: the seeds are protobuf; `packed`: the receiver unpacks gzip."""
        self._chance, self._seeds, self._packed = chance, seeds, packed
        self._kinds: list[Callable[[bytes], bytes]] = [self._flip, self._cut, self._slice, self._numbers]
        if structured:
            self._kinds += [self._fields] * 6

    def next(self) -> bytes:
        """The next input."""
        data = self._chance.choice(self._seeds)
        for _ in range(self._chance.choice((1, 1, 1, 2, 3, 6))):
            data = self._chance.choice(self._kinds)(data)
        return self._pack(data) if self._packed and self._chance.random() < 0.1 else data

    def _flip(self, data: bytes) -> bytes:
        out = bytearray(data)
        for _ in range(self._chance.choice((1, 1, 2, 8))):
            if out:
                out[self._chance.randrange(len(out))] ^= 1 << self._chance.randrange(8)
        return bytes(out)

    def _cut(self, data: bytes) -> bytes:
        return data[: self._chance.randint(0, len(data))]

    def _slice(self, data: bytes) -> bytes:
        """A part removed, doubled, or put in from another seed."""
        first, last = sorted(self._chance.randint(0, len(data)) for _ in range(2))
        last = min(last, first + 64)
        other = self._chance.choice((b"", data[first:last] * 2, self._chance.choice(self._seeds)[first:last]))
        return data[:first] + other + data[last:]

    def _numbers(self, data: bytes) -> bytes:
        """A byte made a large number: of a value, a place, a length or a tag."""
        at = self._chance.randint(0, len(data))
        number = self._chance.choice(VARINTS) if self._chance.random() < 0.9 else 2**200
        return data[:at] + varint(number) + data[at + 1 :]

    def _fields(self, data: bytes) -> bytes:
        """One field changed as a field, somewhere in the message; lengths around it stay right."""
        around: list[Field] = []
        fields = scan(data, 0, len(data))
        if not fields:
            return self._flip(data)
        while True:
            chosen = self._chance.choice(fields)
            inside = scan(data, chosen.content, chosen.end) if chosen.kind == 2 and len(around) < 8 else []
            if not inside or self._chance.random() < 0.2:
                break
            around.append(chosen)
            fields = inside
        new = self._changed(data, chosen, self._chance.choice(fields))
        for outer in reversed(around):
            content = data[outer.content : chosen.start] + new + data[chosen.end : outer.end]
            new, chosen = field(outer.number, 2, content), outer
        return data[: chosen.start] + new + data[chosen.end :]

    def _changed(self, data: bytes, one: Field, other: Field) -> bytes:
        """What stands in place of a field; `other` is one beside it."""
        whole, content = data[one.start : one.end], data[one.content : one.end]
        act = self._chance.randrange(9)
        if act == 0:
            return whole * self._chance.choice((2, 2, 3, 50))
        if act == 1:
            return b""
        if act == 2:
            return field(self._chance.randint(1, 20), one.kind, content)
        if act == 3:
            return data[other.start : other.end]
        if act == 4:
            return field(one.number, 0, varint(self._chance.choice(VARINTS)))
        if act == 5:
            return field(one.number, 2, self._chance.choice(TEXTS))
        if one.kind == 0:
            number = read_varint(data, one.content)[0]
            return field(
                one.number, 0, varint(self._chance.choice((*VARINTS, number + 1, max(number - 1, 0))))
            )
        changed = self._chance.choice((self._flip, self._slice, self._numbers, self._cut))(content)
        if one.kind != 2:
            size = 8 if one.kind == 1 else 4
            changed = changed[:size].ljust(size, b"\0")
        return field(one.number, one.kind, changed)

    def _pack(self, data: bytes) -> bytes:
        """In gzip, as it should be or not; now and then a bomb."""
        if self._chance.random() < 0.0005:
            return _BOMB
        packed = gzip.compress(data, 1, mtime=0)
        kind = self._chance.randrange(5)
        if kind == 0:
            return packed[: self._chance.randint(0, len(packed))]
        if kind == 1:
            return self._flip(packed)
        if kind == 2:
            return packed + gzip.compress(data[:50], 1, mtime=0)
        return packed


_BOMB = zlib.compress(bytes(48 << 20), 9, wbits=31)
"""48 MiB in 48 KiB."""
