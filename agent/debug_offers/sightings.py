"""Files that samples lie in, handed from the pipeline to the thread that offers debug files.

A descriptor of its own goes with each: most processes of a window may be gone when the thread looks.
"""

import os
import queue
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from agent.symbolize.debug_files import DebugFile
from agent.symbolize.object_cache import FileKey
from agent.symbolize.object_symbols import ObjectSymbols
from fleetprof.frames import Frame

MAX_WAITING = 128
"""Files held open until the thread looks at them; what is more is seen again."""
MAX_KNOWN = 8192
SEEN_AGAIN_S = 3600.0
"""A file is looked at again after so long: a debug package may have come, or the collector need it now."""


class Sighting(NamedTuple):
    """A file with samples. The descriptor is the holder's to close."""

    fd: int
    path: str
    """As the process maps it."""
    roots: tuple[str, ...]
    """Where its debug file may lie."""
    nameless: bool
    """Some of its frames have no name here, ..."""
    all_tables: bool
    """... though a debug file's symbols were read: it cannot tell more of them than it did."""
    too_much: bool
    """... since its tables are too much for this agent's memory, or damaged."""


class Sightings:
    """`see` belongs to the pipeline's thread, the rest to any one other. Off until `turn`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` is monotonic, in seconds."""
        self._clock = clock
        self._on = False
        self._known: OrderedDict[FileKey, tuple[float, bool]] = OrderedDict()
        self._waiting: queue.SimpleQueue[Sighting] = queue.SimpleQueue()

    def turn(self, on: bool) -> None:
        """Whether files are wanted."""
        self._on = on

    def see(
        self, key: FileKey, fd: int, path: str, pid: int, symbols: ObjectSymbols, frames: list[Frame]
    ) -> None:
        """Frames of a file were looked up; `fd` stays the caller's. Cheap where there is no news."""
        if not self._on or not symbols.build_id or all(frame.file for frame in frames):
            return
        nameless = any(not frame.function for frame in frames)
        seen_s, was_nameless = self._known.get(key, (0.0, False))
        now_s = self._clock()
        if seen_s and now_s - seen_s < SEEN_AGAIN_S and was_nameless >= nameless:
            return
        if self._waiting.qsize() >= MAX_WAITING:
            return
        try:
            own = os.dup(fd)
        except OSError:
            return  # no descriptors left: names can wait
        all_tables = any(isinstance(table.source, DebugFile) for table in symbols.tables)
        roots = (f"/proc/{pid}/root", "/")
        self._waiting.put(Sighting(own, path, roots, nameless, all_tables, symbols.loss is not None))
        self._known[key] = (now_s, nameless)
        self._known.move_to_end(key)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)

    def take(self) -> list[Sighting]:
        """What was seen since the last call, in order."""
        taken = []
        for _ in range(self._waiting.qsize()):
            try:
                taken.append(self._waiting.get_nowait())
            except queue.Empty:
                break
        return taken

    def close(self) -> None:
        """Close what waits."""
        self._on = False
        for sighting in self.take():
            os.close(sighting.fd)
