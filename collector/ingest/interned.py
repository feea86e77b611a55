"""Frames and stacks that were defined lately, by their content: each is checked and hashed once, and kept once.

Agents define what they did not send before. In a fleet most of it is what other agents defined, so that nearly all
is found here: a tenth of what hashing it costs.
"""

import threading
from collections.abc import Callable, Hashable, Sequence
from sys import getsizeof
from typing import Generic, TypeVar

from collector.ingest.definitions import Stack
from collector.ingest.recent import Recent
from fleetprof.frames import Frame

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

FRAME_BYTES = 64 << 20
"""Some 150,000."""
STACK_BYTES = 64 << 20
"""Some 120,000 of usual depth; those that known.py keeps, too, are there but once."""
_OVERHEAD_BYTES = 300


class _Made(Generic[K, V]):
    """What was made of each content. Safe to use from several threads."""

    def __init__(self, recent: Recent[K, V]) -> None:
        self._recent = recent
        self._lock = threading.Lock()

    def of_all(self, contents: Sequence[K], make: Callable[[K], V]) -> list[V]:
        """What is made of each; `make` is called for those that are not known, and may raise."""
        with self._lock:
            found = self._recent.get_all(contents)
        new = {place: make(contents[place]) for place, known in enumerate(found) if known is None}
        if new:
            with self._lock:
                for place, made in new.items():
                    self._recent.put(contents[place], made)
        return [new[place] if known is None else known for place, known in enumerate(found)]


FrameFields = tuple[int, str, str, str, int, str, int]
"""The fields of a Frame, in its order."""
Identified = tuple[int, Frame]
"""A frame behind its id."""


class Interned:
    """Of all senders."""

    def __init__(self, frame_bytes: int = FRAME_BYTES, stack_bytes: int = STACK_BYTES) -> None:
        """How much of each is kept at most."""
        self.frames: _Made[FrameFields, Identified] = _Made(Recent(frame_bytes, _weight_of_frame))
        self.stacks: _Made[bytes, tuple[int, Stack]] = _Made(Recent(stack_bytes, _weight_of_stack))
        """By the frames' ids, packed."""


def _weight_of_frame(made: Identified) -> int:
    frame = made[1]
    texts = (frame.function, frame.mapping, frame.build_id, frame.file)
    return _OVERHEAD_BYTES + sum(map(getsizeof, texts))


def _weight_of_stack(made: tuple[int, Stack]) -> int:
    return _OVERHEAD_BYTES + len(made[1].frames)
