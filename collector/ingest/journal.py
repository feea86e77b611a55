"""Batches on their way into the store, on disk: what makes a batch enter all tables, each once.

ClickHouse commits one insert into one table at a time. A batch is therefore written to a file first, whole or
not at all (written beside, then renamed), together with the number of each table's newest block. From then on
it is bound to be stored: after a crash, or a failed insert, a table has the batch's block if and only if its
newest block is newer than noted, because this collector is the tables' only writer and each insert is one
block. The file goes when all tables have theirs.

The file is not forced to disk (nor are ClickHouse's): it outlives the process, not a loss of power.
"""

import json
import logging
import struct
import uuid
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from collector.store.columns import from_ipc, to_ipc

log = logging.getLogger("fleetprof.ingest")

_MAGIC = b"fleetprof batch 1\n"
_LENGTH = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class Entry:
    """One batch: its number, the tables' newest blocks before it, and its rows in the order of insertion."""

    number: int
    token: str
    """Unlike any other batch's, for stores that recognise a repeated insert by it."""
    newest_blocks: dict[str, int]
    tables: dict[str, pa.Table]


class Journal:
    """A folder of batches. Belongs to the thread that stores them."""

    def __init__(self, folder: Path) -> None:
        """Open the folder, and drop what a crash left half-written (and so was never acknowledged)."""
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.glob("*.part"):
            path.unlink()
        self._next = max((int(path.stem) for path in folder.glob("*.batch")), default=0) + 1

    def write(self, newest_blocks: dict[str, int], tables: dict[str, pa.Table]) -> Entry:
        """Note a batch, which is then bound to be stored. Raises OSError (disk full), and then it is not."""
        entry = Entry(self._next, uuid.uuid4().hex, newest_blocks, tables)
        part = self._path(entry.number).with_suffix(".part")
        try:
            part.write_bytes(_encode(entry))
            part.rename(self._path(entry.number))
        except OSError:
            part.unlink(missing_ok=True)
            raise
        self._next += 1
        return entry

    def remove(self, entry: Entry) -> None:
        """Forget a batch that all tables have."""
        self._path(entry.number).unlink()

    def unfinished(self) -> Iterator[Entry]:
        """The batches that a crash interrupted, oldest first; a damaged file is set aside and logged."""
        for path in sorted(self._folder.glob("*.batch"), key=lambda path: int(path.stem)):
            entry = _decode(int(path.stem), path.read_bytes())
            if entry is None:
                log.error("The unfinished batch %s is damaged (was power lost?); set aside.", path)
                path.rename(path.with_suffix(".damaged"))
            else:
                yield entry

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:012}.batch"


def _encode(entry: Entry) -> bytes:
    blocks = [to_ipc(table) for table in entry.tables.values()]
    lengths = dict(zip(entry.tables, map(len, blocks), strict=True))
    facts = {"token": entry.token, "newest_blocks": entry.newest_blocks, "lengths": lengths}
    header = json.dumps(facts).encode("utf-8")
    data = b"".join([_MAGIC, _LENGTH.pack(len(header)), header, *blocks])
    return data + _LENGTH.pack(zlib.crc32(data))


def _decode(number: int, data: bytes) -> Entry | None:
    """The batch of a file's content; None when it is damaged."""
    body = data[: -_LENGTH.size]
    if not data.startswith(_MAGIC) or data[-_LENGTH.size :] != _LENGTH.pack(zlib.crc32(body)):
        return None
    start = len(_MAGIC) + _LENGTH.size
    end = start + _LENGTH.unpack_from(body, len(_MAGIC))[0]
    header = json.loads(body[start:end])
    tables = {}
    for table, length in header["lengths"].items():
        tables[table] = from_ipc(body[end : end + length])
        end += length
    return Entry(number, header["token"], header["newest_blocks"], tables)
