"""Unwind tables of real files against what readelf makes of their call frame information."""

import io
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from agent.symbolize.elf import ElfError, ElfFile, FileBytes
from agent.unwind.build import FrameSection, RowSource, write_table
from agent.unwind.cfi import CfiRows
from agent.unwind.cfi_library import LibraryRows, load_library
from agent.unwind.layout import At, Cfa
from agent.unwind.read import TableReader
from tests.workloads.build import SOURCES, tool

RBP, RBX, RA = "rbp", "rbx", "ra"


def section_of(path: Path) -> FrameSection:
    with path.open("rb") as file:
        return FrameSection(ElfFile(FileBytes(file.fileno())))


def in_c(section: FrameSection) -> RowSource:
    return LibraryRows(load_library(), section.data, section.vaddr, section.machine)


def in_python(section: FrameSection) -> RowSource:
    return CfiRows(section.data, section.vaddr, section.machine)


def table_bytes(section: FrameSection, source: RowSource) -> bytes:
    out = io.BytesIO()
    assert write_table(section, source, out) == len(out.getvalue())
    return out.getvalue()


def readelf_rows(path: Path) -> Iterator[tuple[int, int, dict[str, str]]]:
    """(address, end of its FDE, columns) of each line of `readelf --debug-dump=frames-interp`."""
    text = subprocess.run(
        [tool("readelf"), "--debug-dump=frames-interp", "-W", path],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    text = text.partition(".eh_frame section")[2].partition("Contents of the ")[0]
    columns: list[str] = []
    end = 0
    for line in text.splitlines():
        fde = re.match(r"[0-9a-f]+ [0-9a-f]+ [0-9a-f]+ FDE .*pc=([0-9a-f]+)\.\.([0-9a-f]+)", line)
        if fde:
            end = int(fde[2], 16)
        elif " CIE " in line:
            end = 0
        elif line.strip().startswith("LOC"):
            columns = line.split()
        elif end and re.match(r"[0-9a-f]{16} ", line):
            fields = line.split()
            if len(fields) == len(columns):
                yield int(fields[0], 16), end, dict(zip(columns, fields, strict=True))


def expected(columns: dict[str, str]) -> tuple[int, int | None, tuple[int, int], tuple[int, int]] | None:
    """(how the CFA is found, its offset, rbp, rbx) of a line, None where readelf does not tell enough."""
    if columns.get(RA) == "u":
        return Cfa.END, 0, (At.SAME, 0), (At.SAME, 0)
    cfa = re.match(r"(rsp|rbp|rbx)([+-]\d+)$", columns["CFA"])
    if not cfa or columns.get(RA) != "c-8":
        return None
    kind = {"rsp": Cfa.SP, "rbp": Cfa.FP, "rbx": Cfa.THIRD}[cfa[1]]
    places = [place(columns.get(name, "u")) for name in (RBP, RBX)]
    return None if None in places else (kind, int(cfa[2]), *places)  # type: ignore[return-value]


def place(column: str) -> tuple[int, int] | None:
    if column in ("u", "s"):  # readelf shows no difference between undefined and not mentioned
        return At.SAME, 0
    offset = re.match(r"c([+-]\d+)$", column)
    return (At.CFA, int(offset[1])) if offset else None


def compiled(folder: Path, *flags: str) -> Path:
    out = folder / "names"
    subprocess.run([tool("g++"), "-O2", *flags, "-o", out, SOURCES / "names_cpp.cc"], check=True)
    return out


FILES = [
    "/usr/bin/python3",
    "/lib/x86_64-linux-gnu/libc.so.6",
    "/lib64/ld-linux-x86-64.so.2",
    "/usr/bin/perf",
]


@pytest.mark.parametrize("name", FILES)
def test_rules_are_those_that_readelf_shows(name: str) -> None:
    path = Path(name)
    if not path.exists():
        pytest.skip(f"{name} is not here")
    section = section_of(path)
    table = TableReader(table_bytes(section, in_c(section)))
    compared = 0
    for addr, end, columns in readelf_rows(path):
        wanted = expected(columns)
        if wanted is None or addr >= end:
            continue
        rule = table.rule(addr)
        found = (
            rule["cfa"],
            rule["cfa_offset"],
            (rule["fp"], rule["fp_offset"]),
            (rule["third"], rule["third_offset"]),
        )
        assert found == wanted, f"{name} at {addr:#x}: {columns}"
        compared += 1
    assert compared > 1000
    assert not table.header["skipped"]


@pytest.mark.parametrize("flags", [(), ("-static",), ("-static-pie",), ("-no-pie",)])
def test_both_builders_agree(tmp_path: Path, flags: tuple[str, ...]) -> None:
    section = section_of(compiled(tmp_path, *flags))
    assert table_bytes(section, in_c(section)) == table_bytes(section, in_python(section))


def test_a_file_without_section_headers_has_its_table_too(tmp_path: Path) -> None:
    path = compiled(tmp_path)
    section = section_of(path)
    data = bytearray(path.read_bytes())
    data[0x28:0x30] = bytes(8)  # e_shoff
    data[0x3C:0x40] = bytes(4)  # e_shnum, e_shstrndx
    stripped = tmp_path / "stripped"
    stripped.write_bytes(data)
    bare = section_of(stripped)
    rows = [TableReader(table_bytes(one, in_c(one))).rows() for one in (section, bare)]
    assert np.array_equal(*rows)


def test_special_frames_of_the_c_library_are_known() -> None:
    """The return from a signal handler, the ends of threads and of the main thread, and the lazy PLT."""
    path = Path("/lib/x86_64-linux-gnu/libc.so.6")
    if not path.exists():
        pytest.skip("no glibc for x86-64 here")
    section = section_of(path)
    kinds = TableReader(table_bytes(section, in_c(section))).rules["cfa"].tolist()
    assert {Cfa.SIGNAL, Cfa.END, Cfa.PLT, Cfa.SP, Cfa.FP} <= set(kinds)
    assert kinds.count(Cfa.SIGNAL) == 1


def test_a_file_without_call_frame_information_says_so(tmp_path: Path) -> None:
    path = tmp_path / "bare"
    source = tmp_path / "bare.c"
    source.write_text("void _start(void) { for (;;); }")
    flags = ["-nostdlib", "-static", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables"]
    subprocess.run([tool("gcc"), *flags, "-o", path, source], check=True)
    with pytest.raises(ElfError, match="no call frame information"):
        section_of(path)
