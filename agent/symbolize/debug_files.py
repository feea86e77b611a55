"""Separate debug files: where distributions put the symbols that they strip from their packages.

Looked for by build id under /usr/lib/debug, then by the name in .gnu_debuglink, first inside the process's
own root (a container's debug packages), then on the host.
https://sourceware.org/gdb/current/onlinedocs/gdb.html/Separate-Debug-Files.html
"""

import ctypes
import errno
import os
import posixpath
import re
import stat
import struct
import zlib
from collections.abc import Iterator

from agent.symbolize.build_id import build_id_of
from agent.symbolize.elf import ElfError, ElfFile, FileBytes

MAX_CHECKSUM_BYTES = 64 << 20
_BUILD_ID = re.compile(r"[0-9a-f]{6,128}\Z")
_SYS_OPENAT2 = 437
_RESOLVE_NO_MAGICLINKS, _RESOLVE_IN_ROOT = 0x02, 0x10
_libc = ctypes.CDLL(None, use_errno=True)


def open_in_root(root: str, path: str, may_be_link: bool = True) -> int:
    """Open `path` for reading as a process with root folder `root` would see it.

    Symbolic links, absolute ones too, stay inside `root`: what is in a container cannot name a host's file.
    Only regular files are opened, since opening a device or FIFO can block or do something. Raises OSError.
    """
    handle = handle_in_root(root, path, 0 if may_be_link else os.O_NOFOLLOW)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        return os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(handle)


def handle_in_root(root: str, path: str, flags: int = 0) -> int:
    """An O_PATH descriptor of whatever `path` is, links followed inside `root`; by openat2 (Linux 5.6).

    `flags`: more of those of open(2). Raises OSError.
    """
    folder = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    how = struct.pack("<QQQ", os.O_PATH | os.O_CLOEXEC | flags, 0, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
    try:
        fd = _libc.syscall(
            ctypes.c_long(_SYS_OPENAT2),
            ctypes.c_int(folder),
            ctypes.c_char_p(os.fsencode(path)),
            ctypes.c_char_p(how),
            ctypes.c_size_t(len(how)),
        )
        if fd < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
    finally:
        os.close(folder)
    return int(fd)


class DebugFile(FileBytes):
    """An open debug file that owns its descriptor."""

    def __init__(self, fd: int) -> None:
        self._owned: int | None = None
        super().__init__(fd)
        self._owned = fd

    def detach(self) -> int:
        """The descriptor, which is the caller's from now on; raises ElfError when it was given back."""
        if self._owned is None:
            raise ElfError("closed")
        fd, self._owned, self.size = self._owned, None, 0
        return fd

    def close(self) -> None:
        """Free the descriptor; reads fail afterwards."""
        if self._owned is not None:
            os.close(self._owned)
            self._owned, self.size = None, 0

    def __del__(self) -> None:
        self.close()


def find_debug_file(elf: ElfFile, path: str, roots: tuple[str, ...]) -> DebugFile | None:
    """The debug file of `elf`, which a process maps as `path`; None when there is none that belongs to it.

    A file belongs when its build id is the same or, where there is none, its checksum is the linked one.
    """
    build_id = build_id_of(elf)
    link, checksum = _debug_link(elf)
    for root in roots:
        for candidate in _candidates(build_id, link, path):
            found = _open(root, candidate)
            if found and _belongs(found, build_id, checksum):
                return found
    return None


def _candidates(build_id: str, link: str, path: str) -> Iterator[str]:
    if _BUILD_ID.match(build_id):
        yield f"/usr/lib/debug/.build-id/{build_id[:2]}/{build_id[2:]}.debug"
    if link and path.startswith("/"):
        folder = posixpath.dirname(path)
        yield from (f"{folder}/.debug/{link}", f"/usr/lib/debug{folder}/{link}", f"{folder}/{link}")


def _debug_link(elf: ElfFile) -> tuple[str, int]:
    """(file name, CRC-32) of .gnu_debuglink, ("", 0) without one."""
    section = elf.section(".gnu_debuglink")
    if section is None or not 8 <= section.size <= 4096:
        return "", 0
    raw = elf.contents(section, 4096)
    name = raw.partition(b"\0")[0].decode("utf-8", "replace")
    return ("", 0) if "/" in name or name in ("", ".", "..") else (name, struct.unpack("<I", raw[-4:])[0])


def _open(root: str, path: str) -> DebugFile | None:
    try:
        fd = open_in_root(root, path)
    except (OSError, ValueError):
        return None
    try:
        return DebugFile(fd)
    except ElfError:
        os.close(fd)
        return None


def _belongs(found: DebugFile, build_id: str, checksum: int) -> bool:
    try:
        if build_id:
            return build_id_of(ElfFile(found)) == build_id
        return found.size <= MAX_CHECKSUM_BYTES and zlib.crc32(found.read(0, found.size)) == checksum
    except ElfError:
        return False
