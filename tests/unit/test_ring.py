"""The ring buffer's reader against a ring written here as kernel/bpf/ringbuf.c writes it."""

import struct
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.ring import CAPTURE, LOSS_OF_END, RingBuffer, captures_of
from agent.samples import Captures, UserEnd
from fleetprof.losses import DropReason
from fleetprof.profile_types import ProfileType

SIZE = 4096
BUSY, DISCARDED = 1 << 31, 1 << 30


@dataclass
class Kernel:
    """The producing side: memory as mapped, the data area twice in a row."""

    position: int
    consumer: bytearray = field(default_factory=lambda: bytearray(4096))
    producer: bytearray = field(default_factory=lambda: bytearray(4096))
    data: bytearray = field(default_factory=lambda: bytearray(2 * SIZE))

    def __post_init__(self) -> None:
        struct.pack_into("<Q", self.consumer, 0, self.position)
        struct.pack_into("<Q", self.producer, 0, self.position)

    def consumed(self) -> int:
        (position,) = struct.unpack_from("<Q", self.consumer)
        return int(position)

    def write(self, content: bytes, flags: int = 0) -> int | None:
        """Append a record; its position, or None when the ring is full."""
        needed = (len(content) + 8 + 7) & ~7
        if self.position + needed - self.consumed() > SIZE - 1:
            return None
        at = self.position
        header = struct.pack("<II", len(content) | flags, 0)
        for index, byte in enumerate(header + content):
            for copy in (0, SIZE):
                self.data[(at + index) % SIZE + copy] = byte
        self.position += needed
        struct.pack_into("<Q", self.producer, 0, self.position)
        return at

    def commit(self, at: int) -> None:
        """Clear the busy bit of the record at `at`."""
        for copy in (0, SIZE):
            (header,) = struct.unpack_from("<I", self.data, at % SIZE + copy)
            struct.pack_into("<I", self.data, at % SIZE + copy, header & ~BUSY)

    def reader(self) -> RingBuffer:
        return RingBuffer.over(self.consumer, self.producer, self.data, SIZE)


records = st.lists(st.tuples(st.binary(max_size=300), st.sampled_from([0, 0, DISCARDED])), max_size=12)
contents = st.binary(max_size=100)
positions = st.integers(0, 1 << 50).map(lambda number: number * 8)


@given(positions, st.lists(records, min_size=1, max_size=6))
def test_every_kept_record_is_read_once_in_order_across_the_end(position: int, batches: list) -> None:
    kernel = Kernel(position)
    ring = kernel.reader()
    for batch in batches:
        kept = [content for content, flags in batch if kernel.write(content, flags) is not None and not flags]
        assert ring.read() == kept
        assert kernel.consumed() == kernel.position
        assert ring.read() == []


@given(
    positions, st.lists(st.binary(max_size=100), max_size=5), st.binary(max_size=100), st.binary(max_size=100)
)
def test_a_record_being_written_stops_the_reader_until_it_is_done(
    position: int, before: list[bytes], slow: bytes, after: bytes
) -> None:
    kernel = Kernel(position)
    ring = kernel.reader()
    for content in before:
        kernel.write(content)
    pending = kernel.write(slow, BUSY)
    assert pending is not None
    kernel.write(after)
    assert ring.read() == before
    assert kernel.consumed() == pending
    assert ring.read() == []
    kernel.commit(pending)
    assert ring.read() == [slow, after]


def test_what_was_taken_does_not_change_when_the_kernel_writes_on() -> None:
    kernel = Kernel(0)
    ring = kernel.reader()
    kernel.write(b"first" * 100)
    content, starts, lengths = ring.take()
    while kernel.write(b"later" * 100) is not None:
        pass
    for _ in range(20):
        ring.read()
        kernel.write(b"later" * 100)
    assert bytes(content[starts[0] : starts[0] + lengths[0]]) == b"first" * 100


@dataclass(frozen=True)
class Sample:
    type: int
    value_ns: int
    runq_ns: int
    pid: int
    comm: bytes
    unreadable: int
    user_end: int
    user: list[int]
    kernel: list[int]

    def packed(self) -> bytes:
        head = np.zeros(1, CAPTURE)
        head["time_ns"], head["value_ns"], head["runq_ns"] = 7, self.value_ns, self.runq_ns
        head["pid"], head["tid"], head["type"], head["wait"] = self.pid, self.pid + 1, self.type, 5
        head["truncated"], head["unreadable"] = len(self.user) == 127, self.unreadable
        head["user_end"] = self.user_end
        head["user_depth"], head["kernel_depth"], head["comm"] = len(self.user), len(self.kernel), self.comm
        return head.tobytes() + np.array(self.user + self.kernel, np.uint64).tobytes()

    def rows(self) -> list[tuple[int, int, int, list[int], list[int]]]:
        """(type, wait, value, user, kernel) of the rows it becomes."""
        by_kernel = self.user_end in (UserEnd.UNKNOWN, UserEnd.NEW)  # which cannot tell of Python
        user = [addr % 2**62 if by_kernel and addr >> 62 == 2 else addr for addr in self.user]
        stacks = (user, self.kernel)
        if self.type == ProfileType.CPU:
            return [(self.type, 5, self.value_ns, *stacks)]
        blocked = [(ProfileType.OFFCPU, 5, self.value_ns, *stacks)] if self.value_ns else []
        runq = [(ProfileType.RUNQ, 0, self.runq_ns, *stacks)] if self.runq_ns else []
        return [*blocked, *runq]


u64 = st.integers(0, 2**64 - 1)
addresses = st.lists(u64, max_size=6) | st.just([9] * 127)
samples = st.builds(
    Sample,
    type=st.sampled_from([ProfileType.CPU, ProfileType.OFFCPU]),
    value_ns=st.just(0) | u64,
    runq_ns=st.just(0) | u64,
    pid=st.integers(1, 2**31),
    comm=st.binary(max_size=15).map(lambda name: name.replace(b"\0", b"x")),
    unreadable=st.integers(0, 3),
    user_end=st.sampled_from(UserEnd),
    user=addresses,
    kernel=addresses,
)


def laid_out(contents: list[bytes]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    starts, data = [], b""
    for content in contents:
        data += b"\xff" * 8
        starts.append(len(data))
        data += content + b"\xff" * (-len(content) % 8)
    lengths = [len(content) for content in contents]
    return np.frombuffer(data, np.uint8), np.array(starts, np.int64), np.array(lengths, np.int64)


def rows_in(captures: Captures) -> list[tuple[int, int, int, list[int], list[int]]]:
    return [
        (
            int(captures.type[i]),
            int(captures.wait[i]),
            int(captures.value_ns[i]),
            captures.user.addrs[captures.user.starts[i] : captures.user.starts[i + 1]].tolist(),
            captures.kernel.addrs[captures.kernel.starts[i] : captures.kernel.starts[i + 1]].tolist(),
        )
        for i in range(len(captures))
    ]


@given(st.lists(samples, max_size=8))
def test_records_become_rows_and_waits_become_two(given_samples: list[Sample]) -> None:
    captures, losses = captures_of(*laid_out([sample.packed() for sample in given_samples]))
    assert sorted(rows_in(captures)) == sorted(row for sample in given_samples for row in sample.rows())
    others = [row for row in rows_in(captures) if row[0] != ProfileType.RUNQ]
    wanted = [row for sample in given_samples for row in sample.rows() if row[0] != ProfileType.RUNQ]
    assert others == wanted, "rows keep the order of their records"
    assert losses[DropReason.STACK_UNREADABLE] == sum(sample.unreadable > 0 for sample in given_samples)
    assert losses[DropReason.STACK_TRUNCATED] == sum(len(sample.user) == 127 for sample in given_samples)
    for reason in set(LOSS_OF_END.values()):
        assert losses[reason] == sum(LOSS_OF_END.get(sample.user_end) == reason for sample in given_samples)
    assert captures.count.tolist() == [1] * len(captures)


@given(st.lists(samples, min_size=1, max_size=4), st.data())
def test_a_record_shorter_than_its_stacks_is_dropped_and_counted(
    whole: list[Sample], data: st.DataObject
) -> None:
    packed = [sample.packed() for sample in whole]
    victim = data.draw(st.integers(0, len(packed) - 1))
    shorter = data.draw(st.integers(0, len(packed[victim]) - 1))
    packed[victim] = packed[victim][:shorter]
    captures, losses = captures_of(*laid_out(packed))
    kept = [row for index, sample in enumerate(whole) if index != victim for row in sample.rows()]
    assert sorted(rows_in(captures)) == sorted(kept)
    assert losses[DropReason.MALFORMED] == 1


@given(st.binary(max_size=400), st.lists(st.integers(0, 40), max_size=4))
def test_no_content_breaks_the_parser(content: bytes, places: list[int]) -> None:
    starts = np.array([8 * place for place in places if 8 * place <= len(content)], np.int64)
    lengths = np.array([len(content) - start for start in starts], np.int64)
    captures, losses = captures_of(np.frombuffer(content, np.uint8), starts, lengths)
    assert losses[DropReason.MALFORMED] <= len(starts)
    assert len(captures.user) == len(captures.kernel) == len(captures)


@pytest.mark.parametrize("comm", [b"", b"short", b"fifteen bytes!!"])
def test_thread_names_end_at_their_zero(comm: bytes) -> None:
    sample = Sample(ProfileType.CPU, 1, 0, 1, comm, 0, 0, [1], [])
    captures, _ = captures_of(*laid_out([sample.packed()]))
    assert captures.comm.tolist() == [comm]
