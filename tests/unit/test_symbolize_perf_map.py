"""Perf maps: growing, rewritten, overlapping, endless and full of garbage."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.process_budget import Budget
from agent.symbolize import perf_map
from agent.symbolize.perf_map import PerfMap
from agent.symbolize.runtime_names import RuntimeName, runtime_name
from fleetprof.frames import FrameKind


class MapFile:
    """A perf map on disk and what was read of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.map = PerfMap()
        path.touch()

    def append(self, text: str | bytes) -> None:
        with self.path.open("ab") as file:
            file.write(text.encode() if isinstance(text, str) else text)

    def names(self, *addrs: int) -> list[str]:
        fd = os.open(self.path, os.O_RDONLY)
        try:
            self.map.update(fd)
        finally:
            os.close(fd)
        return self.map.names(np.array(addrs, np.uint64))


@pytest.fixture
def file(tmp_path: Path) -> Iterator[MapFile]:
    return MapFile(tmp_path / "perf-1.map")


def test_names_with_spaces_and_prefixes(file: MapFile) -> None:
    file.append("1000 20 a name with spaces\n0x2000 0x10 hex\n")
    assert file.names(0xFFF, 0x1000, 0x101F, 0x1020, 0x2008) == [
        "",
        "a name with spaces",
        "a name with spaces",
        "",
        "hex",
    ]


def test_grows_and_an_unfinished_line_waits(file: MapFile) -> None:
    file.append("1000 10 one\n2000 10 tw")
    assert file.names(0x1000, 0x2000) == ["one", ""]
    file.append("o\n3000 10 three\n")
    assert file.names(0x1000, 0x2000, 0x3000) == ["one", "two", "three"]
    assert len(file.map) == 3


def test_later_lines_win_where_they_overlap(file: MapFile) -> None:
    file.append("1000 100 old\n1040 20 middle\n1000 100 again\n10f0 20 tail\n")
    assert file.names(0x1000, 0x1050, 0x10F8, 0x1108) == ["again", "again", "tail", "tail"]
    file.append("1050 4 newest\n")
    assert file.names(0x104F, 0x1050, 0x1054) == ["again", "newest", "again"]


@pytest.mark.parametrize("text", ["1000 10 new\n", "1000 10 new\n" + "5000 10 filler\n" * 100])
def test_a_rewritten_map_is_read_from_its_start(file: MapFile, text: str) -> None:
    file.append("1000 10 old\n2000 10 gone\n")
    assert file.names(0x1000, 0x2000) == ["old", "gone"]
    file.path.write_text(text)
    assert file.names(0x1000, 0x2000) == ["new", ""]


def test_a_replaced_map_is_read_from_its_start(file: MapFile, tmp_path: Path) -> None:
    file.append("1000 10 old\n")
    assert file.names(0x1000) == ["old"]
    other = tmp_path / "other"
    other.write_text("1000 10 old\n1000 10 new\n")
    other.rename(file.path)
    assert file.names(0x1000) == ["new"]
    assert len(file.map) == 2


def test_garbage_lines_are_skipped_and_counted(file: MapFile) -> None:
    bad = [
        b"",
        b"nonsense",
        b"1000",
        b"1000 10",
        b"1000 10 ",
        b"xyz 10 name",
        b"1000 -5 negative",
        b"0 10 null",
        b"ffffffffffffffff ff beyond",
        b"1" * 40 + b" 10 huge",
        b"1000 0 empty",
        b"2000 10 " + b"x" * 10_000,
        b"\x00\xff\xfe 1 2",
    ]
    file.append(b"\n".join(bad) + b"\n3000 10 good\n")
    assert file.names(0x1000, 0x2000, 0x3000) == ["", "", "good"]
    assert file.map.bad_lines == len(bad) - 1


def test_reading_stops_at_the_limit(file: MapFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perf_map, "MAX_MAP_BYTES", 10_000)
    monkeypatch.setattr(perf_map, "CHUNK_BYTES", 4096)
    file.append("".join(f"{0x1000 + 16 * i:x} 10 f{i}\n" for i in range(5000)))
    assert file.names(0x1000, 0x1000 + 16 * 4999) == ["f0", ""]
    assert file.map.full
    assert len(file.map) < 1500


def test_a_line_without_end_does_not_stop_the_reader(file: MapFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perf_map, "CHUNK_BYTES", 4096)
    file.append(b"z" * 10_000 + b"\n1000 10 good\n")
    assert file.names(0x1000) == ["good"]


@settings(max_examples=400)
@given(
    lines=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 30)), max_size=20), addr=st.integers(0, 100)
)
def test_like_painting_one_line_over_the_other(
    lines: list[tuple[int, int]], addr: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    painted = {at: f"f{i}" for i, (start, size) in enumerate(lines) for at in range(start, start + size)}
    same_start = {start: (size, i) for i, (start, size) in enumerate(lines)}
    file = MapFile(tmp_path_factory.mktemp("map") / "m")
    file.append("".join(f"{start:x} {size:x} f{i}\n" for i, (start, size) in enumerate(lines)))
    if len(same_start) == len(lines):
        assert file.names(addr) == [painted.get(addr, "")]
    else:
        assert (file.names(addr) == [""]) or addr in painted


@settings(max_examples=300)
@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    read, write = os.pipe()
    os.close(write)
    os.close(read)
    fd = os.memfd_create("map")
    try:
        os.write(fd, data)
        known = PerfMap()
        known.update(fd)
        known.names(np.arange(0, 1 << 16, 997, dtype=np.uint64))
    finally:
        os.close(fd)


NODE, JVM, JIT, PYTHON = FrameKind.NODE, FrameKind.JVM, FrameKind.JIT, FrameKind.PYTHON


@pytest.mark.parametrize(
    ("name", "runtime", "expected"),
    [
        ("LazyCompile:*foo /srv/a b/x.js:12:5", NODE, RuntimeName(NODE, "foo", "x.js", "/srv/a b/x.js", 12)),
        ("JS:^foo file:///srv/x.mjs:3:1", NODE, RuntimeName(NODE, "foo", "x.mjs", "file:///srv/x.mjs", 3)),
        (
            "JS:~processTimers node:internal/timers:500:25",
            NODE,
            RuntimeName(NODE, "processTimers", "node:internal/timers", "node:internal/timers", 500),
        ),
        ("JS:* /srv/x.js:4:80", NODE, RuntimeName(NODE, "(anonymous:4)", "x.js", "/srv/x.js", 4)),
        ("Eval:~ /srv/x.js:1:1", NODE, RuntimeName(NODE, "(module)", "x.js", "/srv/x.js", 1)),
        ("JS:*get size /srv/x.js:9:2", NODE, RuntimeName(NODE, "get size", "x.js", "/srv/x.js", 9)),
        ("JS:*lonely", JIT, RuntimeName(NODE, "lonely", "[jit]")),
        ("Builtin:ArrayMap", NODE, RuntimeName(NODE, "Builtin:ArrayMap", "[jit]")),
        ("py::Shop.add:/srv/shop.py", JIT, RuntimeName(PYTHON, "Shop.add", "shop.py", "/srv/shop.py")),
        ("py::<module>:<string>", JIT, RuntimeName(PYTHON, "<module>", "<string>", "<string>")),
        ("long J.spinInner(long)", JVM, RuntimeName(JVM, "J.spinInner(long)", "[jit]")),
        (
            "java.lang.Object java.util.HashMap.get(java.lang.Object)",
            JVM,
            RuntimeName(JVM, "java.util.HashMap.get(java.lang.Object)", "[jit]"),
        ),
        ("void a.B$C.<init>(int[], a.D)", JVM, RuntimeName(JVM, "a.B$C.<init>(int[], a.D)", "[jit]")),
        (
            "int a.B$$Lambda$14/0x0000000800c031f0.applyAsInt(int)",
            JVM,
            RuntimeName(JVM, "a.B$$Lambda.applyAsInt(int)", "[jit]"),
        ),
        (
            "java.lang.Object java.lang.invoke.LambdaForm$MH/0x0000000800066c00.invoke(java.lang.Object)",
            JVM,
            RuntimeName(JVM, "java.lang.invoke.LambdaForm$MH.invoke(java.lang.Object)", "[jit]"),
        ),
        ("void jdk.proxy2.$Proxy31.run()", JVM, RuntimeName(JVM, "jdk.proxy2.$Proxy.run()", "[jit]")),
        (
            "java.lang.Object jdk.internal.reflect.GeneratedMethodAccessor7.invoke(a.B)",
            JVM,
            RuntimeName(JVM, "jdk.internal.reflect.GeneratedMethodAccessor.invoke(a.B)", "[jit]"),
        ),
        ("void a.Test.a name with spaces()", JVM, RuntimeName(JVM, "a.Test.a name with spaces()", "[jit]")),
        ("StubRoutines (1)", JVM, RuntimeName(JVM, "StubRoutines (1)", "[jit]")),
        ("Interpreter", JVM, RuntimeName(JVM, "Interpreter", "[jit]")),
        ("I2C/C2I adapters", JVM, RuntimeName(JVM, "I2C/C2I adapters", "[jit]")),
        ("anything at all", JIT, RuntimeName(JIT, "anything at all", "[jit]")),
    ],
)
def test_names_of_runtimes(name: str, runtime: FrameKind, expected: RuntimeName) -> None:
    assert runtime_name(name, runtime) == expected


@settings(max_examples=500)
@given(
    st.text(max_size=80),
    st.sampled_from(["", "JS:*", "py::", "LazyCompile:", "long "]),
    st.sampled_from([NODE, JVM, JIT]),
)
def test_any_name_of_a_runtime(text: str, start: str, runtime: FrameKind) -> None:
    found = runtime_name(start + text, runtime)
    assert found.mapping
    assert len(found.function.encode()) <= 1024


def test_hostile_names_take_linear_time() -> None:
    for name in (
        "JS:*" + "a /" * 2600 + ":1",
        "JS:*" + "a:1:" * 2000 + "x",
        "x " * 4000 + "a.b(",
        "a." * 4000,
    ):
        for runtime in (NODE, JVM):
            assert runtime_name(name, runtime).function


def test_a_map_that_takes_too_much_time_is_read_on_later(file: MapFile) -> None:
    """Lines of two bytes cost most; what was read meanwhile is known, and that it is not all."""
    file.map = PerfMap(Budget(1e9, 1))  # as much as there is, but nothing in advance
    file.append("1000 10 first\n" + "a\n" * perf_map.CHUNK_BYTES + "2000 10 last\n")
    assert file.names(0x1000, 0x2000) == ["first", ""]
    assert file.map.full
    deadline = time.monotonic() + 60
    while file.names(0x2000) != ["last"]:
        assert time.monotonic() < deadline
    assert file.names(0x1000) == ["first"]


def test_a_map_that_is_rewritten_again_and_again_is_left_alone_for_a_while(file: MapFile) -> None:
    file.map = PerfMap(Budget(1e-9, 1))
    file.append("1000 10 first\n")
    assert file.names(0x1000) == ["first"]
    file.path.write_text("1000 10 other\n")
    assert file.names(0x1000) == ["first"]
    assert file.map.full, "which is counted"
