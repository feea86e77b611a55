"""Acting as another user for a moment, on the calling thread only.

The C library's seteuid changes all threads of a process; the system calls behind it change one (man 7 nptl). Real
and saved ids stay, so that the way back is open, and so that the user cannot signal or trace this thread meanwhile.
"""

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager

_NUMBERS = {"x86_64": (117, 119, 116), "aarch64": (147, 149, 159)}
_PR_GET_DUMPABLE, _PR_SET_DUMPABLE = 3, 4
_KEEP = -1
_libc = ctypes.CDLL(None, use_errno=True)


class MayNotAct(PermissionError):
    """The kernel does not let us become that user."""


class StuckAsOther(RuntimeError):
    """The way back failed: this thread must not go on."""


@contextmanager
def as_user(uid: int, gid: int) -> Iterator[None]:
    """Run a block with this effective user and group, and no others.

    Raises MayNotAct where the kernel does not allow it (CAP_SETUID, CAP_SETGID), StuckAsOther when it does not
    allow the way back.
    """
    own_uid, own_gid, own_groups = os.geteuid(), os.getegid(), os.getgroups()
    if (uid, gid) == (own_uid, own_gid):
        yield
        return
    dumpable = _libc.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0)
    set_uid, set_gid, set_groups = _numbers()
    steps = [  # there and back; the user last and first: with it go the powers to change the others
        ((set_groups, *_members([gid])), (set_groups, *_members(own_groups))),
        ((set_gid, _KEEP, gid, _KEEP), (set_gid, _KEEP, own_gid, _KEEP)),
        ((set_uid, _KEEP, uid, _KEEP), (set_uid, _KEEP, own_uid, _KEEP)),
    ]
    way_back = []
    try:
        for there, back in steps:
            try:
                _call(*there)
            except OSError as error:
                raise MayNotAct(*error.args) from error
            way_back.append(back)
        yield
    finally:
        try:
            for back in reversed(way_back):
                _call(*back)
        except OSError as error:
            raise StuckAsOther(str(error)) from error
        _libc.prctl(_PR_SET_DUMPABLE, dumpable, 0, 0, 0)  # the kernel turned it off with the first change


def _members(groups: list[int]) -> tuple[int, "ctypes.Array[ctypes.c_uint32]"]:
    return len(groups), (ctypes.c_uint32 * max(len(groups), 1))(*groups)


def _call(*words: "int | ctypes.Array[ctypes.c_uint32]") -> None:
    """One system call: its number and arguments; raises OSError."""
    if _libc.syscall(*(ctypes.c_long(word) if isinstance(word, int) else word for word in words)) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _numbers() -> tuple[int, int, int]:
    """Of setresuid, setresgid, setgroups; raises OSError."""
    known = _NUMBERS.get(platform.machine())
    if known is None:
        raise OSError(f"no system call numbers for {platform.machine()}")
    return known
