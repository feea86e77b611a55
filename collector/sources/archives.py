"""Uploaded sources on disk: one .zip for each build, or service and version, written anew from what was uploaded.

An archive's name is made of what it is of, its description is the .zip's comment: a file counts once it is renamed
into place, and any process may read the folder at any time. The oldest give way when they take too much.
"""

import hashlib
import json
import os
import secrets
import threading
import time
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from collector.debuginfo.workers import is_build_id
from fleetprof.errors import InputError, UnavailableError

FOLDER = "sources"
"""In the data folder."""
MAX_FOLDER_BYTES = 2 << 30
MAX_ARCHIVE_BYTES = 256 << 20
_KEPT_INDEXES = 8
_LEFT_AFTER_S = 86_400


class Of(NamedTuple):
    """What sources are of: a build, or a service of one version ("": of any)."""

    build_id: str = ""
    service: str = ""
    version: str = ""

    @property
    def words(self) -> str:
        """For people."""
        if self.build_id:
            return f"build {self.build_id}"
        return f"{self.service} {self.version}".rstrip()


@dataclass(frozen=True, slots=True)
class SourceArchive:
    """A kept archive."""

    of: Of
    name: str
    files: int
    size: int
    uploaded_s: float


class Found(NamedTuple):
    """A source file: the text, its path in the archive, and the archive's name."""

    data: bytes
    path: str
    archive: str


class SourceArchives:
    """The archives of one folder. Safe to use from several threads and processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._indexes: dict[tuple[str, int], dict[str, list[str]]] = {}

    def keep(self, of: Of, name: str, files: Iterable[tuple[str, bytes]]) -> SourceArchive:
        """Keep these files, in place of those that were kept for the same; raises InputError, UnavailableError."""
        _check(of)
        part = self._folder / f"{secrets.token_hex(8)}.part"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._sweep()
            count = _write(part, files)
            kept = SourceArchive(of, name, count, part.stat().st_size, time.time())
            with zipfile.ZipFile(part, "a") as archive:
                archive.comment = json.dumps(asdict(kept)).encode("ascii")
            part.rename(self._path(of))
        except OSError as error:
            raise UnavailableError(
                f"Sources cannot be kept in {self._folder}: {error.strerror or error}.",
                "See its disk and rights.",
            ) from error
        finally:
            part.unlink(missing_ok=True)
        self._make_room(self._path(of))
        return kept

    def all(self) -> list[SourceArchive]:
        """All archives, the latest first."""
        found = [_described(path) for path in self._folder.glob("*.zip")]
        return sorted((one for one in found if one), key=lambda one: -one.uploaded_s)

    def remove(self, of: Of) -> bool:
        """Remove an archive; false when there is none."""
        try:
            self._path(of).unlink()
        except FileNotFoundError:
            return False
        return True

    def find(self, of: Of, path: str) -> Found | None:
        """The file that a compiler called `path`: the one whose last folders and name are most alike.

        None where no file has that name, or several are equally alike.
        """
        kept = self._path(of)
        try:
            with zipfile.ZipFile(kept) as archive:
                member = best_match(path, self._index(kept, archive))
                return Found(archive.read(member), member, _name_of(archive)) if member else None
        except FileNotFoundError:
            return None
        except (OSError, zipfile.BadZipFile, ValueError, KeyError) as error:
            raise UnavailableError(
                f"The sources of {of.words} cannot be read: {error}.", "Upload them again."
            ) from error

    def _index(self, path: Path, archive: zipfile.ZipFile) -> dict[str, list[str]]:
        """File name → the members that have it."""
        key = path.name, os.stat(path).st_mtime_ns
        with self._lock:
            if known := self._indexes.get(key):
                return known
        index: dict[str, list[str]] = {}
        for member in archive.namelist():
            index.setdefault(member.rpartition("/")[2], []).append(member)
        with self._lock:
            while len(self._indexes) >= _KEPT_INDEXES:
                del self._indexes[next(iter(self._indexes))]
            self._indexes[key] = index
        return index

    def _path(self, of: Of) -> Path:
        return self._folder / f"{hashlib.sha256(json.dumps(of).encode()).hexdigest()[:32]}.zip"

    def _sweep(self) -> None:
        """Drop what uploads left behind that a crash ended."""
        for path in self._folder.glob("*.part"):
            if path.stat().st_mtime < time.time() - _LEFT_AFTER_S:
                path.unlink(missing_ok=True)

    def _make_room(self, newest: Path) -> None:
        """Drop the oldest archives beyond the folder's size, never the newest."""
        sizes = {path: path.stat() for path in self._folder.glob("*.zip")}
        total = sum(each.st_size for each in sizes.values())
        for path in sorted(sizes, key=lambda path: sizes[path].st_mtime):
            if total > MAX_FOLDER_BYTES and path != newest:
                total -= sizes[path].st_size
                path.unlink(missing_ok=True)


def best_match(path: str, index: dict[str, list[str]]) -> str:
    """The member that has most of the last parts of `path` in common with it, of `index` by file name; "" for none.

    A name alone is not enough for a file in a folder, nor is one of several that are equally alike.
    """
    parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")]
    members = index.get(parts[-1], []) if parts else []
    alike = {member: _common_end(parts, member.split("/")) for member in members}
    most = max(alike.values(), default=0)
    best = [member for member in members if alike[member] == most]
    whole = [member for member in best if most == len(member.split("/"))]
    best = whole or (best if most > 1 else [])
    return best[0] if len(best) == 1 else ""


def _common_end(a: list[str], b: list[str]) -> int:
    count = 0
    for one, other in zip(reversed(a), reversed(b), strict=False):
        if one != other:
            break
        count += 1
    return count


def _check(of: Of) -> None:
    if bool(of.build_id) == bool(of.service) or (of.version and not of.service):
        raise InputError(
            "Sources are of a build or of a service.", "Give --build-id, or --service and --version."
        )
    if of.build_id and not is_build_id(of.build_id):
        raise InputError(f'"{of.build_id}" is no build id.', "See `readelf -n FILE`.")


def _write(path: Path, files: Iterable[tuple[str, bytes]]) -> int:
    names: set[str] = set()
    with zipfile.ZipFile(path, "x", zipfile.ZIP_DEFLATED) as archive:
        for name, content in _once(files, names):
            archive.writestr(name, content)
    if not names:
        raise InputError("The archive has no source files.", "Pack the folder with the sources.")
    return len(names)


def _once(files: Iterable[tuple[str, bytes]], names: set[str]) -> Iterator[tuple[str, bytes]]:
    for name, content in files:
        if name not in names:
            names.add(name)
            yield name, content


def _described(path: Path) -> SourceArchive | None:
    """What an archive is; None for one that is gone or no archive of ours."""
    try:
        with zipfile.ZipFile(path) as archive:
            said = json.loads(archive.comment)
        return SourceArchive(**{**said, "of": Of(*said["of"])})
    except (OSError, zipfile.BadZipFile, ValueError, KeyError, TypeError):
        return None


def _name_of(archive: zipfile.ZipFile) -> str:
    return str(json.loads(archive.comment)["name"])
