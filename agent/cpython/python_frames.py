"""Python functions of the processes that are sampled: told to the kernel, and their names kept.

A process is looked at when it is first sampled or its mappings change: its executable, and libraries called
"python", are searched for an interpreter, once for each file. The kernel then puts Python frames into stacks as
words (words.py), and sends what a word is called before it is used, so that names outlive their process.
"""

import itertools
import posixpath
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from agent.cpython.find import Interpreter, find_interpreter
from agent.cpython.kernel_python import NAME, KernelPython, process_value
from agent.cpython.texts import text_of
from agent.file_finds import FileFinds
from agent.mapped_files import MappedFiles
from agent.process import Mapping, Process
from fleetprof.demangle import shorten
from fleetprof.frames import Frame, FrameKind

MAX_NAMES = 200_000
"""Of all processes together, about 200 bytes each; past it all are forgotten and sent again."""
MAX_FILES = 4096
UNKNOWN = Frame(FrameKind.PYTHON, "", "[python]")
"""A Python frame whose name could not be read."""


@dataclass(slots=True)
class _Followed:
    process: Process
    mappings: list[Mapping]
    found: Interpreter
    bias: int
    seed: int
    """Names that the kernel sent to the process's entry of another seed are forgotten."""
    names: dict[int, Frame] = field(default_factory=dict)


class PythonState(NamedTuple):
    """Figures for people."""

    processes: int
    names: int


class PythonFrames:
    """See the module's text. Not thread-safe: the pipeline's thread owns it."""

    def __init__(self, kernel: KernelPython, files: MappedFiles) -> None:
        self._kernel = kernel
        self._interpreters = FileFinds(files, find_interpreter, MAX_FILES)
        self._followed: dict[int, _Followed] = {}
        self._count = 0
        self._seeds = itertools.count(1)

    def follow(self, process: Process) -> None:
        """Let Python frames of a process be found, if it runs Python; cheap when nothing changed."""
        known = self._followed.get(process.pid)
        if known is not None and known.process is process and known.mappings is process.mappings:
            return
        found = self._interpreter(process)
        if found is None:
            self.forget(process.pid)
            return
        if known is not None and (known.found, known.bias) == found:
            known.process, known.mappings = process, process.mappings
            return
        self._drop_names(known)
        self._followed[process.pid] = _Followed(process, process.mappings, *found, seed=0)
        self._publish(process.pid)

    def learn(self) -> None:
        """Take in the names that came since the last call. Call at every drain, after it."""
        for record in self._kernel.take_names():
            if len(record) >= NAME.size:
                self._take(record)
        if self._count > MAX_NAMES:
            self._forget_names()

    def follows(self, process: Process) -> bool:
        """Whether stacks of a process may hold words."""
        known = self._followed.get(process.pid)
        return known is not None and known.process is process

    def frames(self, process: Process, words: list[int]) -> list[Frame]:
        """One frame for each word; UNKNOWN where its name could not be read."""
        known = self._followed.get(process.pid)
        names = known.names if known is not None else {}
        return [names.get(word, UNKNOWN) for word in words]

    def forget(self, pid: int) -> None:
        """Forget a process that is gone, or runs no Python."""
        self._kernel.remove_process(pid)
        self._drop_names(self._followed.pop(pid, None))

    def state(self) -> PythonState:
        """Figures as of now."""
        return PythonState(len(self._followed), self._count)

    def close(self) -> None:
        """Give the maps back; safe to call twice."""
        self._kernel.close()

    def _publish(self, pid: int) -> None:
        """Tell the kernel of a process, none of whose names are known."""
        known = self._followed[pid]
        known.seed = next(self._seeds) % (1 << 32)
        if not self._kernel.set_process(pid, process_value(known.found, known.bias, known.seed)):
            del self._followed[pid]

    def _take(self, record: bytes) -> None:
        word, pid, line, file_bytes, function_bytes = NAME.unpack_from(record)
        known = self._followed.get(pid)
        if known is None:
            return
        middle = NAME.size + file_bytes
        layout = known.found.layout.text
        function = text_of(record[middle : middle + function_bytes], layout)
        if function:
            self._count += word not in known.names
            known.names[word] = _frame(function, text_of(record[NAME.size : middle], layout), line)

    def _drop_names(self, known: _Followed | None) -> None:
        if known is not None:
            self._count -= len(known.names)

    def _forget_names(self) -> None:
        for pid, known in list(self._followed.items()):
            known.names.clear()
            self._publish(pid)
        self._count = 0

    def _interpreter(self, process: Process) -> tuple[Interpreter, int] | None:
        """The interpreter of a process, and what to add to the addresses of its file."""
        for mapping in process.mappings:
            if not mapping.inode or not _may_be_python(process, mapping):
                continue
            found = self._interpreters.of(mapping)
            bias = found.bias(mapping.start_addr, mapping.file_offset) if found else None
            if found is not None and bias is not None:
                return found, bias
        return None


@lru_cache(maxsize=16_384)
def _frame(function: str, file: str, line: int) -> Frame:
    """One object for all processes that have the function; an interpreter's own files have no folder."""
    file = shorten(file)
    mapping = posixpath.basename(file) or "[python]"
    return Frame(FrameKind.PYTHON, shorten(function), mapping, file=file, line=max(line, 0))


def _may_be_python(process: Process, mapping: Mapping) -> bool:
    """An interpreter is a library of that name, or part of the executable, whatever its name is."""
    return mapping.path == process.exe or "python" in posixpath.basename(mapping.path)
