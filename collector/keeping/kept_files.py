"""The files of the data folder that a backup holds: those of SQLite, debug files by build id, and uploaded sources.

What stands in for another file (a symcache) is made again when it is needed, and not kept.
"""

import io
import json
import logging
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from collector.alerts.database import FILE as ALERTS
from collector.debuginfo.files import DEBUG
from collector.debuginfo.files import FOLDER as DEBUGINFO
from collector.keeping.disk_guard import DROPPED_FILE
from collector.sources.archives import FOLDER as SOURCES
from collector.tokens.book import FILE as TOKENS
from fleetprof.errors import UnavailableError

log = logging.getLogger("fleetprof.collector")

DATABASES = (ALERTS, TOKENS)
SMALL = (DROPPED_FILE,)


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A file as of now: its content, or where that is and stays the same for as long as it is there."""

    name: str
    """Its path in the data folder."""
    modified_ns: int
    """When it was changed or used last, Unix time."""
    content: bytes | Path
    fingerprint: str = ""
    """The same only where the content is the same; "" where that is not known."""

    def open(self) -> BinaryIO | None:
        """What it holds; None when it is gone. Raises UnavailableError."""
        if isinstance(self.content, bytes):
            return io.BytesIO(self.content)
        try:
            return self.content.open("rb")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unreadable(self.content, error.strerror or str(error)) from error


Group = tuple[KeptFile, ...]
"""Files of which a backup has all or none; only the first one can be gone when it is read."""


def kept_files(data: Path) -> list[Group]:
    """What the data folder has now; raises UnavailableError."""
    now_ns = time.time_ns()
    found: list[Group] = [
        (KeptFile(name, now_ns, _copy(data / name)),) for name in DATABASES if (data / name).exists()
    ]
    found += [(file,) for name in SMALL if (file := _read(data, data / name))]
    return [*found, *_debug_files(data), *_sources(data)]


def is_kept(name: str) -> bool:
    """Whether a backup may hold a file of this name, a path in the data folder."""
    parts = Path(name).parts
    in_folder = len(parts) == 2 and parts[0] in (DEBUGINFO, SOURCES) and parts[1] != ".."
    return name in (*DATABASES, *SMALL) or in_folder


def files_there(data: Path) -> list[Path]:
    """The files of a data folder that a backup would hold."""
    found = [data / name for name in (*DATABASES, *SMALL) if (data / name).exists()]
    return [*found, *sorted((data / DEBUGINFO).glob("*.json")), *sorted((data / SOURCES).glob("*.zip"))]


def _debug_files(data: Path) -> Iterator[Group]:
    """Each debug file with its description after it: that makes it count (collector/debuginfo/files.py)."""
    for path in sorted((data / DEBUGINFO).glob("*.json")):
        about = _read(data, path)
        try:
            version = (
                json.loads(about.content)["version"] if about and isinstance(about.content, bytes) else ""
            )
        except (ValueError, KeyError, TypeError) as error:
            log.warning("Left out of the backup: %s, which cannot be read: %s", path, error)
            continue
        if about and version:
            name = f"{DEBUGINFO}/{path.stem}.{version}.{DEBUG}"
            yield KeptFile(name, about.modified_ns, data / name, fingerprint=name), about
    for path in sorted((data / DEBUGINFO).glob("*.past")):
        if past := _read(data, path):
            yield (past,)


def _sources(data: Path) -> Iterator[Group]:
    """Archives, which are replaced as a whole (collector/sources/archives.py)."""
    for path in sorted((data / SOURCES).glob("*.zip")):
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue
        name = f"{SOURCES}/{path.name}"
        fingerprint = f"{name} {stat.st_mtime_ns} {stat.st_size}"
        yield (KeptFile(name, stat.st_mtime_ns, path, fingerprint),)


def _read(data: Path, path: Path) -> KeptFile | None:
    """A small file; None when it is gone."""
    try:
        return KeptFile(str(path.relative_to(data)), path.stat().st_mtime_ns, path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error


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
        raise _unreadable(path, str(error)) from error


def _unreadable(path: Path, why: str) -> UnavailableError:
    return UnavailableError(f"Cannot read {path}: {why}.", "It must belong to the collector's user.")
