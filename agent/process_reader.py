"""Reads /proc/PID: everything through one directory descriptor, so that all of it is of the same process.

Whatever a process can put there (names, paths, its environment) is hostile input: reads are bounded, bytes
that are no UTF-8 survive as surrogates. Formats: proc(5).
"""

import os
import re
import threading
import time
from collections.abc import Iterable
from typing import NamedTuple, Self

from agent.process import Mapping

PROC = "/proc"
MAX_COMMAND_LINE_BYTES = 4096
MAX_ENVIRONMENT_BYTES = 256 << 10
MAX_CGROUP_BYTES = 16 << 10
MAX_MAPS_BYTES = 4 << 20
"""About 40,000 lines; a process with more has made them to be a nuisance."""

GONE = (FileNotFoundError, ProcessLookupError)
"""What /proc raises for a process that has ended."""

_KERNEL_THREAD = 0x00200000
_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


class Stat(NamedTuple):
    """Some fields of /proc/PID/stat."""

    comm: str
    state: str
    parent_pid: int
    is_kernel: bool
    threads: int
    start_ticks: int
    """Since boot: with the pid it names one process for as long as the host is up."""


def text_of(data: bytes) -> str:
    """Bytes from the kernel as text; what is no UTF-8 becomes surrogates."""
    return data.decode("utf-8", "surrogateescape")


def stat_of(data: bytes) -> Stat:
    """Parse /proc/PID/stat; raises ValueError. The name in parentheses may itself hold parentheses."""
    first, last = data.index(b"("), data.rindex(b")")
    fields = data[last + 2 :].split()
    if len(fields) < 20:
        raise ValueError(f"stat has {len(fields) + 2} fields")
    return Stat(
        comm=text_of(data[first + 1 : last]),
        state=text_of(fields[0]),
        parent_pid=int(fields[1]),
        is_kernel=bool(int(fields[6]) & _KERNEL_THREAD),
        threads=int(fields[17]),
        start_ticks=int(fields[19]),
    )


_MAPS_LINE = re.compile(
    rb"^([0-9a-f]{1,16})-([0-9a-f]{1,16}) ..x. ([0-9a-f]{1,16}) ([0-9a-f]{1,8}):([0-9a-f]{1,8}) (\d{1,20}) *"
    rb"(.*)$",
    re.MULTILINE,
)


def maps_of(data: bytes) -> list[Mapping]:
    """The executable mappings in /proc/PID/maps, sorted by address; lines that cannot be read are skipped.

    The kernel writes a newline in a path as \\012 and leaves all else as it is.
    """
    mappings = []
    for start, end, offset, major, minor, inode, path in _MAPS_LINE.findall(data):
        if int(start, 16) < int(end, 16):
            device = device_of(int(major, 16), int(minor, 16), int(inode))
            name = text_of(path.replace(b"\\012", b"\n"))
            mappings.append(Mapping(int(start, 16), int(end, 16), int(offset, 16), name, device, int(inode)))
    return mappings


def device_of(major: int, minor: int, inode: int) -> int:
    """The number of the device of a mapped file, 0 when there is no file."""
    return major << 20 | minor if inode else 0


class VariableNames:
    """Which variables of an environment to keep: names, or prefixes where a name ends in `*`."""

    def __init__(self, names: Iterable[str]) -> None:
        given = [name.encode() for name in names]
        self._names = frozenset(name for name in given if not name.endswith(b"*"))
        self._prefixes = tuple(name[:-1] for name in given if name.endswith(b"*"))

    def select(self, data: bytes) -> dict[str, str]:
        """The wanted variables in /proc/PID/environ; the first of a name counts, as for getenv(3)."""
        found: dict[str, str] = {}
        for entry in data.split(b"\0"):
            name, equals, value = entry.partition(b"=")
            if equals and (name in self._names or (self._prefixes and name.startswith(self._prefixes))):
                found.setdefault(text_of(name), text_of(value))
        return found


def command_line_of(data: bytes) -> tuple[str, ...]:
    """The arguments in /proc/PID/cmdline, cut after MAX_COMMAND_LINE_BYTES."""
    cut = data[:MAX_COMMAND_LINE_BYTES]
    return tuple(text_of(cut.removesuffix(b"\0")).split("\0")) if cut else ()


def namespace_pid_of(status: bytes) -> int:
    """The innermost pid in /proc/PID/status (its NSpid line); 0 when it has none."""
    found = re.search(rb"^NSpid:((?:\s+\d+)+)\s*$", status, re.MULTILINE)
    return int(found[1].split()[-1]) if found else 0


def monotonic_of_ticks(start_ticks: int) -> int:
    """The CLOCK_MONOTONIC time, up to one tick early, of a start time in ticks since boot."""
    asleep_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns()
    return max(start_ticks * _TICK_NS - asleep_ns, 0)


class _Buffer(threading.local):
    """What /proc is read into: one for each thread, since reads let other threads run."""

    def __init__(self) -> None:
        self.space = bytearray(64 << 10)


class ProcessReader:
    """An open /proc/PID, or that of one of its threads; a context manager.

    Raises one of GONE when there is no such process.
    """

    _buffer = _Buffer()

    def __init__(self, pid: int, thread: int = 0) -> None:
        self.pid = pid
        path = f"{PROC}/{pid}/task/{thread}" if thread else f"{PROC}/{pid}"
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)

    def read(self, name: str, limit_bytes: int) -> bytes:
        """At most `limit_bytes` of one file; raises OSError, one of GONE once the process has ended."""
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.fd)
        try:
            parts: list[bytes] = []
            total, space = 0, self._buffer.space
            while total < limit_bytes and (count := os.readv(fd, [space])):
                parts.append(bytes(memoryview(space)[:count]))
                total += count
            return b"".join(parts)[:limit_bytes]
        finally:
            os.close(fd)

    def stat(self) -> Stat:
        """State, parent, start time."""
        return stat_of(self.read("stat", 4096))

    def exe(self) -> str:
        """Path of the executable; "" for a kernel thread, a zombie, or where permission is missing."""
        try:
            return os.readlink("exe", dir_fd=self.fd)
        except (*GONE, PermissionError):
            return ""

    def mappings(self) -> list[Mapping]:
        """Executable mappings; none for a kernel thread, a zombie, or where even root has no permission."""
        try:
            return maps_of(self.read("maps", MAX_MAPS_BYTES))
        except PermissionError:
            return []

    def environment(self, names: VariableNames) -> tuple[dict[str, str], bool]:
        """The wanted variables, and whether there was any environment: none yet in the middle of an exec."""
        try:
            data = self.read("environ", MAX_ENVIRONMENT_BYTES)
        except PermissionError:
            return {}, True
        return names.select(data), bool(data)

    def command_line(self) -> tuple[str, ...]:
        """The arguments."""
        return command_line_of(self.read("cmdline", MAX_COMMAND_LINE_BYTES))

    def cgroup(self) -> str:
        """The text of its cgroup file."""
        return text_of(self.read("cgroup", MAX_CGROUP_BYTES))

    def namespace_pid(self) -> int:
        """Its pid as it knows it. Comparing the namespace first is a tenth of the cost of reading status."""
        try:
            if os.readlink("ns/pid", dir_fd=self.fd) == _own_pid_namespace():
                return self.pid
            return namespace_pid_of(self.read("status", 8192)) or self.pid
        except (*GONE, PermissionError):
            return self.pid


def other_thread(pid: int) -> int | None:
    """A living thread of a process whose main thread has ended."""
    for name in os.listdir(f"{PROC}/{pid}/task"):
        if name != str(pid):
            return int(name)
    return None


_own: list[str] = []


def _own_pid_namespace() -> str:
    if not _own:
        _own.append(os.readlink(f"{PROC}/self/ns/pid"))
    return _own[0]
