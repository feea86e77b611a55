"""Open descriptors of executables and libraries, so that they can be read after their process is gone.

A file is known by the device and inode that /proc/PID/maps and perf's MMAP2 records give: on overlayfs and
btrfs these differ from what stat(2) says. It is opened through /proc/PID/map_files, which leads to the very
file that is mapped, deleted or not; else by its path inside the root of the process; else, when the process
is gone already, inside the root of its parent.

An open file keeps its file system from being unmounted and a deleted file on the disk, so one that nobody
asked for in KEEP_NS is closed; the process it was last seen in leads back to it.

Opening never blocks or has side effects: devices and FIFOs are recognised before they are opened. A FUSE file
system mounted by an unprivileged user cannot hang the agent either, since the kernel refuses root there.
"""

import ctypes
import errno
import os
import stat
from collections import OrderedDict
from dataclasses import dataclass
from time import monotonic_ns

from agent.process import Mapping, Process
from agent.symbolize.build_id import read_build_id
from fleetprof.open_files import raise_limit

KEEP_NS = 60_000_000_000
CLOSED_KEPT = 4
"""For each file that may be open so many closed ones are remembered (about 300 bytes each)."""

FileKey = tuple[int, int]
"""Device and inode."""


def key_of(mapping: Mapping) -> FileKey | None:
    """What names the file behind a mapping; None when there is no file."""
    return (mapping.device, mapping.inode) if mapping.inode else None


@dataclass(slots=True)
class _File:
    fd: int
    """-1 while closed."""
    mapping: Mapping
    pid: int
    parent_pid: int
    used_ns: int
    build_id: str | None = None


class ObjectFiles:
    """At most `limit` files are kept open, fewer where the limit on open files is low; the least used go.

    Not thread-safe. `close` gives all back.
    """

    def __init__(self, limit: int = 4096) -> None:
        self.limit = max(min(limit, _descriptors_for(limit)), 1)
        self._files: OrderedDict[FileKey, _File] = OrderedDict()
        self._open = 0

    def knows(self, key: FileKey) -> bool:
        """Whether the file is open; counts as a use."""
        file = self._files.get(key)
        if file is None or file.fd < 0:
            return False
        self._use(key, file)
        return True

    def remember(self, process: Process, mapping: Mapping) -> None:
        """Open the file behind a mapping of a process, alive or just gone, unless it is open already."""
        self.open(process.pid, process.parent_pid, mapping)

    def open(self, pid: int, parent_pid: int, mapping: Mapping) -> None:
        """As `remember`, of a process that is known by its pid only."""
        key = key_of(mapping)
        if key is None or self.knows(key):
            return
        fd = open_mapped(pid, parent_pid, mapping)
        known = self._files.get(key)
        if known is None:
            known = self._files[key] = _File(-1, mapping, pid, parent_pid, 0)
        elif fd is not None:
            known.mapping, known.pid, known.parent_pid = mapping, pid, parent_pid
        self._keep(key, known, fd)

    def fd(self, mapping: Mapping) -> int | None:
        """A descriptor to read the file from, valid until the next call of this object; None if out of reach.

        It stays this object's: do not close it, and read with pread only.
        """
        key = key_of(mapping)
        file = self._files.get(key) if key else None
        if key is None or file is None:
            return None
        if file.fd < 0:
            self._keep(key, file, open_mapped(file.pid, file.parent_pid, file.mapping))
        else:
            self._use(key, file)
        return file.fd if file.fd >= 0 else None

    def build_id(self, mapping: Mapping) -> str:
        """The file's build id, read once; "" when it has none or is out of reach."""
        key = key_of(mapping)
        file = self._files.get(key) if key else None
        if file is None:
            return ""
        if file.build_id is None:
            fd = self.fd(mapping)
            if fd is None:
                return ""
            file.build_id = read_build_id(fd)
        return file.build_id

    def expire(self, now_ns: int) -> None:
        """Close what nobody used for KEEP_NS before the CLOCK_MONOTONIC time `now_ns`."""
        for file in self._files.values():  # least recently used first
            if file.used_ns > now_ns - KEEP_NS:
                break
            self._close(file)
        while len(self._files) > self.limit * CLOSED_KEPT:
            self._close(self._files.popitem(last=False)[1])

    def close(self) -> None:
        """Close all files."""
        while self._files:
            self._close(self._files.popitem()[1])

    def __len__(self) -> int:
        """How many are open."""
        return self._open

    def _use(self, key: FileKey, file: _File) -> None:
        file.used_ns = monotonic_ns()
        self._files.move_to_end(key)

    def _keep(self, key: FileKey, file: _File, fd: int | None) -> None:
        self._use(key, file)
        if fd is None:
            return
        if self._open >= self.limit:
            self._close(next(file for file in self._files.values() if file.fd >= 0))
        file.fd, file.build_id = fd, None  # an inode number may come back for another file
        self._open += 1

    def _close(self, file: _File) -> None:
        if file.fd >= 0:
            os.close(file.fd)
            file.fd = -1
            self._open -= 1


def _descriptors_for(wanted: int) -> int:
    """How many descriptors this process may spend on files: half of its limit, raised first if it can be."""
    return raise_limit(2 * wanted) // 2


def open_mapped(pid: int, parent_pid: int, mapping: Mapping) -> int | None:
    """A read-only descriptor of the regular file behind `mapping`, or None; see the module's text."""
    fd = _open_map_file(pid, mapping)
    if fd is None and mapping.path.startswith("/"):
        for root in (pid, parent_pid):
            fd = _open_in_root(root, mapping) if root and fd is None else fd
    return fd


def _open_map_file(pid: int, mapping: Mapping) -> int | None:
    path = f"/proc/{pid}/map_files/{mapping.start_addr:x}-{mapping.end_addr:x}"
    try:
        held = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return None  # gone, split by mprotect, or no CAP_SYS_ADMIN: the path remains
    return _reopen(held)


def _open_in_root(pid: int, mapping: Mapping) -> int | None:
    """By path, resolved as the process itself would: a link inside a container cannot lead out of it."""
    try:
        root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        held = _open_beneath(root, mapping.path)
    except OSError:
        return None
    finally:
        os.close(root)
    if _is_same_file(held, mapping):
        return _reopen(held)
    os.close(held)
    return None


def _reopen(held: int) -> int | None:
    """Trade an O_PATH descriptor, which touches nothing, for a readable one if it is a regular file."""
    try:
        if not stat.S_ISREG(os.fstat(held).st_mode):
            return None
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        return os.open(f"/proc/self/fd/{held}", flags)
    except OSError:
        return None
    finally:
        os.close(held)


_OVERLAYFS_MAGIC = 0x794C7630


def _is_same_file(held: int, mapping: Mapping) -> bool:
    """Whether a path still leads to the mapped file: its inode, save on overlayfs, which invents its own."""
    try:
        status = os.fstat(held)
    except OSError:
        return False
    return status.st_ino == mapping.inode or _file_system(held) == _OVERLAYFS_MAGIC


def _file_system(fd: int) -> int:
    """The f_type that fstatfs(2) gives, 0 on failure: the first word of struct statfs on 64-bit Linux."""
    buffer = (ctypes.c_long * 32)()
    if ctypes.CDLL(None).fstatfs(fd, ctypes.byref(buffer)) != 0:
        return 0
    return int(buffer[0]) & 0xFFFFFFFF


_OPENAT2 = 437
_RESOLVE_IN_ROOT, _RESOLVE_NO_MAGICLINKS = 0x10, 0x02


def _open_beneath(root: int, path: str) -> int:
    """openat2(2) with `root` as the root of all lookups; before Linux 5.6 a path through no final link."""
    how = (ctypes.c_uint64 * 3)(os.O_PATH | os.O_CLOEXEC, 0, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
    libc = ctypes.CDLL(None, use_errno=True)
    name = os.fsencode(path)
    fd = int(libc.syscall(_OPENAT2, root, name, ctypes.byref(how), ctypes.c_size_t(ctypes.sizeof(how))))
    if fd >= 0:
        return fd
    if ctypes.get_errno() != errno.ENOSYS:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    flags = os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.open(name.lstrip(b"/"), flags, dir_fd=root)
