"""All that a collector keeps, as a stream of pieces (control.proto): what a backup is written from.

A backup is of one moment at which all that is stored is rolled up too (`Committer.at_rest`): so a window is in it
with its samples, its sums and the row by which it is recognised when it comes again, or not at all. Nothing of the
journal is needed then, and nothing of it is in a backup.
"""

import time
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa

from collector.keeping.kept_files import Group, kept_files
from collector.store.columns import to_ipc
from collector.store.errors import StoreError
from collector.store.interface import Store
from collector.store.migrate import newest_applied, tables
from collector.store.snapshot import Snapshot, SnapshotPart
from fleetprof import __version__
from fleetprof.v1 import control_pb2 as pb

_ROWS_BYTES = 32 << 20
_ROWS = 500_000
"""Rows go in pieces of about so much; each becomes one insert when it is restored."""
_CONTENT_BYTES = 1 << 20


class BackupPieces:
    """A backup's content. Made while nobody writes; then read once, and closed."""

    def __init__(self, store: Store, data: Path, have: Collection[str] = ()) -> None:
        """Hold on to what `store` and the files in `data` have now; raises StoreError, UnavailableError.

        `have`: fingerprints of what need not be read, since an earlier backup has it.
        """
        self._have = frozenset(have)
        self._head = pb.BackupHead(
            schema=newest_applied(store), fleetprof_version=__version__, made_unix_s=int(time.time())
        )
        # Before the tables: a debug file that says that its frames are named must find those names in them.
        self._files = kept_files(data)
        self._snapshot = Snapshot(store, tables(), self._head.schema, self._have)

    def __iter__(self) -> Iterator[pb.BackupPiece]:
        """The pieces in their order; raises StoreError, UnavailableError."""
        yield pb.BackupPiece(head=self._head)
        for part in self._snapshot.parts:
            unchanged = part.fingerprint in self._have
            yield pb.BackupPiece(
                part=pb.BackupPart(
                    table=part.table,
                    partition=part.partition,
                    rows=part.rows,
                    fingerprint=part.fingerprint,
                    unchanged=unchanged,
                )
            )
            for rows in () if unchanged else _gathered(part):
                yield pb.BackupPiece(rows=to_ipc(rows))
        for group in self._files:
            yield from self._all_or_none(group)
        yield pb.BackupPiece(end=pb.BackupEnd())

    def close(self) -> None:
        """Let go of the snapshot; raises StoreError."""
        self._snapshot.drop()

    def _all_or_none(self, group: Group) -> Iterator[pb.BackupPiece]:
        for file in group:
            opened = file.open()
            if opened is None:
                return  # removed since, as it might have been before
            unchanged = bool(file.fingerprint) and file.fingerprint in self._have
            with opened:
                yield pb.BackupPiece(
                    file=pb.BackupFile(
                        name=file.name,
                        modified_unix_ns=file.modified_ns,
                        fingerprint=file.fingerprint,
                        unchanged=unchanged,
                    )
                )
                for content in () if unchanged else iter(partial(opened.read, _CONTENT_BYTES), b""):
                    yield pb.BackupPiece(content=content)


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
