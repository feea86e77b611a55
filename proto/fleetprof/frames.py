"""Frames and stacks, and the 64-bit identities that make them the same on every host.

A frame's identity is its content: kind, function and mapping; where the function is unknown, kind, mapping,
build id and file offset. A stack's identity is the sequence of its frames' ids, leaf first. Both are BLAKE2b
with an 8-byte digest, little-endian; the empty stack is 0. The same code therefore has the same ids across
hosts, restarts and rebuilds, and an id can always be checked against its content.
"""

import hashlib
import struct
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import NamedTuple


class FrameKind(IntEnum):
    """What kind of code a frame is; the numbers are those of fleetprof.v1.FrameKind."""

    NATIVE = 1
    KERNEL = 2
    PYTHON = 3
    JVM = 4
    NODE = 5
    GO = 6
    RUST = 7
    JIT = 8
    LABEL = 9


class Frame(NamedTuple):
    """One frame of a stack.

    `function` is "" when the symbol is unknown; then `build_id` (lower-case hex, may be "") and `offset`
    (offset in the object's file) identify it. `file` and `line` are attributes of the function, not identity.
    """

    kind: FrameKind
    function: str
    mapping: str
    build_id: str = ""
    offset: int = 0
    file: str = ""
    line: int = 0

    @property
    def name(self) -> str:
        """What a person reads: function, `mapping+0xoffset` without one, `[mapping]` for a region."""
        if self.function or (self.mapping.startswith("[") and not self.offset):
            return self.function or self.mapping
        return f"{self.mapping}+{self.offset:#x}"


UNSAMPLED = Frame(FrameKind.LABEL, "(unsampled)", "")
"""Stands for time that was measured exactly but of which no stack was captured."""


def _digest(content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def _field(text: str) -> bytes:
    data = text.encode("utf-8", "surrogateescape")
    return struct.pack("<I", len(data)) + data


def frame_id(frame: Frame) -> int:
    """The 64-bit identity of `frame`; never 0."""
    content = bytes([frame.kind]) + _field(frame.function) + _field(frame.mapping)
    if not frame.function:
        content += _field(frame.build_id) + struct.pack("<Q", frame.offset)
    return _digest(content) or 1


def stack_id(frame_ids: Sequence[int]) -> int:
    """The 64-bit identity of a stack given its frames' ids, leaf first; 0 for the empty stack only."""
    return packed_stack_id(struct.pack(f"<{len(frame_ids)}Q", *frame_ids))


def packed_stack_id(frame_ids: bytes) -> int:
    """The same of ids that are packed, little endian."""
    return (_digest(frame_ids) or 1) if frame_ids else 0


def stack_id_of(frames: Iterable[Frame]) -> int:
    """The identity of a stack of frames, leaf first."""
    return stack_id([frame_id(frame) for frame in frames])
