"""A backup on disk: a folder of Parquet files, one a partition of a table, and a manifest with their checksums.

    manifest.json
    tables/samples/20261103-0.parquet        # -1, … are those of a cluster's further shards
    files/alerts.sqlite3
    files/debuginfo/ID.VERSION.debug         # and ID.json: debug files by build id

The manifest is written last, so a folder without one is a backup that did not end.
"""

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fleetprof.errors import InputError
from fleetprof.setting_kinds import about_bytes

MANIFEST = "manifest.json"
FORMAT = "fleetprof backup 1"
TABLES, FILES = "tables", "files"
"""Folders of a backup."""


@dataclass(frozen=True, slots=True)
class BackupFile:
    """One file: its path in the backup, and of rows the table and how many."""

    path: str
    bytes: int
    sha256: str
    table: str = ""
    rows: int = 0
    modified_ns: int = 0
    """Of a file of the data folder: when it was changed or used last."""
    fingerprint: str = ""
    """By which the next backup recognises that nothing changed (control.proto)."""

    @property
    def name(self) -> str:
        """The path in the data folder of one of its files; "" for rows."""
        return "" if self.table else self.path.removeprefix(f"{FILES}/")


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

    def __str__(self) -> str:
        made = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(self.made_unix_s))
        return f"{self.rows} rows in {len(self.files)} files of {about_bytes(self.bytes)}, as of {made} UTC"


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


def damages(folder: Path, manifest: Manifest) -> Iterator[str]:
    """What is not as it was written, by the checksums of all files: a text for each."""
    for file in manifest.files:
        path = inside(folder, file.path)
        try:
            size = path.stat().st_size
            whole = size == file.bytes and _sha256(path) == file.sha256
        except OSError as error:
            yield f"{file.path} cannot be read: {error.strerror}"
        else:
            if not whole:
                yield f"{file.path} is not what was written ({size} of {file.bytes} bytes)"


def verify(folder: Path, manifest: Manifest) -> None:
    """Compare all files with their checksums; raises InputError that names the first that is not as it was."""
    for damage in damages(folder, manifest):
        raise _damaged(damage)


def read_rows(folder: Path, file: BackupFile) -> Iterator[pa.Table]:
    """The rows of a file of a table, in pieces for one insert each."""
    try:
        with pq.ParquetFile(inside(folder, file.path)) as parquet:
            for group in range(parquet.num_row_groups):
                yield parquet.read_row_group(group)
    except (OSError, pa.ArrowException) as error:
        raise _damaged(f"{file.path} cannot be read: {error}") from error


def inside(folder: Path, path: str) -> Path:
    """A path of the manifest, which must not lead out of the backup; raises InputError."""
    if Path(path).is_absolute() or ".." in Path(path).parts:
        raise _damaged(f"{path} leads out of it")
    return folder / path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _damaged(what: str) -> InputError:
    return InputError(f"The backup is damaged: {what}.", "Use another one; nothing was taken from this one.")
