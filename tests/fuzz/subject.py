"""What is fuzzed: something that reads what others wrote, and where its inputs come from."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

Feed = Callable[[bytes], bool]
"""Takes one input and checks what came of it: whether anything did. Raises what must not happen."""


class Wrong(AssertionError):
    """Something was taken that was not sent, or taken as something else."""


class Inputs(Protocol):
    """A source of inputs; the same random numbers give the same ones."""

    def next(self) -> bytes:
        """The next input."""
        ...


def _nothing() -> None:
    """Nothing was left to be checked."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One reader. `settle` checks what `feed` left for later; call it after the last input."""

    feed: Feed
    seeds: Sequence[bytes]
    """Real inputs, each of which is taken."""
    inputs: Callable[[random.Random], Inputs]
    settle: Callable[[], None] = _nothing
    most_bytes: int = 200 << 20
    """Memory that all inputs together may need at most beyond what the seeds needed."""
    most_cpu_s: float = 2.0
    """CPU time that an input may take, and as much again for each MiB of it."""

    def cpu_s(self, size_bytes: int) -> float:
        """The bound for an input of so many bytes."""
        return self.most_cpu_s * (1 + size_bytes / (1 << 20))
