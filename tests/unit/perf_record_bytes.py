"""Builds perf records byte by byte, as the kernel writes them."""

import struct

KERNEL, USER = 2**64 - 128, 2**64 - 512


def record(kind: int, misc: int, body: bytes, pid: int = 1, tid: int = 1, time_ns: int = 0) -> bytes:
    """A record other than a sample: header, body, and the (pid, tid, time) that ends it."""
    body += bytes(-len(body) % 8)
    return struct.pack("<IHH", kind, misc, 8 + len(body) + 16) + body + struct.pack("<IIQ", pid, tid, time_ns)


def comm(pid: int, tid: int, name: bytes, time_ns: int, exec_: bool = False) -> bytes:
    return record(3, 1 << 13 if exec_ else 0, struct.pack("<II", pid, tid) + name + b"\0", pid, tid, time_ns)


def fork(pid: int, parent_pid: int, tid: int, parent_tid: int, time_ns: int) -> bytes:
    return record(7, 0, struct.pack("<IIIIQ", pid, parent_pid, tid, parent_tid, time_ns), time_ns=time_ns)


def exit_(pid: int, tid: int, time_ns: int) -> bytes:
    return record(4, 0, struct.pack("<IIIIQ", pid, 1, tid, 1, time_ns), time_ns=time_ns)


def lost(count: int, time_ns: int) -> bytes:
    return record(2, 0, struct.pack("<QQ", 7, count), time_ns=time_ns)


def mmap2(
    pid: int,
    addr: int,
    length: int,
    offset: int = 0,
    path: bytes = b"/bin/x",
    device: tuple[int, int] = (8, 1),
    inode: int = 0,
    time_ns: int = 0,
) -> bytes:
    fixed = struct.pack("<IIQQQIIQQII", pid, pid, addr, length, offset, *device, inode, 0, 5, 2)
    return record(10, 0, fixed + path + b"\0", pid, pid, time_ns)


def sample(pid: int, tid: int, time_ns: int, chain: list[int]) -> bytes:
    body = struct.pack("<IIQQ", pid, tid, time_ns, len(chain)) + struct.pack(f"<{len(chain)}Q", *chain)
    return struct.pack("<IHH", 9, 0, 8 + len(body)) + body
