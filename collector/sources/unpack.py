"""Source files out of an archive that somebody uploaded: .zip, .tar or .tar.gz.

The archive is hostile until shown otherwise. Nothing of it is ever written under a name that it chose: members are
read one after the other, and their paths are texts. What is unpacked is counted while it is read, whatever headers
say. Formats whose decompression takes as much memory as the archive likes (xz) are not read.
"""

import gzip
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Any

from fleetprof.errors import InputError

MAX_PATH = 1_000
_MAX_DIRECTORY_BYTES = 8 << 20
"""Of a .zip's list of members, which zipfile reads as a whole."""
_END_BYTES = 22
_CHUNK = 1 << 16
_LOOKED_AT = 8_192
_GZIP = b"\x1f\x8b"
_PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, ValueError, RuntimeError)
"""What the standard library raises for damaged archives; RuntimeError for encrypted ones."""


@dataclass(frozen=True, slots=True)
class UnpackLimits:
    """How much one archive may hold."""

    files: int = 50_000
    file_bytes: int = 4 << 20
    """Larger files are left out: they are no sources that people wrote."""
    total_bytes: int = 1 << 30
    """Of all that is unpacked, what is left out included."""


def source_files(file: IO[bytes], limits: UnpackLimits | None = None) -> Iterator[tuple[str, bytes]]:
    """(path, content) of the texts in an archive, which is at its start.

    Raises InputError for what is no such archive, damaged, or too much.
    """
    limits = limits or UnpackLimits()
    members = _zipped(file, limits) if _is_zip(file) else _tarred(file, limits)
    count = 0
    try:
        for name, content in members:
            path = clean_path(name)
            if not path or b"\0" in content[:_LOOKED_AT]:
                continue
            count += 1
            if count > limits.files:
                raise InputError(
                    f"The archive has more than {limits.files} files.", "Pack only the folders with sources."
                )
            yield path, content
    except _BROKEN as error:
        raise InputError(
            f"The archive cannot be read: {error or type(error).__name__}.",
            "Upload a .zip, .tar or .tar.gz of sources.",
        ) from error


def clean_path(name: str) -> str:
    """A member's name as a path below the archive's root, "" for one that cannot be that."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    parts = parts[1:] if parts and parts[0] == "/" else parts
    path = "/".join(parts)
    bad = ".." in parts or len(path) > MAX_PATH or not path.isprintable()
    return "" if bad else path


def _is_zip(file: IO[bytes]) -> bool:
    start = file.read(4)
    file.seek(0)
    return start in (b"PK\3\4", b"PK\5\6")


def _zipped(file: IO[bytes], limits: UnpackLimits) -> Iterator[tuple[str, bytes]]:
    _check_directory(file)
    taken = 0
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            if member.is_dir() or member.file_size > limits.file_bytes or member.compress_type not in _PLAIN:
                continue
            with archive.open(member) as opened:
                content = opened.read(limits.file_bytes + 1)
            taken = _counted(taken + len(content), limits)
            if len(content) <= limits.file_bytes:
                yield member.filename, content


def _check_directory(file: IO[bytes]) -> None:
    """Refuse a list of members that would take too much memory. Format: APPNOTE.TXT 4.3.16."""
    size = file.seek(0, 2)
    file.seek(max(size - _END_BYTES - 0xFFFF, 0))
    tail = file.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) - at < _END_BYTES:
        raise zipfile.BadZipFile("it has no list of its members")
    if int.from_bytes(tail[at + 12 : at + 16], "little") > _MAX_DIRECTORY_BYTES:
        raise InputError("The archive has too many files.", "Pack only the folders with sources.")
    file.seek(0)


def _tarred(file: IO[bytes], limits: UnpackLimits) -> Iterator[tuple[str, bytes]]:
    start = file.read(len(_GZIP))
    file.seek(0)
    plain: Any = gzip.GzipFile(fileobj=file) if start == _GZIP else file
    counted: Any = _Counted(plain, limits)
    with tarfile.open(fileobj=counted, mode="r|") as archive:
        for member in archive:
            if not member.isreg() or member.size > limits.file_bytes or member.issparse():
                continue
            opened = archive.extractfile(member)
            if opened is not None:
                yield member.name, opened.read(limits.file_bytes)


class _Counted:
    """A stream that ends with an error when too much was read of it."""

    def __init__(self, file: IO[bytes], limits: UnpackLimits) -> None:
        self._file, self._limits, self._taken = file, limits, 0

    def read(self, size: int) -> bytes:
        """At most `size` bytes, in pieces that bound memory."""
        data = self._file.read(min(size, _CHUNK))
        self._taken = _counted(self._taken + len(data), self._limits)
        return data


def _counted(taken: int, limits: UnpackLimits) -> int:
    if taken > limits.total_bytes:
        raise InputError(
            f"The archive unpacks to more than {limits.total_bytes >> 20} MiB.",
            "Pack only the folders with sources.",
        )
    return taken
