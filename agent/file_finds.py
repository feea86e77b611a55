"""What is looked for in the files that processes have mapped, once in each."""

from collections.abc import Callable
from typing import Generic, TypeVar

from agent.mapped_files import MappedFiles
from agent.process import Mapping
from agent.symbolize.elf import ByteSource, ElfError, FileBytes
from agent.symbolize.object_cache import FileKey, file_key

Found = TypeVar("Found")


class FileFinds(Generic[Found]):
    """`find` tells what is in a file, None for nothing; past `limit` files all are forgotten."""

    def __init__(self, files: MappedFiles, find: Callable[[ByteSource], Found | None], limit: int) -> None:
        self._files, self._find, self._limit = files, find, limit
        self._known: dict[FileKey, Found | None] = {}

    def of(self, mapping: Mapping) -> Found | None:
        """What is in a mapped file; None, too, where it cannot be read."""
        fd = self._files.fd(mapping)
        if fd is None:
            return None
        try:
            key, source = file_key(fd), FileBytes(fd)
        except (ElfError, OSError):
            return None
        if key not in self._known:
            if len(self._known) >= self._limit:
                self._known.clear()
            self._known[key] = self._find(source)
        return self._known[key]
