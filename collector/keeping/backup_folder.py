"""A backup on disk: a folder of Parquet files, one a partition of a table, and a manifest with their checksums.

    manifest.json
    tables/samples/20261103-0.parquet        # -1, … are those of a cluster's further shards
    files/alerts.sqlite3

The manifest is written last, so a folder without one is a backup that did not end.
"""

import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from collector.store.columns import from_ipc
from fleetprof.durable import force_folder
from fleetprof.errors import InputError, UnavailableError
from fleetprof.v1 import control_pb2 as pb

MANIFEST = "manifest.json"
FORMAT = "fleetprof backup 1"
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class BackupFile:
    """One file: its path in the backup, and of rows the table and how many."""

    path: str
    bytes: int
    sha256: str
    table: str = ""
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds. `schema`: the number of its newest migration."""

    schema: int
    fleetprof_version: str
    made_unix_s: int
    files: tuple[BackupFile, ...]

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(file.rows for file in self.files)

    @property
    def bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.bytes for file in self.files)


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


def write_backup(folder: Path, pieces: Iterable[pb.BackupPiece]) -> Manifest:
    """Write the pieces to an empty folder; raises UnavailableError when not all came or could be written."""
    try:
        manifest = _Writing(folder).write(pieces)
        text = json.dumps({"format": FORMAT, **asdict(manifest)}, indent=1)
        part = folder / f"{MANIFEST}.part"
        with _forced(part) as file:
            file.write(text.encode("utf-8"))
        part.rename(folder / MANIFEST)
        force_folder(folder)
    except OSError as error:
        raise UnavailableError(
            f"Cannot write the backup to {folder}: {error.strerror or error}.",
            "Remove what is there of it, and back up to where there is room.",
        ) from error
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a backup; raises InputError for a folder that holds none."""
    try:
        found = json.loads((folder / MANIFEST).read_text("utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{folder} is no backup, or one that did not end: it has no {MANIFEST}.", "Name another folder."
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"Cannot read {folder / MANIFEST}: {error}.", "Name another backup.") from None
    if not isinstance(found, dict) or found.pop("format", "") != FORMAT:
        raise InputError(
            f"{folder} is not a backup of this version's form ({FORMAT}).", "Use the fleetprof that made it."
        )
    try:
        files = tuple(BackupFile(**file) for file in found.pop("files"))
        return Manifest(files=files, **found)
    except (KeyError, TypeError) as error:
        raise InputError(f"The manifest of {folder} is damaged: {error}.", "Name another backup.") from None


def verify(folder: Path, manifest: Manifest) -> None:
    """Compare all files with their checksums; raises InputError that names the first that is not as it was."""
    for file in manifest.files:
        path = _inside(folder, file.path)
        try:
            size = path.stat().st_size
            whole = size == file.bytes and _sha256(path) == file.sha256
        except OSError as error:
            raise _damaged(f"{file.path} cannot be read: {error.strerror}") from None
        if not whole:
            raise _damaged(f"{file.path} is not what was written ({size} of {file.bytes} bytes)")


def read_rows(folder: Path, file: BackupFile) -> Iterator[pa.Table]:
    """The rows of a file of a table, in pieces for one insert each."""
    try:
        with pq.ParquetFile(_inside(folder, file.path)) as parquet:
            for group in range(parquet.num_row_groups):
                yield parquet.read_row_group(group)
    except (OSError, pa.ArrowException) as error:
        raise _damaged(f"{file.path} cannot be read: {error}") from error


class _Writing:
    """Where the writing of a backup stands."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
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
        shard = sum(file.path.startswith(f"tables/{part.table}/{partition}-") for file in self._files)
        path = f"tables/{part.table}/{partition}-{shard}.parquet"
        piece, rows, writer = next(stream, pb.BackupPiece()), 0, None
        with self._new(path) as file:
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
        self._files.append(BackupFile(path, file.size, file.sha256, part.table, rows))
        return piece

    def _file(self, file: pb.BackupFile, stream: Iterator[pb.BackupPiece]) -> pb.BackupPiece:
        """Write one file; the piece that follows its content."""
        path = f"files/{Path(file.name).name}"
        piece = next(stream, pb.BackupPiece())
        with self._new(path) as out:
            while piece.HasField("content"):
                out.write(piece.content)
                piece = next(stream, pb.BackupPiece())
        self._files.append(BackupFile(path, out.size, out.sha256))
        return piece

    @contextmanager
    def _new(self, path: str) -> Iterator["_Hashed"]:
        target = self._folder / path
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _forced(target) as raw:
            yield _Hashed(raw)


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
def _forced(path: Path) -> Iterator[BinaryIO]:
    """A new file for its owner alone, which is on disk at the end."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _inside(folder: Path, path: str) -> Path:
    """A path of the manifest, which must not lead out of the backup."""
    if Path(path).is_absolute() or ".." in Path(path).parts:
        raise _damaged(f"{path} leads out of it")
    return folder / path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _damaged(what: str) -> InputError:
    return InputError(f"The backup is damaged: {what}.", "Restore another one; nothing was restored of this.")
