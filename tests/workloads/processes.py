"""Processes and their symbols as the agent would hold them, for tests that look up known addresses."""

from collections.abc import Iterable

import numpy as np

from agent.object_files import ObjectFiles
from agent.process import Process
from agent.process_reader import ProcessReader
from agent.symbolize.symbolizer import Symbolizer
from fleetprof.frames import Frame


def process_of(pid: int, start_ns: int = 0) -> Process:
    """A snapshot of a living process."""
    with ProcessReader(pid) as reader:
        return Process(
            pid=pid,
            namespace_pid=reader.namespace_pid(),
            start_ns=start_ns,
            comm=reader.stat().comm,
            exe=reader.exe(),
            mappings=reader.mappings(),
        )


class Symbolized:
    """A process with its files held open: look-ups work as long as this object lives."""

    def __init__(self, pid: int, memory_limit_bytes: int = 64 << 20) -> None:
        self.process = process_of(pid)
        self._files = ObjectFiles()
        for mapping in self.process.mappings:
            self._files.remember(self.process, mapping)
        self.symbolizer = Symbolizer(self._files, memory_limit_bytes)

    def frames(self, addrs: Iterable[int]) -> list[Frame]:
        """One frame per address."""
        return self.symbolizer.user_frames(self.process, np.array(list(addrs), np.uint64))

    def frame(self, addr: int) -> Frame:
        """The frame of one address."""
        return self.frames([addr])[0]

    def reread_mappings(self) -> None:
        """As the agent does when the process maps more."""
        self.process = process_of(self.process.pid)
        for mapping in self.process.mappings:
            self._files.remember(self.process, mapping)
