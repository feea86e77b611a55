"""Writes a backup's folder (backup_folder.py) from its pieces; what did not change comes from an earlier backup.

Such files are linked, or copied to another disk: so each backup is whole by itself, whatever becomes of others.
"""

import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow.parquet as pq

from collector.keeping.backup_folder import (
    FILES,
    FORMAT,
    MANIFEST,
    TABLES,
    BackupFile,
    Manifest,
    inside,
)
from collector.keeping.holes import end_with_hole, write_with_holes
from collector.store.columns import from_ipc
from fleetprof.errors import InputError, UnavailableError
from fleetprof.v1 import control_pb2 as pb


@dataclass(frozen=True, slots=True)
class Earlier:
    """A backup from which files that did not change are taken. Its files were compared with their checksums."""

    folder: Path
    manifest: Manifest

    def by_fingerprint(self) -> dict[str, BackupFile]:
        """Its files of which it can be told whether they changed."""
        return {file.fingerprint: file for file in self.manifest.files if file.fingerprint}


def new_folder(folder: Path) -> None:
    """Make the folder of a backup, for its owner alone; raises InputError where there is something already."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise InputError(f"{folder} is not empty.", "Name a new folder for the backup.")
    except OSError as error:
        raise InputError(
            f"Cannot write a backup to {folder}: {error.strerror}.", "Name another folder."
        ) from None


def write_backup(folder: Path, pieces: Iterable[pb.BackupPiece], earlier: Earlier | None = None) -> Manifest:
    """Write the pieces to an empty folder; raises UnavailableError when not all came or could be written."""
    try:
        manifest = _Writing(folder, earlier).write(pieces)
        text = json.dumps({"format": FORMAT, **asdict(manifest)}, indent=1)
        part = folder / f"{MANIFEST}.part"
        with forced(part) as file:
            file.write(text.encode("utf-8"))
        part.rename(folder / MANIFEST)
        force_folder(folder)
    except OSError as error:
        raise UnavailableError(
            f"Cannot write the backup to {folder}: {error.strerror or error}.",
            "Remove what is there of it, and back up to where there is room.",
        ) from error
    return manifest


class _Writing:
    """Where the writing of a backup stands."""

    def __init__(self, folder: Path, earlier: Earlier | None) -> None:
        self._folder, self._earlier = folder, earlier
        self._there = earlier.by_fingerprint() if earlier else {}
        self._files: list[BackupFile] = []

    def write(self, pieces: Iterable[pb.BackupPiece]) -> Manifest:
        """Write all; raises UnavailableError unless they begin with a head and end with an end."""
        stream = iter(pieces)
        piece = next(stream, pb.BackupPiece())
        head, piece = piece.head, next(stream, pb.BackupPiece())
        while piece.HasField("part"):
            piece = self._part(piece.part, stream)
        while piece.HasField("file"):
            piece = self._file(piece.file, stream)
        if not piece.HasField("end"):
            raise UnavailableError("The backup ended too early.", "Try again; see what the collector says.")
        for path in {self._folder / Path(file.path).parent for file in self._files}:
            force_folder(path)
        return Manifest(head.schema, head.fleetprof_version, head.made_unix_s, tuple(self._files))

    def _part(self, part: pb.BackupPart, stream: Iterator[pb.BackupPiece]) -> pb.BackupPiece:
        """Write the rows of one partition; the piece that follows them."""
        partition = "".join(each for each in part.partition if each.isalnum())
        shard = sum(file.path.startswith(f"{TABLES}/{part.table}/{partition}-") for file in self._files)
        path = f"{TABLES}/{part.table}/{partition}-{shard}.parquet"
        if part.unchanged:
            self._take(path, part.fingerprint)
            return next(stream, pb.BackupPiece())
        piece, rows, writer = next(stream, pb.BackupPiece()), 0, None
        with self._new(path) as raw:
            file = _Hashed(raw)
            while piece.HasField("rows"):
                table = from_ipc(piece.rows)
                writer = writer or pq.ParquetWriter(file, table.schema, compression="zstd")
                writer.write_table(table, row_group_size=max(table.num_rows, 1))
                rows += table.num_rows
                piece = next(stream, pb.BackupPiece())
            if writer:
                writer.close()
        if rows != part.rows:
            raise UnavailableError(f"Of {part.rows} rows of {path} came {rows}.", "Try again.")
        self._files.append(
            BackupFile(path, file.size, file.sha256, part.table, rows, fingerprint=part.fingerprint)
        )
        return piece

    def _file(self, file: pb.BackupFile, stream: Iterator[pb.BackupPiece]) -> pb.BackupPiece:
        """Write one file; the piece that follows its content."""
        path = f"{FILES}/{file.name}"
        if file.unchanged:
            self._take(path, file.fingerprint, file.modified_unix_ns)
            return next(stream, pb.BackupPiece())
        piece = next(stream, pb.BackupPiece())
        size, hashed = 0, hashlib.sha256()
        with self._new(path) as out:
            while piece.HasField("content"):
                write_with_holes(out, piece.content)
                hashed.update(piece.content)
                size += len(piece.content)
                piece = next(stream, pb.BackupPiece())
            end_with_hole(out)
        self._files.append(
            BackupFile(
                path,
                size,
                hashed.hexdigest(),
                modified_ns=file.modified_unix_ns,
                fingerprint=file.fingerprint,
            )
        )
        return piece

    def _take(self, path: str, fingerprint: str, modified_ns: int = 0) -> None:
        """Take a file from the earlier backup."""
        found = self._there.get(fingerprint)
        if not found or not self._earlier:
            raise UnavailableError(f"The collector did not send {path}, which no backup has.", "Try again.")
        source, target = inside(self._earlier.folder, found.path), self._target(path)
        try:
            os.link(source, target)
        except OSError:  # another disk, or one without links
            shutil.copyfile(source, target)
            with target.open("rb") as file:
                os.fsync(file.fileno())
        self._files.append(replace(found, path=path, modified_ns=modified_ns))

    @contextmanager
    def _new(self, path: str) -> Iterator[BinaryIO]:
        with forced(self._target(path)) as raw:
            yield raw

    def _target(self, path: str) -> Path:
        target = inside(self._folder, path)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return target


class _Hashed(io.RawIOBase):
    """A file that is only appended to, and its checksum so far."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        """Of all that was written."""
        return self._hash.hexdigest()

    def writable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """How much was written."""
        return self.size

    def write(self, data: Any) -> int:
        """Append; returns the number of bytes."""
        view = memoryview(data)
        self._raw.write(view)
        self._hash.update(view)
        self.size += view.nbytes
        return view.nbytes


@contextmanager
def forced(path: Path) -> Iterator[BinaryIO]:
    """A new file for its owner alone, which is on disk at the end."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def force_folder(folder: Path) -> None:
    """The names in a folder are on disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
