"""jitdump files made record by record, as a runtime writes them."""

import struct


def header(magic: int = 0x4A695444, version: int = 1, size: int = 40) -> bytes:
    """What a dump begins with."""
    return struct.pack("=6I2Q", magic, version, size, 62, 0, 4711, 1, 0).ljust(size, b"\0")


def record(kind: int, body: bytes) -> bytes:
    return struct.pack("=IIQ", kind, 16 + len(body), 99) + body


def load(name: str, start: int, size: int, number: int = 0, code: bytes = b"") -> bytes:
    """Code was made."""
    body = struct.pack("=II4Q", 4711, 4711, start, start, size, number) + name.encode() + b"\0" + code
    return record(0, body)


def move(number: int, old: int, new: int, size: int) -> bytes:
    """Code was moved."""
    return record(1, struct.pack("=II5Q", 4711, 4711, new, old, new, size, number))


def lines(start: int, *places: tuple[str, int]) -> bytes:
    """Where the code whose load record follows comes from."""
    entries = b"".join(
        struct.pack("=QII", start + 4 * i, line, 0) + file.encode() + b"\0"
        for i, (file, line) in enumerate(places)
    )
    return record(2, struct.pack("=QQ", start, len(places)) + entries)


def close() -> bytes:
    return record(3, b"")
