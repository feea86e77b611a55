"""jitdumps: files that grow, moved code, source lines, and dumps full of garbage."""

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.process import Mapping, Process
from agent.symbolize import code_ranges, jitdump
from agent.symbolize.jitdump import JitDump, JitName, is_jitdump
from agent.symbolize.symbolizer import Symbolizer
from fleetprof.frames import Frame, FrameKind
from tests.unit.jitdumps import close, header, lines, load, move, record


class DumpFile:
    """A dump on disk and what was read of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.dump = JitDump()
        path.touch()

    def append(self, *parts: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(b"".join(parts))

    def update(self) -> None:
        fd = os.open(self.path, os.O_RDONLY)
        try:
            self.dump.update(fd)
        finally:
            os.close(fd)

    def names(self, *addrs: int) -> list[str]:
        self.update()
        return [code.name for code in self.dump.names(np.array(addrs, np.uint64))]


@pytest.fixture
def file(tmp_path: Path) -> DumpFile:
    return DumpFile(tmp_path / "jit-4711.dump")


def test_loads(file: DumpFile) -> None:
    file.append(header(), load("one", 0x1000, 32, code=b"\x90" * 32), load("two ü", 0x2000, 16, 1), close())
    assert file.names(0xFFF, 0x1000, 0x101F, 0x1020, 0x200F) == ["", "one", "one", "", "two ü"]
    assert len(file.dump) == 2
    assert not file.dump.bad_records


def test_a_longer_header_and_unknown_records_are_passed_over(file: DumpFile) -> None:
    file.append(header(size=64), record(77, b"future"), record(4, b"\1" * 100), load("one", 0x1000, 32))
    assert file.names(0x1000) == ["one"]


def test_grows_and_an_unfinished_record_waits(file: DumpFile) -> None:
    second = load("two", 0x2000, 16)
    file.append(header()[:10])
    assert file.names(0x1000) == [""]
    file.append(header()[10:], load("one", 0x1000, 16), second[:20])
    assert file.names(0x1000, 0x2000) == ["one", ""]
    file.append(second[20:])
    assert file.names(0x1000, 0x2000) == ["one", "two"]


def test_later_code_wins_where_it_overlaps(file: DumpFile) -> None:
    file.append(header(), load("old", 0x1000, 256), load("middle", 0x1040, 32), load("again", 0x1000, 256))
    assert file.names(0x1000, 0x1050, 0x10FF) == ["again", "again", "again"]
    file.append(load("newest", 0x1050, 4))
    assert file.names(0x104F, 0x1050, 0x1054) == ["again", "newest", "again"]


def test_moved_code_takes_its_name_along(file: DumpFile) -> None:
    file.append(
        header(), load("stays", 0x1000, 16, 1), load("goes", 0x2000, 16, 2), move(2, 0x2000, 0x3000, 16)
    )
    assert file.names(0x1000, 0x2008, 0x3008) == ["stays", "", "goes"]
    file.append(move(99, 0x1000, 0x4000, 16))
    assert file.names(0x1000, 0x4000) == ["stays", ""]
    assert file.dump.bad_records == 1


def test_a_function_begins_at_its_first_line(file: DumpFile) -> None:
    file.append(
        header(),
        lines(0x1000, ("/srv/a.js", 12), ("/srv/b.js", 99)),
        load("one", 0x1000, 16),
        load("none", 0x2000, 16),
        lines(0x3000),
        load("empty", 0x3000, 16),
    )
    file.update()
    codes = file.dump.names(np.array([0x1000, 0x2000, 0x3000], np.uint64))
    assert codes == [JitName("one", "/srv/a.js", 12), JitName("none"), JitName("empty")]


def test_a_dump_written_anew_is_read_anew(file: DumpFile) -> None:
    file.append(header(), load("old", 0x1000, 16), load("gone", 0x2000, 16))
    assert file.names(0x1000) == ["old"]
    file.path.write_bytes(header() + load("new", 0x1000, 16))
    assert file.names(0x1000, 0x2000) == ["new", ""]


@pytest.mark.parametrize(
    "start", [header(magic=0x4454694A), header(version=2), header(size=8), b"\x7fELF" + bytes(60), b""]
)
def test_what_is_no_dump_of_this_machine_is_left_alone(file: DumpFile, start: bytes) -> None:
    file.append(start, load("one", 0x1000, 16))
    assert file.names(0x1000) == [""]


def test_bad_records_are_counted(file: DumpFile) -> None:
    top = (1 << 64) - 1
    file.append(
        header(),
        record(0, b"short"),
        load("", 0x1000, 16),
        load("null", 0, 16),
        load("empty", 0x1000, 0),
        load("beyond", top - 4, 16),
        load("huge", 0x1000, 1 << 50),
        record(1, b"short"),
        record(2, b"short"),
        load("good", 0x5000, 16),
    )
    assert file.names(0x1000, top, 0x5000) == ["", "", "good"]
    assert file.dump.bad_records == 8


@pytest.mark.parametrize("size", [0, 15, 1 << 31])
def test_a_record_of_a_wrong_size_ends_the_dump(file: DumpFile, size: int) -> None:
    broken = bytearray(load("broken", 0x2000, 16))
    broken[4:8] = size.to_bytes(4, "little")
    file.append(header(), load("one", 0x1000, 16), bytes(broken), load("after", 0x3000, 16))
    assert file.names(0x1000, 0x2000, 0x3000) == ["one", "", ""]


def test_dumps_larger_than_a_chunk(file: DumpFile) -> None:
    code = b"\xcc" * 5000
    file.append(header(), *(load(f"f{i}", 0x1000 + 16 * i, 16, i, code) for i in range(200)))
    assert file.names(*(0x1000 + 16 * i for i in range(200))) == [f"f{i}" for i in range(200)]


def test_an_update_does_a_bounded_amount_of_work(file: DumpFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jitdump, "MAX_RECORDS_PER_UPDATE", 100)
    monkeypatch.setattr(jitdump, "CHUNK_BYTES", 4096)
    file.append(header(), *(load(f"f{i}", 0x1000 + 16 * i, 16, i) for i in range(1000)))
    file.update()
    assert 100 <= len(file.dump) < 200
    while len(file.dump) < 1000:
        before = len(file.dump)
        file.update()
        assert len(file.dump) > before


def test_entries_have_a_limit(file: DumpFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_ranges, "MAX_ENTRIES", 1000)
    monkeypatch.setattr(jitdump, "CHUNK_BYTES", 4096)
    file.append(header(), *(load(f"f{i}", 0x1000 + 16 * i, 16, i) for i in range(5000)))
    assert file.names(0x1000, 0x1000 + 16 * 4999) == ["f0", ""]
    assert file.dump.full
    assert len(file.dump) < 1200


def test_marks() -> None:
    def found(path: str) -> bool:
        return is_jitdump(Mapping(0x1000, 0x2000, 0, path, 1, 1))

    assert found("/tmp/jit-12.dump")
    assert found("/root/.debug/jit/llvm-IR-jit-20240101/jit-4711.dump (deleted)")
    assert not found("jit-12.dump")
    assert not found("/tmp/jit-12.dumpling")
    assert not found("/tmp/my-jit-12.dump")


class _Files:
    """The descriptors of one dump."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fd(self, mapping: Mapping) -> int | None:
        return self._fd if is_jitdump(mapping) else None


def test_frames_of_a_process_that_maps_a_dump(file: DumpFile) -> None:
    file.append(
        header(),
        lines(0x7000, ("/srv/shop.lua", 7)),
        load("checkout", 0x7000, 64),
        load("py::Shop.add:/srv/shop.py", 0x8000, 64),
    )
    mappings = [Mapping(0x7000, 0x9000, 0, ""), Mapping(0x10000, 0x11000, 0, str(file.path), 5, 6)]
    process = Process(4711, 4711, 1, "runtime", "/bin/runtime", mappings=mappings)
    fd = os.open(file.path, os.O_RDONLY)
    try:
        symbolizer = Symbolizer(_Files(fd))
        frames = symbolizer.user_frames(process, np.array([0x7010, 0x8010, 0x8FF0], np.uint64))
    finally:
        os.close(fd)
    assert frames == [
        Frame(FrameKind.JIT, "checkout", "[jit]", file="/srv/shop.lua", line=7),
        Frame(FrameKind.PYTHON, "Shop.add", "shop.py", file="/srv/shop.py"),
        Frame(FrameKind.JIT, "", "[jit]"),
    ]


WHOLE = b"".join(
    [
        header(),
        lines(0x1000, ("/srv/a.js", 12)),
        load("one", 0x1000, 64, 1, b"\x90" * 64),
        load("two", 0x2000, 64, 2, b"\x90" * 64),
        move(2, 0x2000, 0x3000, 64),
        close(),
    ]
)


def read(data: bytes) -> JitDump:
    fd = os.memfd_create("dump")
    try:
        os.write(fd, data)
        dump = JitDump()
        dump.update(fd)
        for code in dump.names(np.arange(0, 1 << 14, 61, dtype=np.uint64)):
            assert len(code.name) <= jitdump.MAX_NAME_BYTES
            assert 0 <= code.line < 1 << 31
        return dump
    finally:
        os.close(fd)


@settings(max_examples=250)
@given(st.data())
def test_changed_words(data: st.DataObject) -> None:
    changed = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 5))):
        at, size = data.draw(st.integers(0, len(changed) // 4 - 2)) * 4, data.draw(st.sampled_from([1, 4, 8]))
        value = data.draw(st.sampled_from([0, 1, 16, 255, 1 << 31, (1 << 64) - 1]) | st.integers(0, 1 << 64))
        changed[at : at + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
    read(bytes(changed[: data.draw(st.integers(0, len(changed)))]))


@settings(max_examples=100)
@given(st.binary(max_size=400))
def test_any_bytes_behind_a_header(data: bytes) -> None:
    read(header() + data)


@settings(max_examples=100)
@given(cuts=st.lists(st.integers(0, len(WHOLE)), max_size=6))
def test_written_piece_by_piece(cuts: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    """However a dump arrives, what is known at its end is the same."""
    file = DumpFile(tmp_path_factory.mktemp("dump") / "jit-1.dump")
    places = [0, *sorted(cuts), len(WHOLE)]
    for first, last in itertools.pairwise(places):
        file.append(WHOLE[first:last])
        file.update()
    assert file.names(0x1000, 0x2000, 0x3000) == ["one", "", "two"]
