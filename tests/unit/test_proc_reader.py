"""Parsers of /proc/PID with what a process can make the kernel print there."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.process import Mapping
from agent.process_reader import (
    MAX_COMMAND_LINE_BYTES,
    ProcessReader,
    VariableNames,
    command_line_of,
    device_of,
    maps_of,
    monotonic_of_ticks,
    namespace_pid_of,
    stat_of,
)


def stat_line(name: bytes, flags: int = 0, start: int = 185826) -> bytes:
    return b"7888 (%s) S 7841 7841 4597 0 -1 %d 98 0 0 0 0 0 0 0 20 0 3 0 %d 3133440 360\n" % (
        name,
        flags,
        start,
    )


@given(st.binary(max_size=15))
def test_stat_survives_any_name(name: bytes) -> None:
    stat = stat_of(stat_line(name))
    assert stat.comm.encode("utf-8", "surrogateescape") == name
    assert (stat.state, stat.parent_pid, stat.threads, stat.start_ticks) == ("S", 7841, 3, 185826)


def test_stat_tells_kernel_threads() -> None:
    assert stat_of(stat_line(b"kworker/0:1", 0x00200000 | 0x40)).is_kernel
    assert not stat_of(stat_line(b"kworker/0:1", 0x40)).is_kernel


@given(st.binary(max_size=80))
def test_stat_of_anything_else_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        stat_of(data)


def test_maps_keeps_executable_mappings_only() -> None:
    text = (
        b"55eba9dfb000-55eba9dfd000 r--p 00000000 fe:00 260131                     /usr/bin/cat\n"
        b"55eba9dfd000-55eba9e02000 r-xp 00002000 fe:00 260131                     /usr/bin/cat\n"
        b"7f0000000000-7f0000001000 rwxp 00000000 00:00 0 \n"
        b"7ffd00000000-7ffd00001000 r-xp 00000000 00:00 0                          [vdso]\n"
        b"ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n"
    )
    assert maps_of(text) == [
        Mapping(0x55EBA9DFD000, 0x55EBA9E02000, 0x2000, "/usr/bin/cat", device_of(0xFE, 0, 260131), 260131),
        Mapping(0x7F0000000000, 0x7F0000001000, 0, ""),
        Mapping(0x7FFD00000000, 0x7FFD00001000, 0, "[vdso]"),
        Mapping(0xFFFFFFFFFF600000, 0xFFFFFFFFFF601000, 0, "[vsyscall]"),
    ]


@pytest.mark.parametrize(
    ("written", "path"),
    [
        (b"/tmp/a b  c", "/tmp/a b  c"),
        (b"/tmp/x (deleted)", "/tmp/x (deleted)"),
        (b"/tmp/two\\012lines r-xp 0 fe:00 1 /x", "/tmp/two\nlines r-xp 0 fe:00 1 /x"),
        (b"/tmp/\xff\xfe", "/tmp/\udcff\udcfe"),
        (b"/memfd:code (deleted)", "/memfd:code (deleted)"),
    ],
)  # fmt: skip
def test_maps_paths(written: bytes, path: str) -> None:
    (mapping,) = maps_of(b"1000-2000 r-xp 00000000 fe:00 77                " + written + b"\n")
    assert mapping.path == path
    assert mapping.inode == 77


@given(st.binary(max_size=300))
def test_maps_of_anything_never_fails(data: bytes) -> None:
    for mapping in maps_of(data + b"\n1000-2000 r-xp 00000000 fe:00 77 /x\n"):
        assert mapping.start_addr < mapping.end_addr


def test_maps_cut_in_the_middle_of_a_line_keeps_the_lines_before() -> None:
    text = b"1000-2000 r-xp 00000000 fe:00 77 /x\n3000-40"
    assert [mapping.path for mapping in maps_of(text)] == ["/x"]


def test_environment_keeps_wanted_variables_only() -> None:
    names = VariableNames(["OTEL_SERVICE_NAME", "DD_*"])
    data = (
        b"SECRET=1\0OTEL_SERVICE_NAME=shop=1\nx\0OTEL_SERVICE_NAME=later\0DD_ENV=\xff\0DD_X\0NOT_DD_Y=1\0=\0"
    )
    assert names.select(data) == {"OTEL_SERVICE_NAME": "shop=1\nx", "DD_ENV": "\udcff"}
    assert VariableNames([]).select(data) == {}


def test_command_line_is_cut() -> None:
    assert command_line_of(b"") == ()
    assert command_line_of(b"a\0\0b c\0") == ("a", "", "b c")
    assert sum(map(len, command_line_of(b"x\0" * 100_000))) <= MAX_COMMAND_LINE_BYTES


def test_namespace_pid_is_the_innermost() -> None:
    assert namespace_pid_of(b"Name:\tx\nNStgid:\t900\t7\nNSpid:\t900\t42\t1\nNSpgid:\t3\t3\t3\n") == 1
    assert namespace_pid_of(b"Name:\tNSpid:\t3\n") == 0


def test_reading_this_process_agrees_with_the_interpreter() -> None:
    with ProcessReader(os.getpid()) as reader:
        stat = reader.stat()
        assert stat.parent_pid == os.getppid()
        assert not stat.is_kernel
        assert os.path.samefile(reader.exe(), "/proc/self/exe")
        assert reader.namespace_pid() == os.getpid()
        mappings = reader.mappings()
        assert [m.start_addr for m in mappings] == sorted(m.start_addr for m in mappings)
        assert any(os.path.basename(m.path).startswith("libc") for m in mappings)
        assert reader.read("maps", 100) == reader.read("maps", 1 << 20)[:100]
        variables, complete = reader.environment(VariableNames(["PATH"]))
        assert complete
        assert variables.get("PATH")
    assert monotonic_of_ticks(stat.start_ticks) > 0


def test_a_process_that_is_not_there_is_gone() -> None:
    with pytest.raises(FileNotFoundError):
        ProcessReader(2**22 + 1)


def test_threads_read_at_the_same_time() -> None:
    def reads(name: str, begin: bytes) -> bool:
        with ProcessReader(os.getpid()) as reader:
            return all(reader.read(name, 4096).startswith(begin) for _ in range(2000))

    files = {"stat": f"{os.getpid()} (".encode(), "status": b"Name:", "limits": b"Limit"}
    with ThreadPoolExecutor(len(files)) as threads:
        assert all(threads.map(reads, files, files.values()))
