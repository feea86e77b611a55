"""Reads BPF ring buffers through their shared memory, and turns `struct fp_capture` records into columns.

The layout is the kernel's (kernel/bpf/ringbuf.c): one page with the consumer's position, which only the
reader writes; one page with the producer's; then the data area. The kernel offers it twice in a row, for readers
that want a record that wraps around in one piece; here it is mapped once, since each mapped page counts as
resident memory, and what wraps is put together when it is copied. Each record has an 8-byte header (u32 length
with a busy and a discard bit, u32 page offset) and starts at a multiple of 8. No system call is made: draining
an empty ring is two loads.
"""

import mmap
import struct
from typing import Self

import numpy as np
import numpy.typing as npt

from agent.cpython.words import without_words
from agent.samples import U8, U64, Captures, Stacks, UserEnd, empty
from fleetprof.losses import DropReason, Losses
from fleetprof.profile_types import ProfileType

_BUSY, _DISCARDED = 1 << 31, 1 << 30
_LENGTH = _DISCARDED - 1
_HEADER_BYTES = 8
_LENGTH_FIELD = struct.Struct("<I")

Positions = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]


class RingBuffer:
    """The reading side of one BPF_MAP_TYPE_RINGBUF map of `size_bytes` (a power of two, its max_entries).

    There must be one reader only: another one, in this process or elsewhere, would take records away.
    """

    def __init__(self, map_fd: int, size_bytes: int) -> None:
        page = mmap.PAGESIZE
        self._mapped = (
            mmap.mmap(map_fd, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE),
            mmap.mmap(map_fd, page + size_bytes, mmap.MAP_SHARED, mmap.PROT_READ, offset=page),
        )
        shared = memoryview(self._mapped[1])
        self._use(memoryview(self._mapped[0]), shared[:page], shared[page:], size_bytes)

    @classmethod
    def over(cls, consumer: bytearray, producer: bytearray, data: bytearray, size_bytes: int) -> Self:
        """A reader over given memory instead of a map's; `data` is the data area, once or twice."""
        ring = cls.__new__(cls)
        ring._mapped = ()
        ring._use(memoryview(consumer), memoryview(producer), memoryview(data), size_bytes)
        return ring

    _mapped: tuple[mmap.mmap, ...]

    def _use(self, consumer: memoryview, producer: memoryview, data: memoryview, size_bytes: int) -> None:
        # Aligned 8-byte loads and stores through numpy are single instructions, so no position is ever torn.
        self._consumed = np.frombuffer(consumer, np.uint64, 1)
        self._produced = np.frombuffer(producer, np.uint64, 1)
        self._headers = data
        self._data = np.frombuffer(data, np.uint8, size_bytes)
        self._mask = size_bytes - 1

    def take(self) -> tuple[Bytes, Positions, Positions]:
        """Take all complete records: (a copy of the memory they lie in, start and length of each in bytes).

        Starts are multiples of 8. A record still being written ends the reading until the next call, and
        discarded ones are left out.
        """
        # The kernel publishes a record by clearing its busy bit after its content (an exchange, which orders
        # both). So all headers are read first and the content copied after; thousands of instructions of the
        # interpreter lie between, more than a CPU reorders.
        first = int(self._consumed[0])
        end = int(self._produced[0])
        starts, lengths = [], []
        position = first
        while position < end:
            offset = position & self._mask
            (header,) = _LENGTH_FIELD.unpack_from(self._headers, offset)
            if header & _BUSY:
                break
            length = header & _LENGTH
            if not header & _DISCARDED:
                starts.append(position - first + _HEADER_BYTES)
                lengths.append(length)
            position += (length + _HEADER_BYTES + 7) & ~7
        content = self._copy(first & self._mask, position - first)
        if position != first:
            self._consumed[0] = position
        return content, np.array(starts, np.int64), np.array(lengths, np.int64)

    def _copy(self, begin: int, length: int) -> Bytes:
        wrapped = begin + length - len(self._data)
        if wrapped <= 0:
            return self._data[begin : begin + length].copy()
        return np.concatenate([self._data[begin:], self._data[:wrapped]])

    @property
    def fill(self) -> float:
        """The part of the ring that waits to be taken, 0 to 1."""
        return (int(self._produced[0]) - int(self._consumed[0])) / (self._mask + 1)

    def read(self) -> list[bytes]:
        """Take all complete records, oldest first, each without its header."""
        content, starts, lengths = self.take()
        data = content.tobytes()
        return [
            data[start : start + length]
            for start, length in zip(starts.tolist(), lengths.tolist(), strict=True)
        ]

    def close(self) -> None:
        """Unmap the memory; the ring must not be read afterwards."""
        nothing = np.empty(0, np.uint8)
        self._data, self._consumed, self._produced = nothing, nothing.view(np.uint64), nothing.view(np.uint64)
        self._headers = memoryview(b"")
        self._mapped = ()


CAPTURE = np.dtype(
    [("time_ns", "<u8"), ("value_ns", "<u8"), ("runq_ns", "<u8"), ("pid", "<u4"), ("tid", "<u4"),
     ("type", "u1"), ("wait", "u1"), ("truncated", "u1"), ("unreadable", "u1"),
     ("user_depth", "<u2"), ("kernel_depth", "u1"), ("user_end", "u1"), ("comm", "S16")]
)  # fmt: skip
"""`struct fp_capture` of bpf/capture.h up to its addresses."""


LOSS_OF_END = {
    UserEnd.NO_TABLE: DropReason.STACK_BROKEN_OFF,
    UserEnd.NO_RULE: DropReason.STACK_BROKEN_OFF,
    UserEnd.UNREADABLE: DropReason.STACK_BROKEN_OFF,
    UserEnd.BUDGET: DropReason.UNWIND_MEMORY,
    UserEnd.NEW: DropReason.UNWIND_NEW,
}
"""Of stacks that do not reach their thread's root; DEPTH is marked as truncated too."""


def captures_of(content: Bytes, starts: Positions, lengths: Positions) -> tuple[Captures, Losses]:
    """The rows of fp_capture records lying in `content` (starts are multiples of 8), and what they lack.

    A wait with both a blocked and a run-queue part becomes two rows, OFFCPU and RUNQ, on the same stacks: all
    RUNQ rows come after the other rows. Records too short for their own depths are counted as MALFORMED.
    """
    if not len(starts):
        return empty(), Losses()
    whole = lengths >= CAPTURE.itemsize
    records = _fixed_parts(content, starts[whole])
    depths = records["user_depth"].astype(np.int64) + records["kernel_depth"]
    fits = lengths[whole] >= CAPTURE.itemsize + 8 * depths
    records, first = records[fits], starts[whole][fits] + CAPTURE.itemsize
    losses = Losses(
        {
            DropReason.STACK_TRUNCATED: int(np.count_nonzero(records["truncated"])),
            DropReason.STACK_UNREADABLE: int(np.count_nonzero(records["unreadable"])),
            DropReason.MALFORMED: len(starts) - len(records),
        }
    )
    for end, reason in LOSS_OF_END.items():
        losses[reason] += int(np.count_nonzero(records["user_end"] == end))
    return _rows(content, records, first), +losses


def _fixed_parts(content: Bytes, starts: Positions) -> npt.NDArray[np.void]:
    picked = content[starts[:, None] + np.arange(CAPTURE.itemsize)]
    return np.ascontiguousarray(picked).view(CAPTURE)[:, 0]


def _rows(content: Bytes, records: npt.NDArray[np.void], first: Positions) -> Captures:
    waits = records["type"] != ProfileType.CPU
    runq = np.flatnonzero(waits & (records["runq_ns"] > 0))
    others = np.flatnonzero(~waits | (records["value_ns"] > 0))
    order = np.concatenate([others, runq])
    is_runq = np.arange(len(order)) >= len(others)
    rows = records[order]
    words = content[: len(content) & ~7].view(np.uint64)
    user_depth, kernel_depth = rows["user_depth"].astype(np.int64), rows["kernel_depth"].astype(np.int64)
    return Captures(
        pid=rows["pid"],
        tid=rows["tid"],
        comm=rows["comm"],
        type=np.where(is_runq, np.uint8(ProfileType.RUNQ), rows["type"]),
        wait=np.where(is_runq, np.uint8(0), rows["wait"]),
        time_ns=rows["time_ns"],
        count=np.ones(len(rows), np.uint32),
        value_ns=np.where(is_runq, rows["runq_ns"], rows["value_ns"]),
        truncated=rows["truncated"] != 0,
        user_end=rows["user_end"],
        user=_user_stacks(words, first[order] // 8, user_depth, rows["user_end"]),
        kernel=_stacks(words, first[order] // 8 + user_depth, kernel_depth),
    )


def _user_stacks(words: U64, first: Positions, depths: Positions, ends: U8) -> Stacks:
    """The kernel's walk along frame pointers takes whatever it finds for an address, also what looks like a Python
    frame; only those that were unwound hold real ones."""
    stacks = _stacks(words, first, depths)
    by_kernel = np.repeat((ends == UserEnd.UNKNOWN) | (ends == UserEnd.NEW), depths)
    without_words(stacks.addrs, by_kernel)
    return stacks


def _stacks(words: U64, first: Positions, depths: Positions) -> Stacks:
    """One stack a row: `depths[i]` addresses from `words[first[i]]` on."""
    starts = np.concatenate([np.zeros(1, np.int64), depths.cumsum()])
    picked = np.repeat(first - starts[:-1], depths) + np.arange(starts[-1])
    return Stacks(words[picked], starts)


class CaptureRing:
    """A ring buffer of `struct fp_capture` records."""

    def __init__(self, map_fd: int, size_bytes: int) -> None:
        self._ring = RingBuffer(map_fd, size_bytes)

    def drain(self) -> tuple[Captures, Losses]:
        """Take all complete records as rows; see `captures_of`."""
        return captures_of(*self._ring.take())

    @property
    def fill(self) -> float:
        """The part of the ring that waits to be drained, 0 to 1."""
        return self._ring.fill

    def close(self) -> None:
        """Unmap the ring."""
        self._ring.close()
