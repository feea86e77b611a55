"""The records in a perf ring, as bytes → named fields.

Layouts: include/uapi/linux/perf_event.h, enum perf_event_type. All events of the agent ask for
SAMPLE_TID | SAMPLE_TIME and sample_id_all, so every record but a sample ends in (u32 pid, u32 tid, u64 time).
The bytes come from the kernel, yet nothing here trusts a length in them.
"""

import struct
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from agent.samples import U32, U64, Stacks


class RecordType(IntEnum):
    """enum perf_event_type, as far as it is asked for."""

    LOST = 2
    COMM = 3
    EXIT = 4
    THROTTLE = 5
    UNTHROTTLE = 6
    FORK = 7
    SAMPLE = 9
    MMAP2 = 10
    LOST_SAMPLES = 13


COMM_EXEC = 1 << 13
"""In `misc` of a COMM record: the name changed because of an exec."""
BUILD_ID = 1 << 14
"""In `misc` of an MMAP2 record: it holds a build id in place of device and inode."""

_HEADER = struct.Struct("<IHH")
_SAMPLE_ID = struct.Struct("<IIQ")
_TIME = struct.Struct("<Q")
_PIDS = struct.Struct("<II")
_TASK = struct.Struct("<IIIIQ")
_LOST = struct.Struct("<QQ")
_MMAP2 = struct.Struct("<IIQQQIIQQII")
_SAMPLE = struct.Struct("<IIQQ")


class Record(NamedTuple):
    """One record: `data` is whole, its header included."""

    time_ns: int
    type: int
    misc: int
    data: bytes


class Comm(NamedTuple):
    """A thread's new name."""

    pid: int
    tid: int
    name: str


class Task(NamedTuple):
    """A thread that began (FORK; `parent_*` made it) or ended (EXIT)."""

    pid: int
    parent_pid: int
    tid: int
    parent_tid: int


class Mmap2(NamedTuple):
    """A new executable mapping."""

    pid: int
    tid: int
    addr: int
    length: int
    file_offset: int
    major: int
    minor: int
    inode: int
    path: str


class Malformed(ValueError):
    """A record that is shorter than its type."""


_MINIMUM = {
    RecordType.LOST: _LOST,
    RecordType.COMM: _PIDS,
    RecordType.EXIT: _TASK,
    RecordType.FORK: _TASK,
    RecordType.MMAP2: _MMAP2,
    RecordType.LOST_SAMPLES: _TIME,
    RecordType.SAMPLE: _SAMPLE,
}
_SAMPLE_TYPE = int(RecordType.SAMPLE)
_SMALLEST = {
    int(kind): _HEADER.size + body.size + (0 if kind == RecordType.SAMPLE else _SAMPLE_ID.size)
    for kind, body in _MINIMUM.items()
}


def split(data: bytes) -> tuple[list[Record], int]:
    """The records in `data`, in order, and how many were malformed.

    A header that cannot be right ends the walk: nothing after it can be found. Records shorter than their
    type are left out.
    """
    records: list[Record] = []
    malformed = start = 0
    total = len(data)
    unpack, time_of, smallest = _HEADER.unpack_from, _TIME.unpack_from, _SMALLEST.get
    while start + _HEADER.size <= total:
        kind, misc, size = unpack(data, start)
        end = start + size
        if size < 16 or end > total:
            return records, malformed + 1
        if size < smallest(kind, 16):
            malformed += 1
        else:
            (time_ns,) = time_of(data, start + 16 if kind == _SAMPLE_TYPE else end - 8)
            records.append(Record(time_ns, kind, misc, data[start:end]))
        start = end
    return records, malformed + (start != total)


def pid_of(data: bytes) -> int:
    """The process of a COMM, MMAP2, FORK, EXIT or SAMPLE record."""
    pid: int = _PIDS.unpack_from(data, 8)[0]
    return pid


def thread_of(data: bytes) -> tuple[int, int]:
    """Process and thread of a COMM, MMAP2 or SAMPLE record."""
    pid, tid = _PIDS.unpack_from(data, 8)
    return pid, tid


def comm_of(data: bytes) -> Comm:
    """A COMM record's fields."""
    pid, tid = _PIDS.unpack_from(data, 8)
    return Comm(pid, tid, _text(data[16 : len(data) - 16]))


def task_of(data: bytes) -> Task:
    """A FORK or EXIT record's fields."""
    return Task(*_TASK.unpack_from(data, 8)[:4])


def lost_of(record: Record) -> int:
    """How many records a LOST or LOST_SAMPLES record stands for."""
    if record.type == RecordType.LOST_SAMPLES:
        return int(_TIME.unpack_from(record.data, 8)[0])
    return int(_LOST.unpack_from(record.data, 8)[1])


def file_of(data: bytes) -> bytes:
    """Device and inode of an MMAP2 record as raw bytes: equal for mappings of the same file."""
    return data[40:56]


def mmap2_of(data: bytes) -> Mmap2:
    """An MMAP2 record's fields."""
    pid, tid, addr, length, offset, major, minor, inode, _, _, _ = _MMAP2.unpack_from(data, 8)
    path = _text(data[8 + _MMAP2.size : len(data) - 16])
    return Mmap2(pid, tid, addr, length, offset, major, minor, inode, path)


def _text(padded: bytes) -> str:
    return padded.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


_CONTEXT_MAX = np.uint64(2**64 - 4095)
"""Entries of a call chain from here up are not addresses: they say whose addresses follow."""
_CONTEXT_KERNEL = np.uint64(2**64 - 128)
_CONTEXT_USER = np.uint64(2**64 - 512)


class Samples(NamedTuple):
    """Samples as columns, one row each, in the order given."""

    pid: U32
    tid: U32
    time_ns: U64
    user: Stacks
    kernel: Stacks


def samples_of(records: list[bytes]) -> Samples:
    """SAMPLE records, each of which `chain_fits`, as columns.

    They are of events with sample_type SAMPLE_TID | SAMPLE_TIME | SAMPLE_CALLCHAIN. Addresses of other
    contexts than user and kernel (hypervisor, guest) are left out.
    """
    lengths = np.array([len(data) // 8 for data in records], np.int64)
    words = np.frombuffer(b"".join(data[: len(data) & ~7] for data in records), np.uint64)
    starts = np.cumsum(lengths) - lengths
    ids, depths = words[starts + 1], words[starts + 3].astype(np.int64)
    row = np.repeat(np.arange(len(records)), depths)
    position = np.arange(len(row)) - np.repeat(np.cumsum(depths) - depths, depths)
    chain = words[np.repeat(starts + 4, depths) + position]
    context = _contexts(chain, position)
    is_address = chain < _CONTEXT_MAX
    user, kernel = (
        _select(chain, row, is_address & (context == which), len(records))
        for which in (_CONTEXT_USER, _CONTEXT_KERNEL)
    )
    pid, tid = (ids & np.uint64(0xFFFFFFFF)).astype(np.uint32), (ids >> np.uint64(32)).astype(np.uint32)
    return Samples(pid, tid, words[starts + 2], user, kernel)


def chain_fits(data: bytes) -> bool:
    """Whether a SAMPLE record is as long as its call chain says."""
    if len(data) < _HEADER.size + _SAMPLE.size:
        return False
    depth = _SAMPLE.unpack_from(data, 8)[3]
    return bool(depth <= (len(data) - _HEADER.size - _SAMPLE.size) // 8)


def _contexts(chain: U64, position: np.ndarray) -> U64:
    """For each entry the context it stands in: the last marker at or before it in its chain, else 0."""
    index = np.arange(len(chain))
    last = np.maximum.accumulate(np.where(chain >= _CONTEXT_MAX, index, -1))
    inside = last >= index - position
    return np.where(inside, chain[np.maximum(last, 0)] if len(chain) else chain, np.uint64(0))


def _select(chain: U64, row: np.ndarray, keep: np.ndarray, rows: int) -> Stacks:
    starts = np.zeros(rows + 1, np.int64)
    np.cumsum(np.bincount(row[keep], minlength=rows), out=starts[1:])
    return Stacks(chain[keep], starts)
