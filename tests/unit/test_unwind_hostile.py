"""Call frame information that no compiler wrote: the builders neither crash nor run on, and agree with each other.

With FLEETPROF_SLOW=1 a million damaged sections go through the builder in C.
"""

import io
import os
import random
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.process import Mapping, Process
from agent.symbolize import reading_cost
from agent.symbolize.elf import PF_X, ElfError, ElfFile, FileBytes, MemoryBytes
from agent.unwind.build import FrameSection, RowSource, write_table
from agent.unwind.cfi import CfiRows
from agent.unwind.cfi_library import LibraryRows, load_library
from agent.unwind.layout import ARM64, X86_64
from agent.unwind.objects import TableBuilder
from agent.unwind.read import TableReader
from agent.unwind.table_files import TableFiles, key_of
from agent.unwind.unwinder import Unwinder

ROUNDS = 1_000_000 if os.environ.get("FLEETPROF_SLOW") == "1" else 3_000
LIBRARY = load_library()


def sections() -> list[FrameSection]:
    """Of some small real files, cut to a few kilobytes so that each byte is likely to be hit."""
    found = []
    for name in ("/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2", sys.executable):
        if Path(name).exists():
            with open(name, "rb") as file:
                try:
                    found.append(FrameSection(ElfFile(FileBytes(file.fileno()))))
                except ElfError:
                    continue
    assert found
    return found


REAL = sections()


def part(section: FrameSection, size: int) -> FrameSection:
    cut = FrameSection.__new__(FrameSection)
    cut.__dict__.update(section.__dict__ | {"data": section.data[:size]})
    return cut


def built(section: FrameSection, source: RowSource) -> bytes | None:
    out = io.BytesIO()
    try:
        write_table(section, source, out)
    except ElfError:
        return None
    return out.getvalue()


def damaged(section: FrameSection, data: bytes) -> FrameSection:
    bad = part(section, 0)
    bad.data = data
    return bad


def both(section: FrameSection) -> tuple[bytes | None, bytes | None]:
    in_c = built(section, LibraryRows(LIBRARY, section.data, section.vaddr, section.machine))
    in_python = built(section, CfiRows(section.data, section.vaddr, section.machine))
    return in_c, in_python


@example(which=min(1, len(REAL) - 1), machine=X86_64, changes=[(68, 1)], end=72)  # an address that is cut off
@example(which=len(REAL) - 1, machine=X86_64, changes=[(65, 1)], end=112)  # a PLT's CFA, no return address
@settings(max_examples=150)
@given(
    which=st.integers(0, len(REAL) - 1),
    machine=st.sampled_from([X86_64, ARM64]),
    changes=st.lists(st.tuples(st.integers(0, 2999), st.integers(0, 255)), max_size=20),
    end=st.integers(0, 3000),
)
def test_both_builders_make_the_same_of_damaged_sections(
    which: int, machine: int, changes: list[tuple[int, int]], end: int
) -> None:
    data = bytearray(REAL[which].data[:3000])
    for at, value in changes:
        if at < len(data):
            data[at] = value
    section = damaged(REAL[which], bytes(data[:end]))
    section.machine = machine
    in_c, in_python = both(section)
    assert in_c == in_python


@settings(max_examples=100)
@given(st.binary(max_size=400))
def test_random_instructions_are_survived(instructions: bytes) -> None:
    """A well-formed CIE and FDE around any instructions."""
    cie = b"\0\0\0\0" + b"\x01zR\0\x01\x78\x10\x01\x1b\x0c\x07\x08\x90\x01"
    cie = len(cie).to_bytes(4, "little") + cie
    body = (len(cie) + 4).to_bytes(4, "little") + (0x1000 - len(cie) - 8 - 0x8000).to_bytes(
        4, "little", signed=True
    )
    body += (0x4000).to_bytes(4, "little") + b"\0" + instructions
    section = damaged(REAL[0], cie + len(body).to_bytes(4, "little") + body)
    section.vaddr, section.base, section.code_end = 0x8000, 0, 0x10000
    in_c, in_python = both(section)
    assert in_c == in_python
    assert in_c is not None
    table = TableReader(in_c)
    assert int(table.rule(0x9000)["cfa"]) == 0, "nothing is known behind the function"


def test_many_damaged_sections_neither_crash_nor_hang() -> None:
    """In a process of its own, so that a crash is seen as one. The rate is printed, not judged."""
    done = subprocess.run(
        [sys.executable, "-c", f"from {__name__} import mutate; mutate({ROUNDS})"],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": "proto:."},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    print(done.stdout)


def mutate(rounds: int) -> None:
    """Damage sections at random and have rows made of them; a fixed seed, so that a crash comes again."""
    chance = random.Random(5)
    tables = [part(section, 4096) for section in REAL]
    source: LibraryRows | None = None
    for number in range(rounds):
        section = tables[number % len(tables)]
        data = bytearray(section.data)
        for _ in range(chance.randrange(1, 12)):
            data[chance.randrange(len(data))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        source = LibraryRows(LIBRARY, bytes(data), section.vaddr, number & 1)
        fdes = source.index()
        fdes = fdes[np.argsort(fdes["start"], kind="stable")]
        try:
            for rows in source.rows(fdes, section.base, section.code_end):
                assert (rows["rule"] < len(source.rules)).all()
        except ValueError:
            pass
    print(f"{rounds} sections, the last with {len(source.rules) if source else 0} rules")


def test_work_is_bounded() -> None:
    """A section of FDEs that take turns with two CIEs, each of which is long to run."""
    nops = 60_000
    cie = b"\0\0\0\0" + b"\x01zR\0\x01\x78\x10\x01\x1b" + b"\x0a\x0b" * (nops // 2)
    cie = len(cie).to_bytes(4, "little") + cie
    data = cie + cie
    for number in range(2000):
        at = len(data) + 4
        back = at - (number % 2) * len(cie)
        body = back.to_bytes(4, "little") + (number * 32 - at - 4).to_bytes(4, "little", signed=True)
        body += (32).to_bytes(4, "little") + b"\0\x0e\x10\0"
        data += len(body).to_bytes(4, "little") + body
    section = damaged(REAL[0], data)
    section.vaddr, section.base, section.code_end, section.machine = 0, 0, 1 << 20, X86_64
    in_c, _ = both(section)
    assert in_c is None


def test_code_at_the_end_of_memory_has_no_table() -> None:
    """Its end is no number of 64 bits; the thread that builds tables must outlive it."""
    data = bytearray(Path("/bin/true").read_bytes())
    number = next(i for i, s in enumerate(ElfFile(MemoryBytes(bytes(data))).segments) if s.flags & PF_X)
    (at,) = struct.unpack_from("<Q", data, 32)
    struct.pack_into("<Q", data, at + 56 * number + 16, (1 << 64) - 4096)
    with pytest.raises(ElfError):
        key_of(FrameSection(ElfFile(MemoryBytes(bytes(data)))))


class _ByPath:
    """Files by the path of their mapping."""

    def __init__(self) -> None:
        self._open: dict[str, BinaryIO] = {}

    def fd(self, mapping: Mapping) -> int:
        return self._open.setdefault(mapping.path, open(mapping.path, "rb")).fileno()


def test_a_process_pays_for_the_tables_of_its_own_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that maps ever other files gets no more of them, and others have what they map all the same."""
    monkeypatch.setattr(reading_cost, "CPU_SHARE", 1e-9)
    builder = TableBuilder(TableFiles(tmp_path / "tables"))
    unwinder = Unwinder(None, _ByPath(), builder, 1 << 20)  # type: ignore[arg-type]
    unwinder._building = reading_cost.ProcessBudgets(burst_ns=0)
    restless, other = (Process(pid, pid, 1, "test", "/bin/test") for pid in (2**22 + 1, 2**22 + 2))
    mappings = []
    for number in (1, 2):
        path = tmp_path / str(number)
        path.write_bytes(Path("/bin/true").read_bytes())
        mappings.append(Mapping(0x1000, 0x2000, 0x2000, str(path), 1, number))
    assert unwinder._object(restless, mappings[0])
    deadline = time.monotonic() + 60
    while builder.waiting:
        assert time.monotonic() < deadline
        for built in builder.take():
            assert built.file
            built.file.close()
    assert unwinder._object(restless, mappings[1]) is None
    assert unwinder._object(other, mappings[1])
    builder.close()
