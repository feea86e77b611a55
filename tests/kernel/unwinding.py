"""Sampling with unwound stacks, tables loaded before the first sample that counts."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from agent.backends.core import CoreBackend
from agent.backends.interface import BackendOptions
from agent.cpython.python_frames import PythonFrames
from agent.cpython.symbols import PythonSymbols
from agent.cpython.words import are_words
from agent.jvm.java_frames import JavaFrames
from agent.jvm.refresh import JvmMaps
from agent.object_files import ObjectFiles
from agent.processes import ProcessTable
from agent.resolve import Resolver, Symbols
from agent.sample_rows import take
from agent.samples import U64, Captures, UserEnd, concat
from agent.symbolize.symbolizer import UNMAPPED, Symbolizer
from agent.unwind.objects import TableBuilder
from agent.unwind.table_files import TableFiles
from agent.unwind.unwinder import Unwinder
from fleetprof.frames import Frame
from fleetprof.losses import Losses
from fleetprof.profile_types import ProfileType
from tests.kernel.cpu_load import cpu_ns, poll, rows_of, stack

FREQUENCY_HZ = 499


class Unwinding:
    """A backend that unwinds, the processes it knows, and names for what it sees."""

    def __init__(self, folder: Path, limit_bytes: int, options: BackendOptions) -> None:
        self._files = ObjectFiles()
        self.processes = ProcessTable(files=self._files)
        self.backend = CoreBackend(options)
        assert self.backend.unwind_tables, self.backend.unavailable
        builder = TableBuilder(TableFiles(folder))
        kernel = self.backend.unwind_tables.python
        python = PythonFrames(kernel, self._files) if kernel else None
        java = JavaFrames(self.backend.unwind_tables.hotspot_fd, self._files)
        self.unwinder = Unwinder(self.backend.unwind_tables, self._files, builder, limit_bytes, python, java)
        self.java_names = JvmMaps(8 << 20)
        native = Symbolizer(self._files, asked=self.java_names)
        self._symbols: Symbols = PythonSymbols(native, python) if python else native
        self.losses = Losses()

    def follow(self, pid: int) -> None:
        """Take a process in, and wait until its tables are loaded."""
        process = self.processes.find(pid, 0)
        assert process
        self.unwinder.follow(process)
        for _ in poll(lambda: self.is_loaded(pid)):
            self.unwinder.turn()
            self.unwinder.follow(process)

    def is_loaded(self, pid: int) -> bool:
        """Whether all of its tables are there; those of other processes may take their time."""
        known = self.unwinder._followed.get(pid)
        return known is not None and not any(
            code.pending for code in self.unwinder._layouts[known.layout].objects
        )

    def drain(self) -> Captures:
        """One drain as the pipeline does it."""
        self.processes.poll()
        drained = self.backend.drain()
        self.losses.update(drained.losses)
        self.unwinder.turn()
        for pid in set(drained.captures.pid.tolist()):
            process = self.processes.find(pid, time.monotonic_ns())
            if process:
                self.unwinder.follow(process)
        return drained.captures

    def sample(self, pid: int, seconds: float) -> Captures:
        """The samples of a process until it has used so much CPU time."""
        self.drain()
        began = cpu_ns(pid)
        parts = [self.drain() for _ in poll(lambda: cpu_ns(pid) - began >= seconds * 1e9)]
        return rows_of(concat([*parts, self.drain()]), pid)

    def waits(self, pid: int) -> Captures:
        """The waits of a process that ended since the last drain."""
        rows = rows_of(self.drain(), pid)
        return take(rows, np.flatnonzero(rows.type == ProfileType.OFFCPU))

    def names(self, captures: Captures, row: int) -> list[str]:
        """The functions of a user stack, leaf first."""
        return [frame.function or frame.mapping for frame in self.user_frames(captures, row)]

    def user_frames(self, captures: Captures, row: int) -> list[Frame]:
        """The frames of a user stack, leaf first; of the kernel's guesses, what agents believe (resolve.py)."""
        addrs = stack(captures.user, row).copy()
        called_from = ~are_words(addrs)
        called_from[:1] = False
        addrs[called_from] -= np.uint64(1)
        frames = self.frames(int(captures.pid[row]), addrs)
        if captures.user_end[row] == UserEnd.NEW and UNMAPPED in frames[1:]:
            del frames[frames.index(UNMAPPED, 1) :]
        return frames

    def ask_names(self, captures: Captures, pid: int) -> None:
        """Ask a Java VM what the compiled code of these samples is called, and wait for its answer."""
        process = self.processes.find(pid, 0)
        assert process
        self.java_names.follow(process, captures, window_end_ns=0)
        for _ in poll(lambda: not self.java_names.waiting):
            pass

    def frames(self, pid: int, addrs: U64) -> list[Frame]:
        """What lies at these addresses of a process."""
        process = self.processes.find(pid, 0)
        assert process
        return self._symbols.user_frames(process, addrs)

    def stacks(self, captures: Captures) -> list[list[Frame]]:
        """The frames of each row, leaf first, as they are sent to the collector."""
        resolver = Resolver(self._symbols)
        owners = [self.processes.find(pid, 0) for pid in captures.pid.tolist()]
        rows = resolver.resolve(captures, owners)
        self.losses.update(self._symbols.take_losses())
        return [[resolver.frames[number] for number in ids] for ids in rows]

    def close(self) -> None:
        self.java_names.close()
        self.unwinder.close()
        self.backend.close()
        self.processes.close()


@contextmanager
def unwinding(folder: Path, limit_bytes: int = 64 << 20, **options: Any) -> Iterator[Unwinding]:
    defaults: dict[str, Any] = {"sched": False, "unwind": "auto", "frequency_hz": FREQUENCY_HZ}
    wanted = BackendOptions(**(defaults | options))
    made = Unwinding(folder, limit_bytes, wanted)
    try:
        yield made
    finally:
        made.close()


def ends(captures: Captures) -> Counter[UserEnd]:
    """How many user stacks ended in which way."""
    with_stack = np.diff(captures.user.starts) > 0
    return Counter(UserEnd(end) for end in captures.user_end[with_stack].tolist())


def complete_share(captures: Captures) -> float:
    """Share of user stacks that reached the root of their thread."""
    found = ends(captures)
    return found[UserEnd.ROOT] / max(found.total(), 1)
