"""Names for stacks that hold Python frames: those from agent.cpython, the others from the native symbols."""

from agent.cpython.merge import CALL
from agent.cpython.python_frames import UNKNOWN, PythonFrames
from agent.cpython.words import are_words
from agent.process import Process
from agent.resolve import Symbols
from agent.samples import U64
from fleetprof.frames import Frame, FrameKind
from fleetprof.losses import DropReason, Losses


class PythonSymbols:
    """The Symbols of a resolver, where Python frames are among the addresses."""

    def __init__(self, native: Symbols, python: PythonFrames) -> None:
        self._native = native
        self._python = python
        self._nameless = 0

    def user_frames(self, process: Process, addrs: U64) -> list[Frame]:
        """One frame per address or word, in order."""
        if not self._python.follows(process):
            return self._native.user_frames(process, addrs)
        python = are_words(addrs)
        named = self._python.frames(process, addrs[python].tolist())
        self._nameless += sum(frame is UNKNOWN for frame in named)
        words = iter(named)
        native = map(_without_trampoline, self._native.user_frames(process, addrs[~python]))
        return [next(words) if is_word else next(native) for is_word in python.tolist()]

    def kernel_frames(self, addrs: U64) -> list[Frame]:
        """One frame per address, in order."""
        return self._native.kernel_frames(addrs)

    def take_losses(self) -> Losses:
        """What could not be named since the last call."""
        losses = self._native.take_losses()
        if self._nameless:
            losses[DropReason.PYTHON_UNREADABLE] += self._nameless
        self._nameless = 0
        return losses


def _without_trampoline(frame: Frame) -> Frame:
    """With -X perf each function has a piece of code of its own that calls the loop, and is there twice."""
    return CALL if frame.kind is FrameKind.PYTHON else frame
