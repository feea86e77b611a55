"""The symbols of all files in use, under one limit of memory: what was used least recently goes first."""

import os
from collections import Counter, OrderedDict
from dataclasses import replace

from agent.symbolize.debug_files import DebugFile
from agent.symbolize.elf import MemoryBytes
from agent.symbolize.object_symbols import NamedTable, ObjectSymbols
from agent.symbolize.symbol_table import SymbolTable

OBJECT_BYTES = 4096
"""Charged for a file's own Python objects."""
NAME_BYTES = 400
"""Charged for a remembered name: its string, tuple, key and dict entry."""
MAX_DEBUG_FILES = 256
"""Debug files held open at once."""

FileKey = tuple[int, int, int, int]


def file_key(fd: int) -> FileKey:
    """(device, inode, size, modification time): tells a rewritten file from before. Raises OSError."""
    status = os.fstat(fd)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class ObjectCache:
    """ObjectSymbols by file, at most `limit_bytes` in all (one larger file may stand alone)."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._objects: OrderedDict[FileKey, ObjectSymbols] = OrderedDict()
        self._charged: dict[FileKey, int] = {}
        self._tables: dict[bytes, SymbolTable] = {}
        self._users: Counter[bytes] = Counter()
        self._debug_files = 0
        self.nbytes = 0
        """Memory in use, as charged."""

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, key: FileKey) -> ObjectSymbols | None:
        """The symbols of a file, which then counts as used."""
        symbols = self._objects.get(key)
        if symbols:
            self._objects.move_to_end(key)
        return symbols

    def put(self, key: FileKey, symbols: ObjectSymbols) -> None:
        """Keep `symbols`, sharing tables that another file has too."""
        symbols.tables = tuple(self._shared(table) for table in symbols.tables)
        self._objects[key] = symbols
        self.charge(key)

    def charge(self, key: FileKey) -> None:
        """Take account of names that a file gained, and forget the least recently used files for them.

        The newest file stays, but loses its names when they alone are too many.
        """
        symbols = self._objects[key]
        if len(symbols.names) * NAME_BYTES > self._limit:
            symbols.names.clear()
        now = OBJECT_BYTES + len(symbols.names) * NAME_BYTES + _image_bytes(symbols)
        self.nbytes += now - self._charged.get(key, 0)
        self._charged[key] = now
        while len(self._objects) > 1 and (self.nbytes > self._limit or self._debug_files > MAX_DEBUG_FILES):
            self._forget(next(iter(self._objects)))

    def _forget(self, key: FileKey) -> None:
        for table in self._objects.pop(key).tables:
            self._release(table)
        self.nbytes -= self._charged.pop(key)

    def _shared(self, named: NamedTable) -> NamedTable:
        table = self._tables.setdefault(named.table.digest, named.table)
        if not self._users[table.digest]:
            self.nbytes += table.nbytes
        self._users[table.digest] += 1
        self._debug_files += isinstance(named.source, DebugFile)
        return replace(named, table=table)

    def _release(self, named: NamedTable) -> None:
        digest = named.table.digest
        self._users[digest] -= 1
        if not self._users[digest]:
            self.nbytes -= self._tables.pop(digest).nbytes
            del self._users[digest]
        if isinstance(named.source, DebugFile):
            named.source.close()
            self._debug_files -= 1


def _image_bytes(symbols: ObjectSymbols) -> int:
    return sum(table.source.size for table in symbols.tables if isinstance(table.source, MemoryBytes))
