"""The parser of perf records: every field of every type, and bytes that no kernel would write."""

import struct

from hypothesis import example, given
from hypothesis import strategies as st

from agent.perf_records import (
    COMM_EXEC,
    Comm,
    Mmap2,
    RecordType,
    Task,
    chain_fits,
    comm_of,
    file_of,
    lost_of,
    mmap2_of,
    samples_of,
    split,
    task_of,
)
from tests.unit import perf_record_bytes as raw

U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
PATH = st.binary(min_size=0, max_size=60).filter(lambda path: b"\0" not in path)


def test_each_type_has_its_fields_and_time() -> None:
    data = (
        raw.comm(5, 6, b"worker", 100, exec_=True)
        + raw.fork(7, 5, 7, 6, 101)
        + raw.exit_(7, 7, 102)
        + raw.lost(40, 103)
        + raw.sample(5, 6, 104, [raw.USER, 1])
    )
    records, malformed = split(data)
    assert malformed == 0
    assert [record.time_ns for record in records] == [100, 101, 102, 103, 104]
    assert comm_of(records[0].data) == Comm(5, 6, "worker")
    assert records[0].misc & COMM_EXEC
    assert task_of(records[1].data) == Task(7, 5, 7, 6)
    assert task_of(records[2].data).tid == 7
    assert lost_of(records[3]) == 40
    assert records[4].type == RecordType.SAMPLE


@given(
    U32, U64, U64, U64, U32, U32, U64, PATH.filter(lambda path: path.decode("utf-8", "replace").isprintable())
)
def test_mmap2_round_trip(
    pid: int, addr: int, length: int, offset: int, major: int, minor: int, inode: int, path: bytes
) -> None:
    data = raw.mmap2(pid, addr, length, offset, path, (major, minor), inode, 9)
    (record,), malformed = split(data)
    assert malformed == 0
    assert mmap2_of(record.data) == Mmap2(
        pid, pid, addr, length, offset, major, minor, inode, path.decode("utf-8", "surrogateescape")
    )
    other = raw.mmap2(pid + 1 & 0xFFFF, 0, 1, 0, b"/y", (major, minor), inode)
    assert file_of(record.data) == file_of(other)
    assert file_of(record.data) != file_of(raw.mmap2(pid, addr, 1, 0, path, (major, minor), inode ^ 1))


@given(PATH)
def test_a_path_that_is_no_text_comes_back_as_its_bytes(path: bytes) -> None:
    assert mmap2_of(raw.mmap2(1, 0, 1, path=path)).path.encode("utf-8", "surrogateescape") == path


@given(st.binary(max_size=400))
@example(struct.pack("<IHH", 9, 0, 8))
@example(struct.pack("<IHH", 10, 0, 0) * 4)
def test_any_bytes_are_parsed_or_counted(data: bytes) -> None:
    records, malformed = split(data)
    assert malformed or sum(len(record.data) for record in records) == len(data)
    for record in records:
        if record.type == RecordType.COMM:
            comm_of(record.data)
        elif record.type in (RecordType.FORK, RecordType.EXIT):
            task_of(record.data)
        elif record.type in (RecordType.LOST, RecordType.LOST_SAMPLES):
            lost_of(record)
        elif record.type == RecordType.MMAP2:
            mmap2_of(record.data)
        elif record.type == RecordType.SAMPLE and chain_fits(record.data):
            samples_of([record.data])


@given(st.sampled_from([2, 3, 4, 7, 9, 10, 13]), st.integers(0, 120))
def test_a_record_shorter_than_its_type_is_counted_and_the_next_is_found(kind: int, size: int) -> None:
    padded = size - size % 8
    short = struct.pack("<IHH", kind, 0, 8 + padded) + bytes(padded)
    records, malformed = split(short + raw.comm(1, 2, b"next", 5))
    if padded >= 8:
        assert records[-1].time_ns == 5
        assert malformed == 2 - len(records)


def test_a_cut_buffer_keeps_what_is_whole() -> None:
    whole = raw.comm(1, 1, b"a", 1)
    data = whole + raw.fork(2, 1, 2, 1, 2)
    for cut in range(len(whole), len(data)):
        records, malformed = split(data[:cut])
        assert [record.time_ns for record in records] == [1]
        assert malformed == (cut != len(whole))


ADDR = st.integers(1, 2**47)
PART = st.tuples(st.sampled_from([raw.KERNEL, raw.USER, 2**64 - 2048]), st.lists(ADDR, max_size=5))


@given(st.lists(st.tuples(U32, U32, U64, st.lists(ADDR, max_size=2), st.lists(PART, max_size=4)), max_size=6))
def test_call_chains_are_split_by_context(
    rows: list[tuple[int, int, int, list[int], list[tuple[int, list[int]]]]],
) -> None:
    data = []
    for pid, tid, time_ns, unmarked, parts in rows:
        chain = [*unmarked, *(entry for context, addrs in parts for entry in (context, *addrs))]
        data.append(raw.sample(pid, tid, time_ns, chain))
    assert all(map(chain_fits, data))
    samples = samples_of(data)
    assert samples.pid.tolist() == [row[0] for row in rows]
    assert samples.tid.tolist() == [row[1] for row in rows]
    assert samples.time_ns.tolist() == [row[2] for row in rows]
    for stacks, wanted in ((samples.user, raw.USER), (samples.kernel, raw.KERNEL)):
        for index, row in enumerate(rows):
            expected = [addr for context, addrs in row[4] if context == wanted for addr in addrs]
            assert stacks.addrs[stacks.starts[index] : stacks.starts[index + 1]].tolist() == expected


def test_a_chain_longer_than_its_record_does_not_fit() -> None:
    good = raw.sample(1, 1, 1, [raw.USER, 5])
    assert chain_fits(good)
    for depth in (3, 2**32, 2**64 - 1):
        assert not chain_fits(good[:24] + struct.pack("<Q", depth) + good[32:])
