"""Damaged and hostile ELF files: unknown frames and a counted loss, never an exception, never much work."""

import resource
import struct
import subprocess
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.symbolize.build_id import build_id_of, read_build_id
from agent.symbolize.elf import ElfError, ElfFile, FileBytes, MemoryBytes
from agent.symbolize.intervals import MAX_STEPS, Intervals
from agent.symbolize.load_object import load_object
from fleetprof.frames import FrameKind
from fleetprof.losses import DropReason
from tests.unit.elf_images import TEXT_ADDR, TEXT_OFFSET, Symbol, image

LIMIT = 4 << 20
OFFSETS = np.array([0, TEXT_OFFSET, TEXT_OFFSET + 9, 0x2000, 1 << 40, (1 << 64) - 1], np.uint64)
INTERESTING = [0, 1, 2, 0x7F, 0x80, 0xFF, 0xFFFF, 1 << 31, (1 << 32) - 1, 1 << 47, 1 << 63, (1 << 64) - 1]


@cache
def victims() -> list[bytes]:
    """Real files and a made-up one."""
    made = image([Symbol(f"_ZN4shop4f{i:03}Ev", TEXT_ADDR + 16 * i, 16) for i in range(40)])
    real = [Path(p) for p in ("/bin/true", "/lib/x86_64-linux-gnu/libdl.so.2")]
    return [made, *(path.read_bytes() for path in real if path.exists())]


def look_up(data: bytes) -> None:
    source = MemoryBytes(data)
    symbols = load_object(source, "/x/y", (), LIMIT)
    frames = symbols.frames(source, OFFSETS, "m")
    assert len(frames) == len(OFFSETS)
    assert all(len(frame.function.encode()) <= 1024 for frame in frames)
    assert symbols.loss in (None, DropReason.OBJECT_UNREADABLE, DropReason.SYMBOL_LIMIT)


def structure(data: bytes) -> list[tuple[int, int]]:
    """(offset, size) of every header field: where a changed byte does most."""
    header = ElfFile(MemoryBytes(data))
    (program_at,) = struct.unpack_from("<Q", data, 32)
    (section_at,) = struct.unpack_from("<Q", data, 40)
    fields = [(4, 1), (5, 1), (18, 2), (32, 8), (40, 8), (54, 2), (56, 2), (58, 2), (60, 2), (62, 2)]
    for number in range(len(header.segments)):
        fields += [(program_at + 56 * number + at, 8 if at >= 8 else 4) for at in (0, 4, 8, 16, 32, 40)]
    for number, section in enumerate(header.sections):
        base = section_at + 64 * number
        fields += [
            (base + at, size) for at, size in ((0, 4), (4, 4), (16, 8), (24, 8), (32, 8), (40, 4), (56, 8))
        ]
        fields += [(section.offset + at, 8) for at in range(0, min(section.size, 96), 8)]
    return [(at, size) for at, size in fields if at + size <= len(data)]


@settings(max_examples=300)
@given(st.data())
def test_changed_fields(data: st.DataObject) -> None:
    victim = bytearray(data.draw(st.sampled_from(victims())))
    places = structure(bytes(victim))
    for _ in range(data.draw(st.integers(1, 4))):
        at, size = data.draw(st.sampled_from(places))
        value = data.draw(st.sampled_from(INTERESTING) | st.integers(0, 2**64 - 1))
        victim[at : at + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
    look_up(bytes(victim))


@settings(max_examples=200)
@given(st.data())
def test_changed_bytes_and_cut_files(data: st.DataObject) -> None:
    victim = bytearray(data.draw(st.sampled_from(victims())))
    for _ in range(data.draw(st.integers(0, 30))):
        victim[data.draw(st.integers(0, len(victim) - 1))] = data.draw(st.integers(0, 255))
    look_up(bytes(victim[: data.draw(st.integers(0, len(victim)))]))


@settings(max_examples=300)
@given(st.binary(max_size=400))
def test_random_bytes_behind_a_good_start(tail: bytes) -> None:
    look_up(b"\x7fELF\x02\x01\x01" + tail)
    look_up(tail)


@pytest.mark.parametrize(("at", "value"), [(4, 3), (5, 2), (4, 0)])
def test_unknown_class_and_big_endian(at: int, value: int) -> None:
    data = bytearray(image([Symbol("f", TEXT_ADDR, 8)]))
    data[at] = value
    symbols = load_object(MemoryBytes(bytes(data)), "", (), LIMIT)
    assert symbols.loss is DropReason.OBJECT_UNREADABLE
    with pytest.raises(ElfError):
        ElfFile(MemoryBytes(bytes(data)))


def test_a_sparse_file_with_a_huge_symbol_table_is_refused_without_reading_it(tmp_path: Path) -> None:
    data = bytearray(image([Symbol("f", TEXT_ADDR, 8)]))
    (section_at,) = struct.unpack_from("<Q", data, 40)
    struct.pack_into("<Q", data, section_at + 2 * 64 + 32, 24 << 34)
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.write(data)
        file.truncate(1 << 40)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    with path.open("rb") as file:
        symbols = load_object(FileBytes(file.fileno()), "", (), LIMIT)
        assert read_build_id(file.fileno()) == "11" * 20
    assert symbols.loss is DropReason.SYMBOL_LIMIT
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - before < 5


def test_a_million_overlapping_functions_take_bounded_time() -> None:
    starts = np.arange(1_000_000, dtype=np.uint64)
    table = Intervals.of_sorted(starts, np.where(starts == 0, np.uint64(2_000_000), starts + np.uint64(1)))
    assert table.find(np.array([999_999], np.uint64)).tolist() == [999_999]
    assert table.find(np.array([MAX_STEPS - 1], np.uint64)).tolist() == [MAX_STEPS - 1]
    assert table.find(np.array([1_500_000], np.uint64)).tolist() == [-1]


def test_mini_debug_info_that_unpacks_to_gigabytes(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.xz"
    subprocess.run(f"head -c 300M /dev/zero | xz -0 > {bomb}", shell=True, check=True)
    target = tmp_path / "true"
    target.write_bytes(Path("/bin/true").read_bytes())
    add = f".gnu_debugdata={bomb}"
    if subprocess.run(["objcopy", "--add-section", add, target], check=False).returncode:
        pytest.skip("objcopy is not installed here")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    symbols = load_object(MemoryBytes(target.read_bytes()), "", (), LIMIT)
    assert symbols.tables
    assert symbols.kind is FrameKind.NATIVE
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KB


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_notes(data: bytes) -> None:
    plain = image([])
    spoiled = plain.replace(plain[plain.index(b"GNU\0") - 12 :][:36], data[:36].ljust(36, b"\1"))
    found = build_id_of(ElfFile(MemoryBytes(spoiled)))
    assert found == "" or (len(found) <= 128 and int(found, 16) >= 0)
