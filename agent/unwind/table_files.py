"""Unwind tables on disk: built once for each content of call frame information, kept within a limit.

A table's name is a hash of all it is made of, so that no file can pass for another: a build id would do only if
nobody could write one into a file of his own.
"""

import contextlib
import hashlib
import logging
import os
import struct
import tempfile
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from agent.unwind.build import FrameSection, row_source, write_table
from agent.unwind.layout import HEADER, LINE_BYTES, MAGIC, MAX_PAGES, ROWS_PER_LINE, RULE, VERSION

log = logging.getLogger("fleetprof.unwind")

ENDING = ".table"
LIMIT_BYTES = 256 << 20
_READ_BYTES = 1 << 20


def key_of(section: FrameSection) -> str:
    """What names the table of a section."""
    digest = hashlib.blake2b(section.data, digest_size=16, person=b"fleetprof-unwind")
    digest.update(
        struct.pack("<QQQII", section.vaddr, section.base, section.code_end, section.machine, VERSION)
    )
    return digest.hexdigest()


class TableFiles:
    """Tables in `folder`, at most `limit_bytes`: the least recently used go first. Where the folder cannot be
    written to, tables are built in memory each time."""

    def __init__(self, folder: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        self._folder = folder
        self._limit = limit_bytes
        self._usable: bool | None = None

    def table(self, section: FrameSection) -> tuple[BinaryIO, int]:
        """The table of a section as an open file, and its size; raises ElfError where it has none."""
        path = self._folder / (key_of(section) + ENDING)
        found = self._open(path)
        if found:
            return found
        out = self._temporary()
        try:
            size = write_table(section, row_source(section), out)
            out.flush()
            self._keep(out, path)
        except BaseException:
            out.close()
            raise
        return out, size

    def _open(self, path: Path) -> tuple[BinaryIO, int] | None:
        try:
            file = path.open("rb", buffering=0)
        except OSError:
            return None
        try:
            size = checked_size(file)
            os.utime(path)
        except (OSError, ValueError) as error:
            log.warning("The unwind table %s is damaged (%s) and is built again.", path, error)
            file.close()
            return None
        return file, size

    def _temporary(self) -> BinaryIO:
        """A nameless file to build in: on the disk where that is possible, so that it can be kept."""
        if self._usable is None:
            try:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._remove_unfinished()
                self._usable = True
            except OSError as error:
                log.warning("Unwind tables are not kept on disk: %s.", error)
                self._usable = False
        if self._usable:
            with contextlib.suppress(OSError):
                return tempfile.NamedTemporaryFile("w+b", dir=self._folder, delete=False)  # type: ignore[return-value]
        return os.fdopen(os.memfd_create("unwind-table"), "w+b")

    def _remove_unfinished(self) -> None:
        """Remove what an agent left that was killed while it built."""
        for path in self._folder.iterdir():
            if path.suffix != ENDING:
                path.unlink()

    def _keep(self, built: BinaryIO, path: Path) -> None:
        """Give a table that was built its name, after making room for it."""
        if not isinstance(built.name, str):
            return
        try:
            self._make_room(os.fstat(built.fileno()).st_size)
            os.replace(built.name, path)
        except OSError as error:
            log.warning("The unwind table %s cannot be kept: %s.", path, error)
            with contextlib.suppress(OSError):
                os.unlink(built.name)

    def _make_room(self, size: int) -> None:
        kept = []
        for entry in os.scandir(self._folder):
            status = entry.stat()
            kept.append((status.st_mtime_ns, status.st_size, entry.path))
        total = sum(bytes_used for _, bytes_used, _ in kept)
        for _, bytes_used, path in sorted(kept):
            if total <= self._limit:
                break
            if path.endswith(ENDING):
                os.unlink(path)
                total -= bytes_used


def checked_size(file: BinaryIO) -> int:
    """The size of a table's file; raises ValueError where it is not whole and sound."""
    size = os.fstat(file.fileno()).st_size
    head = file.read(LINE_BYTES)
    if len(head) != LINE_BYTES or size % LINE_BYTES:
        raise ValueError("it is cut")
    header = np.frombuffer(head, HEADER)[0]
    lines, pages = int(header["lines"]), int(header["pages"])
    rules_end = int(header["rules_line"]) * LINE_BYTES + int(header["rules"]) * RULE.itemsize
    directory_end = int(header["directory_line"]) * ROWS_PER_LINE + pages + 1
    if header["magic"] != MAGIC or lines * LINE_BYTES != size:
        raise ValueError("it is of another version or size")
    if pages > MAX_PAGES or rules_end > size or directory_end > lines * ROWS_PER_LINE:
        raise ValueError("its parts lie outside of it")
    checksum = 0
    while chunk := file.read(_READ_BYTES):
        checksum = zlib.crc32(chunk, checksum)
    if checksum != header["checksum"]:
        raise ValueError("its checksum is wrong")
    return size
