"""Payloads on disk, oldest first out, within a limit: what an agent cannot deliver now outlives it here.

A folder of numbered files of about SEGMENT_BYTES. Appending goes to the newest, reading to the oldest; a file
goes when all of it was taken, so that after a crash what was taken since may come again. Past the limit the
oldest file is dropped whole, and its payloads are counted. Nothing is made on disk before the first append.

Belongs to one thread; `waiting` and `size_bytes` may be read from any. One process at a time has the folder
(a lock), others get OSError.
"""

import errno
import fcntl
import logging
import os
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from agent.spool_records import HEADER_BYTES, PROLOGUE_BYTES, count, payloads, prologue, record
from fleetprof.durable import force_folder
from fleetprof.losses import DropReason, Losses

log = logging.getLogger("fleetprof.spool")

SEGMENT_BYTES = 1 << 20
_SUFFIX = ".spool"
_LOCK = "lock"


@dataclass(slots=True)
class _Segment:
    path: Path
    size_bytes: int
    waiting: int
    """Records not taken yet."""


class Spool:
    """The payloads of a folder."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        """Find what an earlier run left. Raises OSError where the folder cannot be used."""
        self._folder, self._limit_bytes = folder, limit_bytes
        self._segment_bytes = min(SEGMENT_BYTES, max(limit_bytes // 8, 1))
        self._segments: deque[_Segment] = deque()
        self._loaded: deque[bytes] | None = None
        """What the oldest segment still holds, once it is read."""
        self._lock = self._file = -1
        self._beginning = b""
        self._next = 1
        self._losses = Losses()
        self.waiting = 0
        """Payloads that were not taken yet."""
        self.size_bytes = 0
        """Bytes on disk."""
        if folder.is_dir():
            self._take_lock()
            self._find()

    def append(self, payload: bytes) -> None:
        """Keep `payload` as the newest; drops the oldest past the limit. Durable after `sync`.

        Raises OSError (disk full), and then nothing is kept.
        """
        if self._lock < 0:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._take_lock()
            self._find()
        if self._file >= 0 and self._segments[-1].size_bytes >= self._segment_bytes:
            self._seal()
        self._make_room(len(payload) + HEADER_BYTES + PROLOGUE_BYTES)
        if self._file < 0:
            self._begin()
        self._write(record(payload, self._beginning))
        self._segments[-1].waiting += 1
        self.waiting += 1

    def sync(self) -> None:
        """Force what was appended to disk; raises OSError."""
        if self._file >= 0:
            os.fdatasync(self._file)

    def oldest(self, count: int = 1) -> list[bytes]:
        """The oldest payloads, up to `count` of one file; none when nothing waits."""
        while self._segments:
            if self._loaded is None:
                self._load()
            if self._loaded:
                return list(islice(self._loaded, count))
            self._drop_oldest()
        return []

    def take(self, places: Collection[int] = (0,)) -> None:
        """Those of the payloads that `oldest` gave, by place: they are done with."""
        assert self._loaded
        left = deque(payload for place, payload in enumerate(self._loaded) if place not in places)
        taken, self._loaded = len(self._loaded) - len(left), left
        self._segments[0].waiting -= taken
        self.waiting -= taken
        if not left:
            self._drop_oldest()

    def take_losses(self) -> Losses:
        """What was dropped since the last call."""
        losses, self._losses = self._losses, Losses()
        return losses

    def close(self) -> None:
        """Force what was appended to disk, and leave the folder to others; raises OSError."""
        try:
            self._seal()
        finally:
            if self._lock >= 0:
                os.close(self._lock)
            self._lock = -1

    def _take_lock(self) -> None:
        lock = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise OSError(errno.EBUSY, "another agent uses it", str(self._folder)) from None
        self._lock = lock

    def _find(self) -> None:
        for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
            if path.stem.isdigit():
                self._segments.append(_Segment(path, path.stat().st_size, count(path)))
                self._next = int(path.stem) + 1
        self.waiting = sum(segment.waiting for segment in self._segments)
        self.size_bytes = sum(segment.size_bytes for segment in self._segments)

    def _begin(self) -> None:
        """Open a new file. Its name is made durable with it."""
        path = self._folder / f"{self._next:012}{_SUFFIX}"
        self._next += 1
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._segments.append(_Segment(path, 0, 0))
        self._beginning = prologue()
        self._write(self._beginning)
        force_folder(self._folder)

    def _write(self, data: bytes) -> None:
        """Append all of `data` to the newest file or nothing; a file that fails is not written again."""
        segment = self._segments[-1]
        try:
            done = 0
            while done < len(data):
                done += os.pwrite(self._file, data[done:], segment.size_bytes + done)
        except OSError:
            self._close_file()
            if segment.waiting:
                os.truncate(segment.path, segment.size_bytes)
            else:
                self._segments.pop()
                self.size_bytes -= segment.size_bytes
                segment.path.unlink()
            raise
        segment.size_bytes += len(data)
        self.size_bytes += len(data)

    def _seal(self) -> None:
        """Write no more to the newest file."""
        try:
            self.sync()
        finally:
            self._close_file()

    def _close_file(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def _load(self) -> None:
        """Read the oldest file; what it lost is counted."""
        segment = self._segments[0]
        if len(self._segments) == 1:
            self._seal()
        try:
            found = list(payloads(segment.path.read_bytes()))
        except OSError as error:
            log.error("Windows that waited on disk cannot be read: %s: %s.", segment.path, error.strerror)
            found = [None] * max(segment.waiting, 1)
        whole = [payload for payload in found if payload is not None]
        if damaged := len(found) - len(whole):
            log.warning("%d windows that waited in %s are damaged and lost.", damaged, segment.path)
            self._losses[DropReason.SPOOL_DAMAGED] += damaged
        self.waiting += len(whole) - segment.waiting
        segment.waiting = len(whole)
        self._loaded = deque(whole)

    def _make_room(self, more_bytes: int) -> None:
        if more_bytes > self._limit_bytes:
            raise OSError(errno.EFBIG, "one window is larger than the limit", str(self._folder))
        while self._segments and self.size_bytes + more_bytes > self._limit_bytes:
            self._losses[DropReason.QUEUE_FULL] += self._segments[0].waiting
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        if len(self._segments) == 1:
            self._close_file()
        segment = self._segments.popleft()
        self.waiting -= segment.waiting
        self.size_bytes -= segment.size_bytes
        self._loaded = None
        segment.path.unlink(missing_ok=True)
