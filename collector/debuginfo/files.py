"""Debug files on disk, by build id: bounded, the least recently used one goes first, those of agents before others.

A file is kept as `ID.VERSION.debug` with `ID.json`, which says what it is and which version counts: renaming that
makes a file there, or another one. `ID.VERSION.symcache` is made from it for look-ups. Several processes may
use a folder at a time. A file's last use is the time of its `ID.json`.
"""

import fcntl
import json
import logging
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

from collector.debuginfo.origin import Origin
from collector.debuginfo.past import ENDING, Gone, Past
from collector.debuginfo.segments import Segment
from collector.debuginfo.workers import Inspection, is_build_id
from fleetprof.errors import UnavailableError

log = logging.getLogger("fleetprof.debuginfo")

FOLDER = "debuginfo"
"""In the data folder."""
DEBUG, SYMCACHE = "debug", "symcache"
_INCOMING = "incoming"
_USED_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class DebugFile:
    """A kept file. `named`: its frames in the store have their names. `problem`: why they cannot have them.
    `sender`: the host of the agent that it came from."""

    build_id: str
    version: str
    name: str
    size: int
    lines: bool
    segments: tuple[Segment, ...]
    base: int
    uploaded_s: float
    named: bool = False
    problem: str = ""
    used_s: float = 0.0
    origin: Origin = Origin.COMMAND
    sender: str = ""

    def address(self, offset: int) -> int | None:
        """Distance from the image's start of an offset in the file that ran; None for one without code."""
        for segment in self.segments:
            if segment.offset <= offset < segment.offset + segment.size:
                address = segment.address + offset - segment.offset - self.base
                return address if 0 <= address < 1 << 63 else None
        return None


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of a file: `better` is true where the one that was there stays, as it knows more or is trusted
    more."""

    file: DebugFile
    better: bool
    evicted: list[str]


class DebugFiles:
    """The files of one folder. Safe to use from several threads and processes."""

    def __init__(self, folder: Path, limit_bytes: int, reserve_bytes: int = 0) -> None:
        """`reserve_bytes` stay free on the disk. Raises UnavailableError."""
        self.folder, self.limit_bytes, self._reserve_bytes = folder, limit_bytes, reserve_bytes
        self.evicted = 0
        """Files that gave way since start."""
        self.past = Past(folder)
        """Files that are gone."""
        self._descriptions: dict[Path, tuple[tuple[int, int, int], DebugFile]] = {}
        try:
            _make(folder)
            _make(folder / _INCOMING)
        except OSError as error:
            raise _unusable(folder, error) from error

    def all(self) -> list[DebugFile]:
        """All files, the latest used one first."""
        paths = list(self.folder.glob("*.json"))
        found = [self._read(path) for path in paths]
        read = self._descriptions
        self._descriptions = {path: known for path in paths if (known := read.get(path))}
        return sorted((file for file in found if file), key=lambda file: -file.used_s)

    def find(self, build_id: str) -> DebugFile | None:
        """The file of a build id."""
        return self._read(self._about(build_id)) if is_build_id(build_id) else None

    def used_bytes(self) -> int:
        """What the files take, those for look-ups included."""
        paths = [path for path in self.folder.iterdir() if path.suffix != ENDING]
        return sum(self._size(path) for path in paths if path.is_file())

    def room_for_agents(self) -> int:
        """What files of agents may take: what others leave of the limit."""
        others = (file for file in self.all() if file.origin is not Origin.AGENT)
        return self.limit_bytes - sum(self._size(path) for file in others for path in self._parts(file))

    @contextmanager
    def incoming(self, size: int = 0) -> Iterator[IO[bytes]]:
        """A new file to write, gone at the end unless it is kept; raises UnavailableError without room."""
        if shutil.disk_usage(self.folder).free - size < self._reserve_bytes:
            raise UnavailableError(
                "The collector's disk has no room for this file.", "Free some, or lower debuginfo_size."
            )
        path = self.folder / _INCOMING / secrets.token_hex(8)
        try:
            with path.open("x+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # tells `sweep` that it is being written
                yield file
        except OSError as error:
            raise _unusable(self.folder, error) from error
        finally:
            path.unlink(missing_ok=True)

    def keep(
        self,
        incoming: IO[bytes],
        found: Inspection,
        name: str,
        origin: Origin = Origin.COMMAND,
        sender: str = "",
    ) -> Kept:
        """Keep a file that is what `found` says, and let others give way; raises UnavailableError."""
        size = os.fstat(incoming.fileno()).st_size
        file = DebugFile(
            found.build_id, secrets.token_hex(8), name, size, found.lines, tuple(found.segments), found.base,
            time.time(), origin=origin, sender=sender,
        )  # fmt: skip
        with self._locked():
            old = self.find(found.build_id)
            if old and not _replaces(file, old):
                return Kept(old, True, [])
            self._publish(incoming, self._path(file, DEBUG))
            self._write(file)
            if old:
                self._unlink_parts(old)
            self.past.forget(file.build_id)
            return Kept(file, False, self._evict(file))

    def open(self, file: DebugFile, part: str) -> IO[bytes] | None:
        """Part DEBUG or SYMCACHE of a file; None when it is not there (any more)."""
        try:
            opened = self._path(file, part).open("rb")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unusable(self.folder, error) from error
        self._touch(file)
        return opened

    def keep_symcache(self, incoming: IO[bytes], file: DebugFile) -> None:
        """Keep what look-ups in `file` need."""
        with self._locked():
            if self._is_current(file):
                self._publish(incoming, self._path(file, SYMCACHE))
                self._evict(file)

    def note(self, file: DebugFile, *, named: bool, problem: str = "") -> None:
        """Note what became of a file's names, unless another version of it came meanwhile."""
        with self._locked():
            if self._is_current(file):
                used_s = file.used_s
                self._write(replace(file, named=named, problem=problem))
                os.utime(self._about(file.build_id), (used_s, used_s))

    def remove(self, build_id: str) -> bool:
        """Remove a file; false when there is none."""
        with self._locked():
            file = self.find(build_id)
            if file:
                self._forget(file, Gone.REMOVED)
        return file is not None

    def sweep(self) -> None:
        """Remove what a crash left: half written files, and parts of no file."""
        for path in (self.folder / _INCOMING).iterdir():
            with path.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                path.unlink(missing_ok=True)
        with self._locked():
            current = {(file.build_id, file.version) for file in self.all()}
            for path in self.folder.glob("*.*.*"):
                if tuple(path.name.split(".")[:2]) not in current:
                    path.unlink()
            self.past.sweep()

    def _is_current(self, file: DebugFile) -> bool:
        now = self.find(file.build_id)
        return now is not None and now.version == file.version

    def _evict(self, new: DebugFile) -> list[str]:
        """Remove files until the rest is within the limit: those of agents first, the least recently used first.

        What an agent sent pushes out nothing but files of agents, at last itself.
        """
        gone: list[str] = []
        used = self.used_bytes()
        files = sorted(self.all(), key=lambda file: (file.origin is not Origin.AGENT, file.used_s))
        victims = [file for file in files if file.build_id != new.build_id]
        if new.origin is Origin.AGENT:
            victims = [*(file for file in victims if file.origin is Origin.AGENT), new]
        for file in victims:
            if used <= self.limit_bytes:
                break
            used -= sum(self._size(path) for path in self._parts(file))
            self._forget(file, Gone.EVICTED)
            gone.append(file.build_id)
            log.info("Debug file %s (%s) gave way: debuginfo_size is reached.", file.build_id, file.name)
        self.evicted += len(gone)
        return gone

    def _forget(self, file: DebugFile, why: Gone) -> None:
        self._about(file.build_id).unlink(missing_ok=True)
        self._unlink_parts(file)
        self.past.remember(file.build_id, why)

    def _unlink_parts(self, file: DebugFile) -> None:
        for part in (DEBUG, SYMCACHE):
            self._path(file, part).unlink(missing_ok=True)

    def _parts(self, file: DebugFile) -> list[Path]:
        return [self._about(file.build_id), self._path(file, DEBUG), self._path(file, SYMCACHE)]

    def _publish(self, incoming: IO[bytes], path: Path) -> None:
        incoming.flush()
        os.fsync(incoming.fileno())
        os.rename(incoming.name, path)

    def _touch(self, file: DebugFile) -> None:
        if time.time() - file.used_s > _USED_EVERY_S:
            try:
                os.utime(self._about(file.build_id))
            except FileNotFoundError:
                pass  # removed meanwhile; who has it open goes on

    def _write(self, file: DebugFile) -> None:
        """Write `ID.json`, which makes `file` the one that counts."""
        path = self._about(file.build_id)
        new = path.with_suffix(".new")
        values = asdict(file)
        del values["used_s"]
        with new.open("w", encoding="utf-8") as opened:
            json.dump(values, opened)
            opened.flush()
            os.fsync(opened.fileno())
        new.rename(path)

    def _read(self, path: Path) -> DebugFile | None:
        try:
            status = path.stat()
            which = status.st_ino, status.st_mtime_ns, status.st_ctime_ns
            known = self._descriptions.get(path)
            if known and known[0] == which:
                return known[1]
            values: dict[str, Any] = json.loads(path.read_text("utf-8"))
            segments = tuple(Segment(*row) for row in values.pop("segments"))
            origin = Origin(values.pop("origin", Origin.COMMAND))
            file = DebugFile(**values, segments=segments, used_s=status.st_mtime, origin=origin)
            self._descriptions[path] = which, file
            return file
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            log.warning("Cannot read %s, so its debug file counts as missing: %s", path, error)
            return None

    def _about(self, build_id: str) -> Path:
        return self.folder / f"{build_id}.json"

    def _path(self, file: DebugFile, part: str) -> Path:
        return self.folder / f"{file.build_id}.{file.version}.{part}"

    @staticmethod
    def _size(path: Path) -> int:
        """On disk: what an agent sent has holes, and may have more of them than bytes."""
        try:
            status = path.stat()
        except FileNotFoundError:
            return 0
        return min(status.st_size, status.st_blocks * 512)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(folder, fcntl.LOCK_EX)
                yield
            finally:
                os.close(folder)
        except OSError as error:
            raise _unusable(self.folder, error) from error


def _replaces(new: DebugFile, old: DebugFile) -> bool:
    """Whether `new` counts from now on: nobody may change what a more trusted one said, and no agent what another
    one said, unless that is of no use; else lines count more than symbols."""
    if old.origin.outranks(new.origin):
        return False
    if old.origin is Origin.AGENT:
        return new.origin is not Origin.AGENT or bool(old.problem)
    return new.lines or not old.lines


def _make(folder: Path) -> None:
    """Make a folder that belongs to its parent's owner: root may come before the collector's user does."""
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            parent = folder.parent.stat()
            os.chown(folder, parent.st_uid, parent.st_gid)


def _unusable(folder: Path, error: OSError) -> UnavailableError:
    return UnavailableError(
        f"Cannot keep debug files in {folder}: {error.strerror or error}.",
        "Give this user the right to write there, and room on its disk.",
    )
