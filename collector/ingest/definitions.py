"""What frames, stacks and series are to the collector, once a definition of them was decoded."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from fleetprof.frames import Frame

_CONTROL = dict.fromkeys((*range(32), 127), "�")


class Stack(NamedTuple):
    """A stack's frame ids as packed little-endian uint64s."""

    frames: bytes
    """All, leaf first."""
    functions: bytes
    """Each once, the leaf first: what a recursive function's total counts."""


@dataclass(frozen=True, slots=True)
class Series:
    """A series' labels, fit to be stored and shown."""

    id: int
    labels: dict[str, str]

    def label(self, name: str) -> str:
        """The label's value, "" when absent."""
        return self.labels.get(name, "")


@dataclass(frozen=True, slots=True)
class Defined:
    """What one request defines, by id."""

    frames: dict[int, Frame] = field(default_factory=dict)
    stacks: dict[int, Stack] = field(default_factory=dict)
    series: dict[int, Series] = field(default_factory=dict)


EMPTY_STACK = Stack(b"", b"")


def make_stack(frame_ids: Sequence[int]) -> Stack:
    """The stack of these frame ids, leaf first."""
    return packed_stack(struct.pack(f"<{len(frame_ids)}Q", *frame_ids))


def packed_stack(frames: bytes) -> Stack:
    """The same, of packed ids."""
    ids = struct.unpack(f"<{len(frames) // 8}Q", frames)
    distinct = dict.fromkeys(ids)
    if len(distinct) == len(ids):
        return Stack(frames, frames)
    return Stack(frames, struct.pack(f"<{len(distinct)}Q", *distinct))


def shown(text: str) -> str:
    """`text` without control characters, which no page or terminal should print."""
    return text if text.isprintable() else text.translate(_CONTROL)
