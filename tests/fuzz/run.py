"""Runs inputs through a target and keeps what breaks it."""

import random
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType

from tests.fuzz.mutate import Mutator
from tests.fuzz.seeds import seeds_of
from tests.fuzz.targets import Bench, target_of

LONGEST_S = 10
"""An input that takes longer hangs the receiver."""
MOST_GROWTH_BYTES = 600 << 20
"""Memory that inputs may take at most, gzip bombs included."""


class Slow(Exception):
    """An input took longer than LONGEST_S."""


@dataclass(frozen=True)
class Result:
    """How a run went."""

    receiver: str
    inputs: int
    taken: int
    seconds: float
    growth_bytes: int


def run(
    receiver: str, inputs: int, seed: int, folder: Path | None = None, bench: Bench | None = None
) -> Result:
    """Feed so many inputs; an input that breaks the receiver is written into `folder`, and its error raised."""
    structured = receiver not in ("folded", "otlp-json", "pyroscope-form")
    mutator = Mutator(random.Random(seed), seeds_of(receiver), structured, packed=receiver in _UNPACKING)
    target = target_of(receiver, bench or Bench())
    for data in seeds_of(receiver):
        target(data)
    began_s, before, taken = time.monotonic(), _peak_bytes(), 0
    with _alarm():
        for number in range(inputs):
            data = mutator.next()
            with _Keeping(data, folder, f"{receiver}-{seed}-{number}"):
                taken += target(data)
    growth = _peak_bytes() - before
    assert growth < MOST_GROWTH_BYTES, f"memory grew by {growth >> 20} MiB"
    return Result(receiver, inputs, taken, time.monotonic() - began_s, growth)


_UNPACKING = ("pprof", "folded")


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


class _Keeping:
    """Keeps the input with which a block ends in an error, or takes too long, and notes where it is."""

    def __init__(self, data: bytes, folder: Path | None, name: str) -> None:
        self._data, self._folder, self._name = data, folder, name

    def __enter__(self) -> None:
        signal.alarm(LONGEST_S)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.alarm(0)
        if error is None:
            return
        where = repr(self._data)
        if self._folder:
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / self._name).write_bytes(self._data)
            where = str(self._folder / self._name)
        error.add_note(f"The input {self._name} is {where}.")


@contextmanager
def _alarm() -> Iterator[None]:
    def ring(number: int, frame: FrameType | None) -> None:
        raise Slow(f"an input took more than {LONGEST_S} s")

    before = signal.signal(signal.SIGALRM, ring)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
