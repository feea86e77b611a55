"""Takes from this process whatever it does not need to read one file: for code that parses hostile input.

After `confine` the process can compute, use memory up to a limit, and read and write what it has open; opening
files, sockets, other programs and processes are refused by a seccomp filter. Filters:
https://docs.kernel.org/userspace-api/seccomp_filter.html; a filter sees struct seccomp_data {nr, arch, …}.
"""

import ctypes
import errno
import os
import resource
import signal
import struct
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
_SECCOMP_MODE_FILTER = 2
_LOAD_WORD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4
_NOBODY = 65534

# read, write, close, fstat, lseek, mmap, mprotect, munmap, brk, rt_sigaction, rt_sigprocmask, rt_sigreturn,
# pread64, madvise, mremap, futex, exit, exit_group, sigaltstack, clock_gettime, getrandom, sched_yield, getpid,
# gettid, tgkill (abort); each machine has its AUDIT_ARCH and its numbers.
_CALLS = {
    "x86_64": (
        0xC000003E,
        (0, 1, 3, 5, 8, 9, 10, 11, 12, 13, 14, 15, 17, 28, 25, 202, 60, 231, 131, 228, 318, 24, 39, 186, 234),
    ),
    "aarch64": (
        0xC00000B7,
        (63, 64, 57, 80, 62, 222, 226, 215, 214, 134, 135, 139, 67, 233, 216, 98, 93, 94, 132, 113, 278, 124)
        + (172, 178, 131),
    ),
}


class CannotConfine(Exception):
    """This kernel or machine cannot confine a process; the message says why."""


def confine(memory_bytes: int, cpu_s: int, written_bytes: int) -> None:
    """Confine this process for good; raises CannotConfine.

    `memory_bytes` may be had beyond what is mapped now; each file may grow to `written_bytes`. SIGXCPU ends the
    process after `cpu_s` seconds of CPU time.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    _limit(resource.RLIMIT_AS, _mapped_bytes() + memory_bytes)
    _limit(resource.RLIMIT_CPU, cpu_s)
    _limit(resource.RLIMIT_FSIZE, written_bytes)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NPROC, 0)
    os.nice(10)
    Path("/proc/self/oom_score_adj").write_text("1000", "ascii")  # rather this process than the collector
    _call(libc, _PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    _limit(resource.RLIMIT_NOFILE, 0)
    _filter_calls(libc)


def _limit(what: int, value: int) -> None:
    hard = resource.getrlimit(what)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(what, (value, value))


def _mapped_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    return pages * resource.getpagesize()


def _filter_calls(libc: ctypes.CDLL) -> None:
    machine = os.uname().machine
    if machine not in _CALLS:
        raise CannotConfine(f"there is no list of system calls for {machine}")
    program = _program(*_CALLS[machine])
    code = ctypes.create_string_buffer(program)
    # struct sock_fprog {unsigned short len; struct sock_filter *filter}
    filter_ = ctypes.create_string_buffer(struct.pack("@HP", len(program) // 8, ctypes.addressof(code)))
    _call(libc, _PR_SET_NO_NEW_PRIVS, 1)
    _call(libc, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(filter_))


def _program(architecture: int, calls: tuple[int, ...]) -> bytes:
    """Instructions (struct sock_filter): other machines' calls kill, calls that are not listed answer EPERM."""
    steps = [
        (_LOAD_WORD, 0, 0, _ARCHITECTURE_AT),
        (_JUMP_IF_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD_WORD, 0, 0, _NUMBER_AT),
    ]
    for place, number in enumerate(calls):
        steps.append((_JUMP_IF_EQUAL, len(calls) - place, 0, number))
    steps += [(_RETURN, 0, 0, _ERRNO | errno.EPERM), (_RETURN, 0, 0, _ALLOW)]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def _call(libc: ctypes.CDLL, option: int, *arguments: int) -> None:
    values = [ctypes.c_ulong(value) for value in (*arguments, *[0] * (4 - len(arguments)))]
    if libc.prctl(option, *values):
        raise CannotConfine(f"prctl {option}: {os.strerror(ctypes.get_errno())}")
