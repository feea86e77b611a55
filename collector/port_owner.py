"""Names the process that holds a TCP port, for the message when it is taken (Linux: /proc/net/tcp)."""

import os
from pathlib import Path

_LISTEN = "0A"


def port_owner(port: int) -> str:
    """Such as "python3 (process 4711)"; "another process" when it cannot be told."""
    inodes = _listening_inodes(port)
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and inodes & _sockets(Path(entry.path)):
            return f"{_command(Path(entry.path))} (process {entry.name})"
    return "another process"


def _listening_inodes(port: int) -> set[str]:
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text("ascii").splitlines()[1:]
        except OSError:
            continue
        for fields in (line.split() for line in lines):
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(f"socket:[{fields[9]}]")
    return found


def _sockets(process: Path) -> set[str]:
    """Links of the process' open files; empty for one that is gone or not ours to see."""
    found = set()
    try:
        for entry in os.scandir(process / "fd"):
            found.add(os.readlink(entry.path))
    except OSError:
        pass
    return found


def _command(process: Path) -> str:
    try:
        return (process / "comm").read_text("utf-8", "replace").strip()
    except OSError:
        return "a program"
