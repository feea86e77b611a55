"""Windows on disk: in order, each once, through crashes at any byte, damage, full disks and limits."""

import errno
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent import spool as spooling
from agent.spool import Spool
from agent.spool_records import PROLOGUE_BYTES, count, payloads, prologue, record
from fleetprof.losses import DropReason

BIG = 1 << 30


def drain(spool: Spool) -> list[bytes]:
    taken = []
    while some := spool.oldest(3):
        taken += some
        spool.take(range(len(some)))
    return taken


def is_in_order_within(found: list[bytes], all_of: list[bytes]) -> bool:
    rest = iter(all_of)
    return all(payload in rest for payload in found)


@given(st.lists(st.binary(max_size=40)), st.data())
def test_a_file_cut_anywhere_gives_the_records_before_the_cut(
    written: list[bytes], data: st.DataObject
) -> None:
    beginning = prologue()
    content = beginning + b"".join(record(payload, beginning) for payload in written)
    cut = data.draw(st.integers(0, len(content)))
    ends = [PROLOGUE_BYTES]
    for payload in written:
        ends.append(ends[-1] + len(record(payload, beginning)))
    found = list(payloads(content[:cut]))
    whole = written[: sum(end <= cut for end in ends[1:])]
    assert [payload for payload in found if payload is not None] == whole
    assert found.count(None) == (0 if cut == 0 or cut in ends else 1)


@given(st.lists(st.binary(max_size=60), min_size=1), st.data())
def test_damage_loses_records_but_never_alters_one(written: list[bytes], data: st.DataObject) -> None:
    beginning = prologue()
    content = bytearray(beginning + b"".join(record(payload, beginning) for payload in written))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] ^= data.draw(st.integers(1, 255))
    found = [payload for payload in payloads(bytes(content)) if payload is not None]
    assert is_in_order_within(found, written)


def test_damage_in_one_record_leaves_the_others() -> None:
    beginning = prologue()
    parts = [record(bytes([n]) * 20, beginning) for n in range(3)]
    for place in (0, 6, 17, 30):
        middle = bytearray(parts[1])
        middle[place] ^= 0x40
        found = list(payloads(beginning + parts[0] + bytes(middle) + parts[2]))
        assert found == [b"\0" * 20, None, b"\2" * 20]


def test_a_record_inside_of_a_payload_is_not_one_of_this_file() -> None:
    """Names come from anywhere: a forged record of another file, in a damaged one, stays what it is."""
    forged = record(b"forged", prologue())
    beginning = prologue()
    real = bytearray(record(b"x" * 8 + forged, beginning))
    real[0] ^= 1
    assert list(payloads(beginning + bytes(real) + record(b"next", beginning))) == [None, b"next"]


def test_another_layout_is_lost_and_counted_not_guessed(tmp_path: Path) -> None:
    (tmp_path / "000000000001.spool").write_bytes(b"fleetprof spool 9\n" + bytes(100))
    spool = Spool(tmp_path, BIG)
    assert drain(spool) == []
    assert spool.take_losses() == {DropReason.SPOOL_DAMAGED: 1}
    assert list(tmp_path.glob("*.spool")) == []


def test_nothing_is_on_disk_before_the_first_append(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", BIG)
    assert spool.oldest() == []
    spool.sync()
    spool.close()
    assert not (tmp_path / "spool").exists()


def test_a_later_run_finds_what_was_not_taken(tmp_path: Path) -> None:
    first = Spool(tmp_path, BIG)
    for n in range(3):
        first.append(bytes([n]))
    assert first.oldest() == [b"\0"]
    first.close()
    second = Spool(tmp_path, BIG)
    assert second.waiting == 3
    second.append(b"new")
    assert drain(second) == [b"\0", b"\1", b"\2", b"new"]
    assert second.waiting == second.size_bytes == 0
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_payloads_are_taken_in_any_order(tmp_path: Path) -> None:
    spool = Spool(tmp_path, BIG)
    for n in range(5):
        spool.append(bytes([n]))
    assert spool.oldest(4) == [b"\0", b"\1", b"\2", b"\3"]
    spool.take({1, 3})
    assert spool.waiting == 3
    assert drain(spool) == [b"\0", b"\2", b"\4"]


def test_the_oldest_go_first_past_the_limit_and_are_counted(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 8192)
    written = [bytes([n]) * 500 for n in range(40)]
    for payload in written:
        spool.append(payload)
        assert spool.size_bytes <= 8192
        assert sum(path.stat().st_size for path in tmp_path.glob("*.spool")) == spool.size_bytes
    dropped = spool.take_losses()[DropReason.QUEUE_FULL]
    assert 24 <= dropped <= 32, "half of the limit or more holds windows"
    assert drain(spool) == written[dropped:]


def test_a_window_larger_than_the_limit_is_refused_and_drops_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 4096)
    spool.append(b"small")
    with pytest.raises(OSError, match="larger than the limit"):
        spool.append(bytes(5000))
    assert drain(spool) == [b"small"]


def test_one_process_at_a_time(tmp_path: Path) -> None:
    first = Spool(tmp_path, BIG)
    first.append(b"x")
    with pytest.raises(OSError, match="another agent"):
        Spool(tmp_path, BIG)
    first.close()
    assert Spool(tmp_path, BIG).waiting == 1


@pytest.mark.parametrize("written_bytes", [0, 1, 20, 60])
def test_a_full_disk_keeps_nothing_of_the_window_and_all_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written_bytes: int
) -> None:
    spool = Spool(tmp_path, BIG)
    spool.append(b"before")
    left, pwrite = [written_bytes], os.pwrite

    def full(file: int, data: bytes, place: int) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        data, left[0] = data[: left[0]], left[0] - min(left[0], len(data))
        return pwrite(file, data, place)

    monkeypatch.setattr(spooling.os, "pwrite", full)
    for _ in range(3):
        with pytest.raises(OSError, match="No space left"):
            spool.append(b"lost" * 30)
    assert spool.waiting == 1
    monkeypatch.undo()
    spool.append(b"after")
    assert drain(spool) == [b"before", b"after"]
    assert spool.take_losses() == {}


class Crashing(RuleBasedStateMachine):
    """Append, sync, read, take and crash (every byte that was not synced may be lost), against a list.

    What was synced is never lost; what was taken may come again after a crash, in order, as a whole file.
    """

    def __init__(self) -> None:
        super().__init__()
        self.number = 0
        self.durable: list[bytes] = []
        self.volatile: list[bytes] = []
        self.taken: list[bytes] = []

    @initialize(segment=st.sampled_from([64, 200, 10_000]))
    def start(self, segment: int) -> None:
        self.folder = Path("/tmp") / f"fleetprof-spool-{os.getpid()}-{id(self)}"
        self.segment = segment
        self.open()

    def open(self) -> None:
        self.spool = Spool(self.folder, BIG)
        self.spool._segment_bytes = self.segment

    @rule(size=st.integers(0, 120))
    def append(self, size: int) -> None:
        self.number += 1
        payload = self.number.to_bytes(4, "big") + bytes(size)
        sealed = len(self.spool._segments)
        self.spool.append(payload)
        if len(self.spool._segments) > sealed:  # a new file is begun after the one before is synced
            self.durable, self.volatile = self.durable + self.volatile, []
        self.volatile.append(payload)

    @rule()
    def sync(self) -> None:
        self.spool.sync()
        self.durable, self.volatile = self.durable + self.volatile, []

    @rule(count=st.integers(1, 5))
    def oldest(self, count: int) -> None:
        expected = [*self.durable, *self.volatile]
        found = self.spool.oldest(count)
        assert found == expected[: len(found)]
        assert bool(found) == bool(expected)

    @precondition(lambda self: self.durable or self.volatile)
    @rule()
    def take(self) -> None:
        self.oldest(1)
        self.spool.take()
        side = self.durable if self.durable else self.volatile
        self.taken.append(side.pop(0))

    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        lost = sum(len(record(payload, b"")) for payload in self.volatile)
        if self.spool._lock >= 0:
            os.close(self.spool._lock)
        self.spool._close_file()
        newest = max(self.folder.glob("*.spool"), default=None) if self.folder.exists() else None
        if newest and lost:
            size = newest.stat().st_size
            with newest.open("r+b") as file:
                file.truncate(size - data.draw(st.integers(0, min(lost, size)), label="bytes lost"))
        self.open()
        found = drain(self.spool)
        expected = [*self.durable, *self.volatile]
        again = [payload for payload in found if payload not in expected]
        assert again == self.taken[len(self.taken) - len(again) :], "only the newest taken come again"
        kept = found[len(again) :]
        assert kept == expected[: len(kept)]
        assert len(kept) >= len(self.durable)
        self.durable, self.volatile = [], []

    @invariant()
    def counts(self) -> None:
        if hasattr(self, "spool"):
            assert self.spool.waiting == len(self.durable) + len(self.volatile)

    def teardown(self) -> None:
        if hasattr(self, "spool"):
            self.spool.close()
            shutil.rmtree(self.folder, ignore_errors=True)


TestCrashing = Crashing.TestCase
TestCrashing.settings = settings(
    max_examples=25, stateful_step_count=30, suppress_health_check=[HealthCheck.too_slow]
)


def test_headers_count_as_many_as_are_read(tmp_path: Path) -> None:
    spool = Spool(tmp_path, BIG)
    for n in range(5):
        spool.append(bytes(n))
    (path,) = tmp_path.glob("*.spool")
    assert count(path) == len(list(payloads(path.read_bytes()))) == 5
