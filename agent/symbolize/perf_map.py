"""perf-PID.map: what a runtime's JIT compiler says of the code it made. Written by the process, so untrusted.

Format: lines `START SIZE name`, the numbers in hex
(https://github.com/torvalds/linux/blob/master/tools/perf/Documentation/jit-interface.txt).
"""

import os
import zlib

from agent.process_budget import Budget
from agent.samples import U64
from agent.symbolize.code_ranges import CodeRanges
from agent.symbolize.reading_cost import reading_budget, spending

MAX_MAP_BYTES = 32 << 20
"""Of text read from one process's map, about 400,000 functions."""
CHUNK_BYTES = 256 << 10
"""Read at a time: 0.1 s of work where every other byte ends a line."""
MAX_LINE_BYTES = 8192
MAX_CHECKED_BYTES = 4 << 20
"""Text at the start whose checksum shows whether the map was rewritten: 3 ms of work at most."""
_TAIL_BYTES = 256


class PerfMap:
    """One map, read as far as it was written. Later lines win over earlier ones that they overlap."""

    def __init__(self, budget: Budget | None = None) -> None:
        self.bad_lines = 0
        self._full = False
        self._budget = budget or reading_budget()
        self._ranges = CodeRanges()
        self._read_bytes = 0
        self._tail = b""
        self._checked_bytes = 0
        self._checksum = 0
        self._inode = (0, 0)
        self._stamp = (0, 0)

    def __len__(self) -> int:
        return len(self._ranges)

    @property
    def nbytes(self) -> int:
        """Memory in use."""
        return self._ranges.nbytes

    @property
    def full(self) -> bool:
        """Whether there may be more in it than is read: it is too large, or takes too much time."""
        return self._full or self._budget.wait_ns() > 0

    def update(self, fd: int) -> None:
        """Read what was added to the open map `fd`; all of it when the file was replaced or rewritten.

        One that took more time than it may is left for later. Raises OSError when it cannot be read.
        """
        if self._budget.wait_ns():
            return
        with spending(self._budget):
            changed = self._look(fd)
        if changed:
            self._read_tail(fd)

    def _look(self, fd: int) -> bool:
        """Whether anything was written since the last look; forgets what was read where that is gone."""
        status = os.fstat(fd)
        stamp = (status.st_size, status.st_mtime_ns)
        inode = (status.st_dev, status.st_ino)
        if inode == self._inode and stamp == self._stamp:
            return False
        if inode != self._inode or status.st_size < self._read_bytes or not self._continues(fd):
            bad_lines = self.bad_lines
            self.__init__(self._budget)  # type: ignore[misc]
            self.bad_lines = bad_lines
        self._inode, self._stamp = inode, stamp
        return True

    def names(self, addrs: U64) -> list[str]:
        """The name at each address, "" where the map has none."""
        return self._ranges.texts(addrs)

    def _continues(self, fd: int) -> bool:
        """Whether the text up to the place we read to is still what it was (jcmd writes its maps anew)."""
        tail = os.pread(fd, len(self._tail), self._read_bytes - len(self._tail))
        return tail == self._tail and self._checksum == zlib.crc32(os.pread(fd, self._checked_bytes, 0))

    def _note(self, lines: bytes) -> None:
        """Remember what was read, for `_continues`."""
        self._read_bytes += len(lines)
        self._tail = (self._tail + lines)[-_TAIL_BYTES:]
        checked = lines[: MAX_CHECKED_BYTES - self._checked_bytes]
        self._checked_bytes += len(checked)
        self._checksum = zlib.crc32(checked, self._checksum)

    def _read_tail(self, fd: int) -> None:
        self._full = False
        while self._read_bytes < MAX_MAP_BYTES and not self._ranges.full:
            with spending(self._budget):
                if not self._read_chunk(fd):
                    return
            if self._budget.wait_ns():
                self._stamp = (0, 0)  # to go on there, though nothing is added
                return
        self._full = True

    def _read_chunk(self, fd: int) -> bool:
        """Take in the next lines; False where they end for now."""
        chunk = os.pread(fd, CHUNK_BYTES, self._read_bytes)
        lines_end = chunk.rfind(b"\n") + 1
        if not lines_end:
            if len(chunk) < CHUNK_BYTES:
                return False
            lines_end, self.bad_lines = len(chunk), self.bad_lines + 1
        self._note(chunk[:lines_end])
        self._add(chunk[:lines_end])
        return True

    def _add(self, chunk: bytes) -> None:
        for line in chunk.split(b"\n"):
            if not line:
                continue
            try:
                start_text, size_text, name = line.split(b" ", 2)
                start, size = int(start_text, 16), int(size_text, 16)
            except ValueError:
                self.bad_lines += 1
                continue
            if size <= 0 or start <= 0 or start + size >= 1 << 64 or len(line) > MAX_LINE_BYTES or not name:
                self.bad_lines += 1
                continue
            self._ranges.add(start, start + size, name)
