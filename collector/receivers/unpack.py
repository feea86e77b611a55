"""Opens what foreign clients send, within bounds: compressed bodies, and messages of many tiny parts.

A gzip body is unpacked no further than its limit. A protobuf message of empty parts takes 30 times its own size
when it is parsed (measured: 16 MiB become 480 MiB), so the parts of large ones are counted before.
"""

import zlib
from collections.abc import Mapping
from typing import Any

from collector.ingest.refusal import Refused, malformed
from fleetprof.losses import DropReason

BODY_BYTES = 32 << 20
"""Largest foreign request, unpacked: what Pyroscope's server and OpenTelemetry's collector take is 4 to 20 MiB."""
MESSAGE_PARTS = 1_000_000
COUNTED_FROM_BYTES = 1 << 20

_MEMBERS = 64
"""Most gzip members of one body; writers make one, concatenated files a few."""
_GZIP = b"\x1f\x8b"


def too_large(limit: int) -> Refused:
    """A body of more than `limit` bytes."""
    return Refused(DropReason.TOO_LARGE, f"The request has more than {limit} bytes, unpacked.")


def decode_body(data: bytes, encoding: str, limit: int = BODY_BYTES) -> bytes:
    """A body without its Content-Encoding; raises Refused (TOO_LARGE, MALFORMED)."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        if len(data) > limit:
            raise too_large(limit)
        return data
    if name in ("gzip", "x-gzip"):
        return gunzip(data, limit)
    raise malformed(f'Content-Encoding "{encoding[:40]}" is not understood; gzip and identity are.')


def gunzip_if_packed(data: bytes, limit: int = BODY_BYTES) -> bytes:
    """`data`, unpacked where it begins as gzip does: files of profiles are both."""
    return gunzip(data, limit) if data.startswith(_GZIP) else decode_body(data, "", limit)


def gunzip(data: bytes, limit: int = BODY_BYTES) -> bytes:
    """All members of a gzip body, unpacked to `limit` bytes at most; raises Refused."""
    parts: list[bytes] = []
    size = 0
    for _ in range(_MEMBERS):
        unpacker = zlib.decompressobj(wbits=31)
        try:
            parts.append(unpacker.decompress(data, limit - size + 1))
        except zlib.error as error:
            raise malformed(f"The body is not readable gzip ({error}).") from None
        size += len(parts[-1])
        if size > limit:
            raise too_large(limit)
        if not unpacker.eof:
            raise malformed("The gzip body ends in the middle.")
        data = unpacker.unused_data
        if not data:
            return b"".join(parts)
    raise malformed(f"The gzip body has more than {_MEMBERS} members.")


Shape = Mapping[int, Any]
"""Field number → the shape of its message. Fields that are no messages are absent."""


def shape_of(descriptor: Any, known: dict[str, dict[int, Any]] | None = None) -> Shape:
    """The shape of a message type (its DESCRIPTOR), which may hold itself."""
    known = {} if known is None else known
    if descriptor.full_name not in known:
        shape = known[descriptor.full_name] = dict[int, Any]()
        for field in descriptor.fields:
            if field.message_type:
                shape[field.number] = shape_of(field.message_type, known)
    return known[descriptor.full_name]


def check_parts(data: bytes, shape: Shape, limit: int = MESSAGE_PARTS) -> None:
    """Refuse a message of more than `limit` messages and texts; broken ones are left to the parser."""
    if len(data) < COUNTED_FROM_BYTES:
        return
    try:
        count = _count(data, shape, limit)
    except IndexError:
        return
    if count > limit:
        raise Refused(DropReason.TOO_LARGE, f"The request has more than {limit} parts.")


def _count(data: bytes, shape: Shape, limit: int) -> int:
    """Length-delimited fields, down to `limit` + 1 of them; IndexError where the message breaks off."""
    count, at = 0, 0
    ends = [(len(data), shape)]
    while ends and count <= limit:
        end, inside = ends[-1]
        if at >= end:
            ends.pop()
            continue
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == 2:
            length, at = _varint(data, at)
            count += 1
            part = inside.get(tag >> 3)
            if part is not None and len(ends) < 100:
                ends.append((min(at + length, end), part))
            else:
                at += length
        elif kind == 0:
            _, at = _varint(data, at)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
    return count


def _varint(data: bytes, at: int) -> tuple[int, int]:
    byte = data[at]
    if byte < 128:
        return byte, at + 1
    value, shift = byte & 127, 7
    while True:
        at += 1
        byte = data[at]
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at + 1
        shift += 7
        if shift > 63:
            raise IndexError(at)
