"""A debug file on its way in from an agent: parts at increasing offsets, what is between them stays zero."""

import os
import zlib
from contextlib import ExitStack
from hashlib import blake2b
from typing import IO

from collector.debuginfo.files import DebugFiles
from collector.debuginfo.intake import CHUNK_BYTES
from fleetprof.errors import InputError, UnavailableError

DIGEST_BYTES = 32


class Damaged(Exception):
    """The part is not what was sent: it may come again."""


class Arrival:
    """Gone with its file unless that is kept. One thread at a time may use it."""

    def __init__(self, files: DebugFiles, size: int, sent_size: int) -> None:
        """A file of `size` bytes of which `sent_size` come; raises UnavailableError."""
        self._size, self._missing = size, sent_size
        self._digest = blake2b(digest_size=DIGEST_BYTES)
        self._end = 0
        self._latest: tuple[int, int] | None = None
        self._held = ExitStack()
        self.file: IO[bytes] = self._held.enter_context(files.incoming(sent_size))

    @property
    def missing(self) -> int:
        """Bytes that are still to come."""
        return self._missing

    def add(self, offset: int, data: bytes, crc32: int) -> int:
        """Write a part; returns how much is new: nothing of one that came before, as its answer may be lost.

        Raises Damaged, InputError for what is no part of this file, UnavailableError.
        """
        if zlib.crc32(data) != crc32:
            raise Damaged("The part arrived damaged.")
        if (offset, crc32) == self._latest:
            return 0
        if not 0 < len(data) <= CHUNK_BYTES:
            raise InputError("A part has 1 byte to 1 MiB.", "")
        if offset < self._end or offset + len(data) > self._size or len(data) > self._missing:
            raise InputError("The parts are not those of the file that was offered.", "Offer it again.")
        try:
            _write(self.file.fileno(), data, offset)
        except OSError as error:
            raise UnavailableError(f"The part cannot be written: {error.strerror}.", "") from error
        self._digest.update(offset.to_bytes(8, "little") + data)
        self._end, self._latest = offset + len(data), (offset, crc32)
        self._missing -= len(data)
        return len(data)

    def complete(self, digest: bytes) -> None:
        """All parts are there; raises InputError where that is not so, or one of them is another."""
        if self._missing or digest != self._digest.digest():
            raise InputError("The file is not whole, or not what was sent.", "Offer it again.")
        try:
            self.file.truncate(self._size)
        except OSError as error:
            raise UnavailableError(f"The file cannot be written: {error.strerror}.", "") from error

    def close(self) -> None:
        """Remove what came, unless it was kept."""
        self._held.close()


def _write(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written
