"""Which system call a thread waits in decides the class of its wait (fleetprof.series.WAIT_CLASSES).

Numbers: x86-64 from arch/x86/entry/syscalls/syscall_64.tbl, arm64 from include/uapi/asm-generic/unistd.h.
Calls that are not listed are "other".
"""

import platform

from fleetprof.series import WAIT_CLASSES

TABLE_SIZE = 512
"""SYSCALLS of bpf/sched.bpf.c."""

# Class → name → (x86-64, arm64) number; None where the architecture does not have the call.
_CALLS: dict[str, dict[str, tuple[int | None, int | None]]] = {
    "futex": {"futex": (202, 98), "futex_waitv": (449, 449), "futex_wait": (455, 455)},
    "poll": {
        "poll": (7, None),
        "select": (23, None),
        "ppoll": (271, 73),
        "pselect6": (270, 72),
        "epoll_wait": (232, None),
        "epoll_pwait": (281, 22),
        "epoll_pwait2": (441, 441),
        "io_getevents": (208, 4),
        "io_pgetevents": (333, 292),
        "io_uring_enter": (426, 426),
    },
    "sleep": {"nanosleep": (35, 101), "clock_nanosleep": (230, 115)},
    "read": {
        "read": (0, 63),
        "pread64": (17, 67),
        "readv": (19, 65),
        "preadv": (295, 69),
        "preadv2": (327, 286),
        "recvfrom": (45, 207),
        "recvmsg": (47, 212),
        "recvmmsg": (299, 243),
        "accept": (43, 202),
        "accept4": (288, 242),
        "readahead": (187, 213),
        "msgrcv": (70, 188),
        "mq_timedreceive": (243, 183),
    },
    "write": {
        "write": (1, 64),
        "pwrite64": (18, 68),
        "writev": (20, 66),
        "pwritev": (296, 70),
        "pwritev2": (328, 287),
        "sendto": (44, 206),
        "sendmsg": (46, 211),
        "sendmmsg": (307, 269),
        "sendfile": (40, 71),
        "fsync": (74, 82),
        "fdatasync": (75, 83),
        "sync": (162, 81),
        "syncfs": (306, 267),
        "sync_file_range": (277, 84),
        "msync": (26, 227),
        "msgsnd": (69, 189),
        "mq_timedsend": (242, 182),
    },
}

_COLUMNS = {"x86_64": 0, "amd64": 0, "aarch64": 1, "arm64": 1}


def class_of_syscall(machine: str = "") -> bytes:
    """The wait class of each system call number, one byte each, of `machine` (this one when empty).

    All "other" on an architecture that is not listed.
    """
    table = bytearray(TABLE_SIZE)
    column = _COLUMNS.get((machine or platform.machine()).lower())
    if column is not None:
        for name, calls in _CALLS.items():
            for numbers in calls.values():
                number = numbers[column]
                if number is not None:
                    table[number] = WAIT_CLASSES.index(name)
    return bytes(table)
