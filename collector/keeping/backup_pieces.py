"""All that a collector keeps, as a stream of pieces (control.proto): what a backup is written from.

A backup is of one moment at which all that is stored is rolled up too (`Committer.at_rest`): so a window is in it
with its samples, its sums and the row by which it is recognised when it comes again, or not at all. Nothing of the
journal is needed then, and nothing of it is in a backup.
"""

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa

from collector.alerts.database import FILE as ALERTS
from collector.store.columns import to_ipc
from collector.store.errors import StoreError
from collector.store.interface import Store
from collector.store.migrate import newest_applied, tables
from collector.store.snapshot import Snapshot, SnapshotPart
from collector.tokens.book import FILE as TOKENS
from fleetprof import __version__
from fleetprof.errors import UnavailableError
from fleetprof.v1 import control_pb2 as pb

FILES = (ALERTS, TOKENS)
"""SQLite files of the data folder that a backup holds."""

_ROWS_BYTES = 32 << 20
_ROWS = 500_000
"""Rows go in pieces of about so much; each becomes one insert when it is restored."""
_CONTENT_BYTES = 1 << 20


class BackupPieces:
    """A backup's content. Made while nobody writes; then read once, and closed."""

    def __init__(self, store: Store, data: Path) -> None:
        """Hold on to what `store` and the files in `data` have now; raises StoreError, UnavailableError."""
        self._head = pb.BackupHead(
            schema=newest_applied(store), fleetprof_version=__version__, made_unix_s=int(time.time())
        )
        self._files = {name: _copy(data / name) for name in FILES if (data / name).exists()}
        self._snapshot = Snapshot(store, tables())

    def __iter__(self) -> Iterator[pb.BackupPiece]:
        """The pieces in their order; raises StoreError."""
        yield pb.BackupPiece(head=self._head)
        for part in self._snapshot.parts:
            yield pb.BackupPiece(
                part=pb.BackupPart(table=part.table, partition=part.partition, rows=part.rows)
            )
            for rows in _gathered(part):
                yield pb.BackupPiece(rows=to_ipc(rows))
        for name, content in self._files.items():
            yield pb.BackupPiece(file=pb.BackupFile(name=name))
            for start in range(0, len(content), _CONTENT_BYTES):
                yield pb.BackupPiece(content=content[start : start + _CONTENT_BYTES])
        yield pb.BackupPiece(end=pb.BackupEnd())

    def close(self) -> None:
        """Let go of the snapshot; raises StoreError."""
        self._snapshot.drop()


def _gathered(part: SnapshotPart) -> Iterator[pa.Table]:
    """A part's rows in pieces that are worth an insert; raises StoreError when not all could be read."""
    waiting: list[pa.Table] = []
    rows = size = seen = 0
    for block in part.read():
        waiting.append(block)
        rows, size, seen = rows + block.num_rows, size + block.nbytes, seen + block.num_rows
        if rows >= _ROWS or size >= _ROWS_BYTES:
            yield pa.concat_tables(waiting)
            waiting, rows, size = [], 0, 0
    if seen != part.rows:
        raise StoreError(
            0, f"{part.table} {part.partition} has {part.rows} rows, of which {seen} came.", "Try again."
        )
    if rows:
        yield pa.concat_tables(waiting)


def _copy(path: Path) -> bytes:
    """The content of an SQLite file as of one moment, while others write to it (SQLite's backup API)."""
    try:
        source = sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True, timeout=10)
        try:
            copy = sqlite3.connect(":memory:")
            try:
                source.backup(copy)
                return copy.serialize()
            finally:
                copy.close()
        finally:
            source.close()
    except sqlite3.Error as error:
        raise UnavailableError(
            f"Cannot read {path}: {error}.", "It must belong to the collector's user."
        ) from error
