"""Asks a running Java VM (HotSpot 17 and newer) to write the names of all code in its code cache.

The protocol is that of `jcmd PID Compiler.perfmap`: the VM listens on /tmp/.java_pidN, N being its pid as it knows
it. Where it does not do so yet, a file /tmp/.attach_pidN and SIGQUIT start a thread of it that does; that thread
stays. It then writes /tmp/perf-N.map, holding the lock of its code cache meanwhile: its threads go on, but code
that is being compiled waits to be installed.
https://github.com/openjdk/jdk/blob/master/src/hotspot/os/posix/attachListener_posix.cpp

All of it is done as the user of the VM and on paths inside its own root: what it plants there leads nowhere that it
could not go itself. Every step has a deadline.
"""

import contextlib
import os
import signal
import socket
import stat
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager

from agent.jvm.credentials import MayNotAct, as_user
from agent.jvm.target import HasOwnMap, Refused, Target

LISTEN_TIMEOUT_S = 10.0
"""For a VM to begin to listen. It takes some 10 ms, seconds where no CPU is free."""
ANSWER_TIMEOUT_S = 20.0
"""For it to connect and to have written its map: below a second for 50,000 functions."""
POLL_S = 0.02
MAX_ANSWER_BYTES = 64 << 10
_PEER = struct.Struct("3i")


def fetch_perf_map(pid: int, since_s: float, ours: bool) -> int:
    """Have a Java VM write its perf map; an open descriptor of it. The file itself is gone from /tmp again.

    `since_s`: when the process began (seconds since 1970); an older file is a leftover. `ours`: whether a map that
    is there already can only be one that we asked for. Raises Refused.
    """
    with Target(pid) as target:
        name = f"perf-{target.facts.namespace_pid}.map"
        try:
            with as_user(target.facts.uid, target.facts.gid):
                return _fetch(target, name, since_s, ours)
        except MayNotAct as error:
            why = f"the agent may not act as user {target.facts.uid} ({error}): CAP_SETUID and CAP_SETGID"
            raise Refused(why, everywhere=True) from error
        except OSError as error:
            raise Refused(f"it cannot be asked ({error})", again=True) from error


def _fetch(target: Target, name: str, since_s: float, ours: bool) -> int:
    modified_s = _modified_s(target, name)
    if modified_s:
        if modified_s >= since_s and not ours:
            raise HasOwnMap
        os.unlink(name, dir_fd=target.tmp)  # a leftover, or a link by which the VM would write elsewhere
    with _connected(target) as connection:
        _command(connection, "jcmd", "Compiler.perfmap")
    return _take_away(target, name)


def _modified_s(target: Target, name: str) -> float:
    """When a file was written last, 0 when there is none."""
    try:
        return os.stat(name, dir_fd=target.tmp, follow_symlinks=False).st_mtime
    except FileNotFoundError:
        return 0


@contextmanager
def _connected(target: Target) -> Iterator[socket.socket]:
    """A connection to the VM, which is made to listen where it does not. Raises Refused, OSError."""
    handle = target.find_socket()
    if handle is None:
        target.check_wakeable()
        handle = _wake(target)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(ANSWER_TIMEOUT_S)
            connection.connect(f"/proc/self/fd/{handle}")
            pid, _, _ = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
            if pid != target.pid:
                raise Refused("another process listens in its place", again=True)
            yield connection
    finally:
        os.close(handle)


def _wake(target: Target) -> int:
    """Make the VM listen: the file tells it that SIGQUIT is not meant for people."""
    trigger = f".attach_pid{target.facts.namespace_pid}"
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    with contextlib.suppress(
        FileExistsError
    ):  # somebody else is about to attach, or was killed while doing so
        os.close(os.open(trigger, flags, 0o600, dir_fd=target.tmp))
    try:
        signal.pidfd_send_signal(target.pidfd, signal.SIGQUIT)
        deadline = time.monotonic() + LISTEN_TIMEOUT_S
        while time.monotonic() < deadline:
            handle = target.find_socket()
            if handle is not None:
                return handle
            time.sleep(POLL_S)
        why = f"it did not listen within {LISTEN_TIMEOUT_S:.0f} s of being asked to"
        raise Refused(why, again=True, signalled=True)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(trigger, dir_fd=target.tmp)


def _command(connection: socket.socket, *words: str) -> None:
    """Send a command with up to three arguments, and wait until it is done. Raises Refused, OSError."""
    text = b"1\0" + b"".join(word.encode() + b"\0" for word in (*words, "", "", "")[:4])
    deadline = time.monotonic() + ANSWER_TIMEOUT_S
    connection.sendall(text)
    answer = b""
    while len(answer) < MAX_ANSWER_BYTES:
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        part = connection.recv(4096)
        if not part:
            break
        answer += part
    code, _, rest = answer.partition(b"\n")
    if code.strip() != b"0":
        raise Refused(_complaint(code, rest))


def _complaint(code: bytes, rest: bytes) -> str:
    if b"Unknown diagnostic command" in rest:
        return "it is older than Java 17"
    said = (rest.strip() or code.strip()).decode("utf-8", "replace")[:200].splitlines()
    return f"it answered: {said[0] if said else 'nothing'}"


def _take_away(target: Target, name: str) -> int:
    """Open the map that the VM wrote, and remove it: it is of no use to anybody once it is read."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        fd = os.open(name, flags, dir_fd=target.tmp)
    except FileNotFoundError as error:
        raise Refused(f"it wrote no /tmp/{name}", again=True) from error
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or status.st_uid != target.facts.uid:
        os.close(fd)
        raise Refused(f"/tmp/{name} is not its own file")
    with contextlib.suppress(FileNotFoundError):  # another agent of this host was faster
        os.unlink(name, dir_fd=target.tmp)
    return fd
