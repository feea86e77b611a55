"""Function tables of Go binaries: every form that linkers wrote, wherever they put it, and damaged ones."""

import gzip
import resource
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.symbolize.elf import MemoryBytes
from agent.symbolize.load_object import load_object
from agent.symbolize.object_symbols import ObjectSymbols
from fleetprof.frames import Frame, FrameKind
from fleetprof.losses import DropReason
from tests.unit.go_images import DATA_ADDR, TEXT_ADDR, TEXT_OFFSET, Function, binary, module_data, table
from tests.workloads.build import tool

LIMIT = 4 << 20
FUNCTIONS = [
    Function("runtime.goexit", 16, "/go/src/runtime/asm_amd64.s", 1693),
    Function("main.(*basket).add", 80, "/srv/shop/main.go", 12),
    Function("main.Map[...].func1", 33, "/srv/shop/map.go", 300),
    Function("main.main", 127, "/srv/shop/main.go", 70000),
]
SIZE = sum(function.size for function in FUNCTIONS)
SLACK = 8192
"""Code behind Go's, so that .text does not end with it: its start is no proof of where Go's code begins."""


def loaded(image: bytes) -> tuple[ObjectSymbols, MemoryBytes]:
    source = MemoryBytes(image)
    return load_object(source, "/srv/app", (), LIMIT), source


def frames(image: bytes, shift: int = 0) -> list[Frame]:
    """The frames of the first and last byte of each of FUNCTIONS."""
    symbols, source = loaded(image)
    offsets, at = [], TEXT_OFFSET + shift
    for function in FUNCTIONS:
        offsets += [at, at + function.size - 1]
        at += function.size
    return symbols.frames(source, np.array(offsets, np.uint64), "app")


EXPECTED = [
    Frame(FrameKind.GO, function.name, "app", file=function.file, line=function.line)
    for function in FUNCTIONS
    for _ in range(2)
]


@pytest.mark.parametrize("word", [4, 8])
@pytest.mark.parametrize("version", [2, 16, 18, 20])
def test_every_form(version: int, word: int) -> None:
    assert frames(binary(table(FUNCTIONS, version, word), SIZE + SLACK)) == EXPECTED


def test_outside_its_functions_there_is_no_name() -> None:
    symbols, source = loaded(binary(table(FUNCTIONS, 20), SIZE + SLACK))
    offsets = np.array([TEXT_OFFSET - 1, TEXT_OFFSET + SIZE, TEXT_OFFSET + SIZE + 100], np.uint64)
    assert {frame.function for frame in symbols.frames(source, offsets, "app")} == {""}


def behind(pclntab: bytes) -> int:
    return DATA_ADDR + (len(pclntab) + 63 & ~63)


@pytest.mark.parametrize("version", [18, 20])
def test_the_start_of_code_comes_from_moduledata(version: int) -> None:
    """C code lies before Go's, and the table does not say where Go's begins."""
    pclntab = table(FUNCTIONS, version, text_start=0)
    start = TEXT_ADDR + 512
    module = module_data(start, start + SIZE, DATA_ADDR)
    assert frames(binary(pclntab, SIZE + SLACK, module=module), 512) == EXPECTED


def test_the_start_of_code_comes_from_relocations() -> None:
    """Position independent: neither the table nor moduledata holds an address."""
    pclntab = table(FUNCTIONS, 20, text_start=0)
    start, module = TEXT_ADDR + 512, behind(pclntab)
    relocations = {module: DATA_ADDR, module + 20 * 8: start, module + 21 * 8: start + SIZE}
    image = binary(pclntab, SIZE + SLACK, module=module_data(0, 0, 0), relocations=relocations)
    assert frames(image, 512) == EXPECTED


def test_another_pointer_to_the_table_does_not_mislead() -> None:
    pclntab = table(FUNCTIONS, 20, text_start=0)
    start = TEXT_ADDR + 512
    decoy = module_data(start + 64, start + SIZE, DATA_ADDR)
    module = decoy + module_data(start, start + SIZE, DATA_ADDR)
    assert frames(binary(pclntab, SIZE + SLACK, module=module), 512) == EXPECTED


def test_old_position_independent_tables_are_relocated() -> None:
    whole = table(FUNCTIONS, 16)
    image = binary(whole, SIZE + SLACK)
    at = struct.unpack_from("<Q", whole, 8 + 6 * 8)[0]
    blank, relocations, entry = bytearray(whole), {}, TEXT_ADDR
    for number in range(len(FUNCTIONS) + 1):
        struct.pack_into("<Q", blank, at + 16 * number, 0)
        relocations[DATA_ADDR + at + 16 * number] = entry
        entry += FUNCTIONS[number].size if number < len(FUNCTIONS) else 0
    assert frames(image) == EXPECTED
    assert frames(binary(bytes(blank), SIZE + SLACK, relocations=relocations)) == EXPECTED


def test_without_any_proof_of_where_code_begins_no_name_is_better() -> None:
    pclntab = table(FUNCTIONS, 20, text_start=0)
    assert {frame.function for frame in frames(binary(pclntab, SIZE + SLACK))} == {""}
    assert frames(binary(pclntab, SIZE + 100)) == EXPECTED, "Go's code fills .text"


@pytest.mark.parametrize("offset", [0, 160])
def test_a_table_inside_of_other_data(offset: int) -> None:
    inside = b"\1" * offset + table(FUNCTIONS, 20)
    assert frames(binary(inside, SIZE + SLACK, section=".data.rel.ro")) == EXPECTED


def test_a_file_without_section_headers() -> None:
    assert frames(binary(table(FUNCTIONS, 20), SIZE + SLACK, headers=False)) == EXPECTED


def test_functions_outside_of_code_are_not_believed() -> None:
    image = binary(table(FUNCTIONS, 20, text_start=TEXT_ADDR - 4096), SIZE)
    assert {frame.function for frame in frames(image)} == {""}


def test_a_real_table_of_go_1_15() -> None:
    """Go's own tests bring one along, of a whole program."""
    root = Path(tool("go")).resolve().parents[1]
    found = [
        *root.rglob("gosym/testdata/pcln115.gz"),
        *root.parent.rglob("go/src/debug/gosym/testdata/pcln115.gz"),
    ]
    if not found:
        pytest.skip("this Go comes without pcln115.gz")
    pclntab = gzip.decompress(found[0].read_bytes())
    (count,) = struct.unpack_from("<Q", pclntab, 8)
    rows = struct.unpack_from(f"<{2 * count + 1}Q", pclntab, 16)
    entries = rows[0::2]
    start = entries[0] & ~4095
    image = binary(pclntab, entries[-1] - start, text_addr=start)
    symbols, source = loaded(image)
    offsets = np.array(entries[:-1], np.uint64) - np.uint64(start - TEXT_OFFSET)
    by_name = {frame.function: frame for frame in symbols.frames(source, offsets, "app")}
    assert len(by_name) > 0.99 * count
    assert "" not in by_name
    assert by_name["runtime.mallocgc"].file.endswith("/runtime/malloc.go")
    assert 800 < by_name["runtime.mallocgc"].line < 1200
    assert {frame.kind for frame in by_name.values()} == {FrameKind.GO}


PLACES = [
    binary(table(FUNCTIONS, version, word), SIZE + SLACK) for version in (2, 16, 18, 20) for word in (4, 8)
] + [
    binary(table(FUNCTIONS, 20), SIZE + SLACK, section=".data.rel.ro"),
    binary(table(FUNCTIONS, 20), SIZE + SLACK, headers=False),
    binary(
        table(FUNCTIONS, 20, text_start=0),
        SIZE + SLACK,
        module=module_data(TEXT_ADDR, TEXT_ADDR + SIZE, DATA_ADDR),
        relocations={DATA_ADDR + 8: 1},
    ),
]
NUMBERS = [0, 1, 2, 0x7F, 0xFF, 0xFFFF, 1 << 31, (1 << 32) - 1, 1 << 47, 1 << 63, (1 << 64) - 1]


def look_up(image: bytes) -> None:
    symbols, source = loaded(image)
    offsets = np.array([0, *range(TEXT_OFFSET, TEXT_OFFSET + SIZE, 9), 1 << 40], np.uint64)
    for frame in symbols.frames(source, offsets, "m"):
        assert len(frame.function.encode()) <= 1024
        assert len(frame.file.encode()) <= 1024
        assert 0 <= frame.line < 1 << 31
    assert symbols.loss in (None, DropReason.OBJECT_UNREADABLE, DropReason.SYMBOL_LIMIT)


@settings(max_examples=250)
@given(st.data())
def test_changed_words(data: st.DataObject) -> None:
    """Words of the table and of headers: numbers that count, point and add up."""
    image = bytearray(data.draw(st.sampled_from(PLACES)))
    first = image.index(b"\xff\xff\xff\0\0\1") - 1
    for _ in range(data.draw(st.integers(1, 4))):
        inside = st.integers(first // 4, min(first // 4 + 200, len(image) // 4 - 2))
        at = (
            data.draw(inside | st.integers(0, 60) | st.integers(len(image) // 4 - 130, len(image) // 4 - 2))
            * 4
        )
        size = data.draw(st.sampled_from([1, 4, 8]))
        value = data.draw(st.sampled_from(NUMBERS) | st.integers(0, 2**64 - 1)) & (1 << 8 * size) - 1
        image[at : at + size] = value.to_bytes(size, "little")
    look_up(bytes(image))


@settings(max_examples=100)
@given(st.data())
def test_changed_bytes_and_cut_files(data: st.DataObject) -> None:
    image = bytearray(data.draw(st.sampled_from(PLACES)))
    for _ in range(data.draw(st.integers(0, 20))):
        image[data.draw(st.integers(0, len(image) - 1))] = data.draw(st.integers(0, 255))
    look_up(bytes(image[: data.draw(st.integers(0, len(image)))]))


def test_too_many_functions_are_a_counted_loss() -> None:
    count = 1_000_000
    pclntab = bytearray(table(FUNCTIONS, 20))
    struct.pack_into("<Q", pclntab, 8, count)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    symbols, _ = loaded(binary(bytes(pclntab), SIZE + SLACK))
    assert symbols.loss is DropReason.SYMBOL_LIMIT
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 << 10


def test_a_file_full_of_decoys_is_searched_once() -> None:
    """Words that look like a table's first, and point to ever the same place."""
    decoy = struct.pack("<IHBBQQQ", 0xFFFFFFF1, 0, 1, 8, 0, 0, 0)
    look_up(binary(decoy.ljust(64, b"\0") * 20_000, SIZE, section=".data.rel.ro"))
