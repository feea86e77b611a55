"""Feeds inputs to a subject within bounds of CPU time and memory, and keeps what breaks it."""

import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from types import FrameType
from typing import NamedTuple, Protocol

from tests.fuzz.subject import Subject
from tests.fuzz.subjects import subject_of

GROUP, GROUP_CPU_S = 64, 1.0
"""So many inputs together take less than this, where none of them is slow."""


class Slow(BaseException):
    """An input took more CPU time than it may; no code under test takes it for an error of its own."""


class TooMuchMemory(AssertionError):
    """Inputs took more memory than they may."""


class Result(NamedTuple):
    """How a run went. `taken` inputs were not refused; worst are the slowest input, and how far memory grew."""

    subject: str
    inputs: int
    taken: int
    cpu_s: float
    worst_s: float
    worst_bytes: int


class Watch(Protocol):
    """Told of each input before it is fed."""

    def fed(self, data: bytes) -> None:
        """An input is next."""
        ...

    def failed(self, data: bytes, number: int, error: BaseException) -> bool:
        """An input broke the subject; whether to go on."""
        ...


class Unwatched:
    """The first input that breaks a subject ends the run; it is in the error's notes."""

    def fed(self, data: bytes) -> None:
        """See Watch."""

    def failed(self, data: bytes, number: int, error: BaseException) -> bool:
        """See Watch."""
        error.add_note(f"Input {number}: {data!r}")
        return False


def run(
    name: str, inputs: int, seed: int, subject: Subject | None = None, watch: Watch | None = None
) -> Result:
    """Feed so many inputs, which `seed` decides; raises what the first one raises that breaks the subject."""
    found = subject or subject_of(name)
    for data in found.seeds:
        found.feed(data)
    found.settle()
    feeding = _Feeding(found, watch or Unwatched())
    source, feed, taken = found.inputs(Random(f"{name} {seed}")), found.feed, 0
    began_s = time.process_time()
    with _alarm():
        for number in range(inputs):
            if number % GROUP == 0:
                signal.setitimer(signal.ITIMER_PROF, GROUP_CPU_S + found.most_cpu_s)
            data = source.next()
            with feeding.of(data, number):
                taken += feed(data)
        with feeding.of(b"", inputs):
            found.settle()
    growth = feeding.peak - feeding.base
    return Result(name, inputs, taken, time.process_time() - began_s, feeding.worst_s, growth)


class _Feeding:
    """A block around each input: measures it, and takes any error that it raises, so that the next can follow; but
    not a request to end the program."""

    def __init__(self, subject: Subject, watch: Watch) -> None:
        self._subject, self._watch = subject, watch
        self.base = self.peak = _peak_bytes()
        """Peak memory before the first input, and now."""
        self.worst_s = 0.0
        self._data, self._number, self._began_s = b"", 0, 0.0

    def of(self, data: bytes, number: int) -> "_Feeding":
        """The block for an input."""
        self._data, self._number = data, number
        return self

    def __enter__(self) -> None:
        self._watch.fed(self._data)
        self._began_s = time.thread_time()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        found = error or self._measure()
        if not isinstance(found, Exception | Slow):
            return False
        if self._watch.failed(self._data, self._number, found):
            return True
        if error:
            return False
        raise found

    def _measure(self) -> BaseException | None:
        """What is wrong with what the input took, if anything."""
        spent_s, peak = time.thread_time() - self._began_s, _peak_bytes()
        self.worst_s = max(self.worst_s, spent_s)
        if spent_s > self._subject.cpu_s(len(self._data)):
            return Slow(f"an input took {spent_s:.1f} s of CPU time")
        if peak > self.peak:
            self.peak = peak
            if peak - self.base > self._subject.most_bytes:
                return TooMuchMemory(f"memory grew by {(peak - self.base) >> 20} MiB")
        return None


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


@contextmanager
def _alarm() -> Iterator[None]:
    """CPU time is counted by ITIMER_PROF: another program on this machine makes no input slow."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise Slow("an input took too much CPU time")

    before = signal.signal(signal.SIGPROF, ring)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
