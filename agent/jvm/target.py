"""A running Java VM: who it is, and whether it can be asked without harm. Only looks, does nothing to it."""

import os
import re
import stat
from typing import NamedTuple, Self

from agent.process_reader import ProcessReader
from agent.symbolize.debug_files import handle_in_root

_SIGQUIT_BIT = 1 << 2
_MAX_STATUS_BYTES = 16 << 10
_MAX_OPTIONS_BYTES = 256 << 10
_MAX_THREADS = 4096
_NO_ATTACH = b"-XX:+DisableAttachMechanism"
_DISPATCHER = b"Signal Dispatch\n"
"""HotSpot's thread "Signal Dispatcher", as the kernel cuts its name."""


class Refused(Exception):
    """A Java VM that cannot be asked, or did not answer; the message says why. `again`: whether it may later."""

    def __init__(
        self, why: str, again: bool = False, everywhere: bool = False, signalled: bool = False
    ) -> None:
        super().__init__(why)
        self.again = again
        self.signalled = signalled
        """It got a signal in vain, so that it is tried once more only: it may have had no CPU."""
        self.everywhere = everywhere
        """The reason lies with the agent, and holds for all."""


class HasOwnMap(Refused):
    """Somebody else has it write perf maps, which are used as they are."""

    def __init__(self) -> None:
        super().__init__("it has a perf map of its own", again=True)


class Facts(NamedTuple):
    """What /proc/PID/status says."""

    uid: int
    """Effective, in the agent's user namespace."""
    gid: int
    namespace_pid: int
    """Its pid as it knows it."""
    catches_quit: bool
    """Whether SIGQUIT does not end it."""


def facts_of(status: bytes) -> Facts:
    """Parse /proc/PID/status; raises ValueError."""
    fields: dict[bytes, bytes] = dict(re.findall(rb"^(\w+):[ \t]*(.*)$", status, re.MULTILINE))
    try:
        return Facts(
            uid=int(fields[b"Uid"].split()[1]),
            gid=int(fields[b"Gid"].split()[1]),
            namespace_pid=int((fields.get(b"NSpid") or fields[b"Pid"]).split()[-1]),
            catches_quit=bool(int(fields[b"SigCgt"], 16) & _SIGQUIT_BIT),
        )
    except (KeyError, IndexError) as error:
        raise ValueError("an incomplete status") from error


class Target:
    """One process, held so that no other can take its place: a context manager.

    Raises Refused when it has gone or its files are out of reach.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._fds: list[int] = []
        try:
            self._proc = ProcessReader(pid)
            self._fds.append(self._proc.fd)
            self.pidfd = os.pidfd_open(pid)
            self._fds.append(self.pidfd)
            self.facts = facts_of(self._proc.read("status", _MAX_STATUS_BYTES))
            self.tmp = self._hold_tmp()
            """Its /tmp, as an O_PATH descriptor."""
        except (OSError, ValueError) as error:
            self.close()
            raise Refused(f"its files are out of reach ({error})", again=True) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the process."""
        while self._fds:
            os.close(self._fds.pop())

    def find(self, name: str) -> int:
        """An O_PATH descriptor of a file in its /tmp, the caller's to close; links lead nowhere outside.

        Raises OSError.
        """
        return handle_in_root(f"/proc/self/fd/{self.tmp}", name)

    def find_socket(self) -> int | None:
        """An O_PATH descriptor of the socket on which it listens, the caller's to close; None where it does not.

        Raises Refused, OSError.
        """
        try:
            handle = self.find(f".java_pid{self.facts.namespace_pid}")
        except FileNotFoundError:
            return None
        status = os.fstat(handle)
        if stat.S_ISSOCK(status.st_mode) and status.st_uid == self.facts.uid:
            return handle
        os.close(handle)
        raise Refused("something else lies where its socket should be")

    def listens(self) -> bool:
        """Whether it can be asked without being woken."""
        handle = self.find_socket()
        if handle is not None:
            os.close(handle)
        return handle is not None

    def check_wakeable(self) -> None:
        """Raises Refused unless SIGQUIT makes this Java VM listen, and does nothing else to it.

        The signal ends a program that does not catch it, and makes one whose attach mechanism is off print all
        stacks. Options in files (`@file`, JDK_JAVA_OPTIONS is read) are not seen.
        """
        if self._disabled():
            raise Refused(f"it was started with {_NO_ATTACH.decode()}")
        if not self.facts.catches_quit or not self._has_dispatcher():
            raise Refused(
                "it does not listen, and does not handle SIGQUIT (-Xrs, or still starting)", again=True
            )

    def _hold_tmp(self) -> int:
        root = os.open("root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._proc.fd)
        try:
            held = handle_in_root(f"/proc/self/fd/{root}", "/tmp")
        finally:
            os.close(root)
        self._fds.append(held)
        return held

    def _disabled(self) -> bool:
        try:
            options = (self._proc.read(name, _MAX_OPTIONS_BYTES) for name in ("cmdline", "environ"))
            return any(_NO_ATTACH in text for text in options)
        except OSError as error:
            raise Refused(f"its options are out of reach ({error})", again=True) from error

    def _has_dispatcher(self) -> bool:
        """Whether HotSpot's own thread for signals is there: then the handler of SIGQUIT is HotSpot's."""
        try:
            threads = os.listdir(f"/proc/self/fd/{self._proc.fd}/task")[:_MAX_THREADS]
            return any(self._proc.read(f"task/{thread}/comm", 64) == _DISPATCHER for thread in threads)
        except OSError:
            return False
