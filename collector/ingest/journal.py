"""Batches on their way into the store, on disk: what makes a batch enter all tables, each once, and survive.

ClickHouse commits one insert into one table at a time, and leaves it to the kernel when rows reach the disk. A
batch is therefore written to a file first, whole or not at all (written beside, forced to disk, renamed),
together with the number of each table's newest block. From then on it is bound to be stored: after a crash a
table has the batch's block if and only if it has one that is newer than noted and not newer than what the next
entry noted, because this collector is the tables' only writer and each insert is one block (recovery.py).

An entry stays until its rows are rolled up, too. The roll-up is an entry itself, which says which entries it
covers; from then on their rows need no roll-up. When it is in the tables, the file system is synced once, so
that all that these entries hold is on disk, and the entries go: first the covered ones, then, once their going is
on disk, the roll-up's. So neither kill -9 nor a loss of power loses what was acknowledged, at one forced write a
batch.
"""

import ctypes
import json
import logging
import os
import struct
import uuid
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from collector.store.columns import from_ipc, to_ipc

log = logging.getLogger("fleetprof.ingest")

JOURNAL = "journal"
"""The folder of unfinished batches, inside the data folder."""

_MAGIC = b"fleetprof batch 2\n"
_OLD_MAGIC = b"fleetprof batch 1\n"
"""Without `covers`, and with the hourly roll-ups among the tables."""
_LENGTH = struct.Struct("<Q")
_OWNER = "collector-id"
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Header:
    """What an entry says of itself."""

    number: int
    token: str
    """Unlike any other batch's, for stores that recognise a repeated insert by it."""
    newest_blocks: dict[str, int]
    """The tables' newest blocks before the entry's inserts."""
    lengths: dict[str, int]
    """Bytes of each table's rows, in the order of insertion."""
    covers: tuple[int, ...] = ()
    """Entries whose rows this one rolls up."""
    completes: int = 0
    """The entry of which a loss of power took the tables that are here."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One batch: what it says of itself, and its rows in the order of insertion."""

    header: Header
    tables: dict[str, pa.Table]

    @property
    def number(self) -> int:
        """Rises with every entry."""
        return self.header.number


class Journal:
    """A folder of batches. Belongs to the thread that stores them; only `settle` may run on another."""

    def __init__(self, folder: Path) -> None:
        """Open the folder, and drop what a crash left half-written (and so was never acknowledged)."""
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.glob("*.part"):
            path.unlink()
        self._next = max((int(path.stem) for path in folder.glob("*.batch")), default=0) + 1
        self._directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)

    def owner(self) -> str:
        """A name for who writes this journal, the same after a restart; raises OSError."""
        path = self._folder / _OWNER
        if not path.exists():
            part = path.with_suffix(".part")
            _write_through(part, [uuid.uuid4().hex.encode()])
            part.rename(path)
        return path.read_text()

    def write(
        self,
        newest_blocks: dict[str, int],
        tables: dict[str, pa.Table],
        covers: Sequence[int] = (),
        completes: int = 0,
    ) -> Entry:
        """Note a batch, which is then bound to be stored. Raises OSError (disk full), and then it is not."""
        blocks = [to_ipc(table) for table in tables.values()]
        lengths = dict(zip(tables, map(len, blocks), strict=True))
        header = Header(self._next, uuid.uuid4().hex, newest_blocks, lengths, tuple(covers), completes)
        path = self._path(header.number)
        part = path.with_suffix(".part")
        try:
            _write_through(part, _encode(header, blocks))
            part.rename(path)
            os.fsync(self._directory)
        except OSError:
            part.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            raise
        self._next += 1
        return Entry(header, tables)

    def settle(self, first: Sequence[int], then: Sequence[int] = ()) -> None:
        """Forget entries that all tables have: `first` those that the others (`then`) cover or complete.

        Raises OSError.
        """
        if _libc.syncfs(self._directory):
            raise OSError(ctypes.get_errno(), "cannot sync the data folder")
        for numbers in (first, then):
            for number in numbers:
                self._forget(number)
            if numbers:
                os.fsync(self._directory)

    def headers(self) -> list[Header]:
        """Those of all entries, oldest first; a damaged file is set aside and logged."""
        found = []
        for path in sorted(self._folder.glob("*.batch"), key=lambda path: int(path.stem)):
            data = path.read_bytes()
            if _whole(data):
                found.append(_decode_header(int(path.stem), data)[0])
            else:
                log.error("The unfinished batch %s is damaged; set aside.", path)
                path.rename(path.with_suffix(".damaged"))
        return found

    def entries(self, headers: Sequence[Header]) -> Iterator[Entry]:
        """The entries with their rows, one at a time."""
        for header in headers:
            data = self._path(header.number).read_bytes()
            _, place = _decode_header(header.number, data)
            tables = {}
            for table, length in header.lengths.items():
                tables[table] = from_ipc(data[place : place + length])
                place += length
            yield Entry(header, tables)

    def close(self) -> None:
        """Release the folder."""
        os.close(self._directory)

    def _forget(self, number: int) -> None:
        self._path(number).unlink(missing_ok=True)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:012}.batch"


def _write_through(path: Path, pieces: Sequence[bytes]) -> None:
    """Write a file and force it to disk."""
    with path.open("wb", buffering=0) as file:
        for piece in pieces:
            view = memoryview(piece)
            while view:
                view = view[file.write(view) or 0 :]
        os.fdatasync(file.fileno())


def _encode(header: Header, blocks: Sequence[bytes]) -> list[bytes]:
    facts = {
        "token": header.token,
        "newest_blocks": header.newest_blocks,
        "lengths": header.lengths,
        "covers": header.covers,
        "completes": header.completes,
    }
    text = json.dumps(facts).encode("utf-8")
    pieces = [_MAGIC, _LENGTH.pack(len(text)), text, *blocks]
    crc = 0
    for piece in pieces:
        crc = zlib.crc32(piece, crc)
    return [*pieces, _LENGTH.pack(crc)]


def _whole(data: bytes) -> bool:
    body, crc = memoryview(data)[: -_LENGTH.size], data[-_LENGTH.size :]
    return data.startswith((_MAGIC, _OLD_MAGIC)) and crc == _LENGTH.pack(zlib.crc32(body))


def _decode_header(number: int, data: bytes) -> tuple[Header, int]:
    """The header of a whole file's content, and where the rows begin."""
    start = len(_MAGIC) + _LENGTH.size
    end = start + _LENGTH.unpack_from(data, len(_MAGIC))[0]
    facts = json.loads(data[start:end])
    noted = facts["token"], facts["newest_blocks"], facts["lengths"]
    return Header(number, *noted, tuple(facts.get("covers", ())), facts.get("completes", 0)), end
