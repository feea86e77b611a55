"""Where CPython keeps things: what its debug offsets say, and str objects as the running interpreter makes them."""

import ctypes
import struct
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cpython.find import find_interpreter
from agent.cpython.layout import (
    COOKIE,
    DEBUG_OFFSETS_BYTES,
    Groups,
    TextLayout,
    known_layout,
    told_layout,
)
from agent.cpython.texts import text_of
from agent.symbolize.elf import FileBytes, MemoryBytes
from tests.workloads.pythons import interpreters

NUMBERS = DEBUG_OFFSETS_BYTES // 8
TEXT = TextLayout()
OLD_TEXT = TextLayout(ascii_data=48, wide_data=72)
NEW_TEXT = TextLayout(kind_shift=16)


def told(version: int, *places: tuple[int, int]) -> bytes:
    """The beginning of _PyRuntime, with numbers at some places behind the cookie, the version and the build."""
    values = [0] * (NUMBERS - 3)
    for place, value in places:
        values[place] = value
    return struct.pack(f"<8s{NUMBERS - 1}Q", COOKIE, version, 0, *values)


V313 = (
    *((2, 632), (5, 7264), (6, 7344), (18, 8), (20, 72), (21, 152)),
    *((26, 8), (27, 0), (30, 70), (32, 112), (33, 120), (34, 128), (36, 68)),
    *((65, 32), (66, 16), (67, 40)),
)
"""As CPython 3.13.0 tells."""
V314 = (
    *((2, 848), (5, 7344), (6, 7424), (21, 8), (23, 72), (24, 152)),
    *((29, 8), (30, 0), (33, 74), (37, 112), (38, 120), (39, 128), (41, 68)),
    *((75, 32), (76, 16), (77, 40)),
)


def test_the_interpreter_tells_its_own_offsets() -> None:
    layout = told_layout(told(0x030D00F0, *V313))
    assert layout
    assert (layout.groups, layout.interpreters_head, layout.interpreter_threads) == (
        Groups.BY_SHIM,
        632,
        7344,
    )
    assert (layout.thread_next, layout.thread_frame, layout.thread_id) == (8, 72, 152)
    assert (layout.frame_code, layout.frame_previous, layout.frame_owner) == (0, 8, 70)
    assert (layout.code_names, layout.code_line, layout.has_qualname) == (112, 68, True)
    assert layout.text == TEXT


def test_a_newer_order_of_them_is_known_by_its_version() -> None:
    layout = told_layout(told(0x030E00F0, *V314))
    assert layout
    assert (layout.frame_owner, layout.code_names, layout.text) == (74, 112, NEW_TEXT)
    assert (layout.thread_id, layout.interpreter_threads) == (152, 7424)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        told(0x030D00F0, *V313)[:-8],
        b"y" + told(0x030D00F0, *V313)[1:],
        told(0x030F00F0, *V313),
        told(0x030D00F0, *V313, (30, 80)),
        told(0x030D00F0, *V313, (27, 4)),
        told(0x030D00F0, *V313, (5, 1 << 63)),
        told(0x030D00F0, *V313, (33, 200)),
    ],
    ids=["nothing", "cut", "no cookie", "unknown", "owner outside", "crooked", "far away", "names apart"],
)
def test_offsets_that_cannot_be_used_are_none(data: bytes) -> None:
    assert told_layout(data) is None


@given(
    st.lists(st.integers(0, 2**64 - 1), min_size=NUMBERS - 3, max_size=NUMBERS - 3), st.sampled_from((13, 14))
)
def test_any_numbers_make_a_sound_layout_or_none(values: list[int], minor: int) -> None:
    data = struct.pack(f"<8s{NUMBERS - 1}Q", COOKIE, 3 << 24 | minor << 16, 0, *values)
    layout = told_layout(data)
    assert layout is None or layout.is_sound


@given(st.text(min_size=1, max_size=40))
def test_strings_of_the_running_interpreter_are_read(text: str) -> None:
    own = known_layout(sys.version_info[:2])
    layout = own.text if own else NEW_TEXT if sys.version_info >= (3, 14) else TEXT
    data = ctypes.string_at(id(text), sys.getsizeof(text))
    assert text_of(data, layout) == text.encode("utf-16-le", "replace").decode("utf-16-le", "replace")


@given(st.binary(max_size=300), st.sampled_from((TEXT, OLD_TEXT, NEW_TEXT)))
def test_any_bytes_are_a_text_that_can_be_sent(data: bytes, layout: TextLayout) -> None:
    text_of(data, layout).encode("utf-8")


def test_a_text_that_goes_on_is_marked() -> None:
    long = "x" * 1000
    own = known_layout(sys.version_info[:2])
    if own is None:
        pytest.skip("this interpreter's own layout is told, not written down")
    data = ctypes.string_at(id(long), 256)
    assert text_of(data, own.text) == "x" * (256 - own.text.ascii_data) + "…"


class Altered:
    """A file some of whose bytes are other ones."""

    def __init__(self, path: Path, altered: dict[int, int]) -> None:
        self._file = path.open("rb")
        self._bytes = FileBytes(self._file.fileno())
        self._altered = altered
        self.size = self._bytes.size

    def read(self, offset: int, size: int) -> bytes:
        data = bytearray(self._bytes.read(offset, size))
        for place, value in self._altered.items():
            if offset <= place < offset + size:
                data[place - offset] = value
        return bytes(data)


def libraries() -> list[Path]:
    found = [path for path in interpreters().values() if path]
    shared = [next(iter(sorted(path.parents[1].glob("lib/libpython3.*.so.1.0"))), path) for path in found]
    return shared or [Path(sys.executable).resolve()]


@given(st.data())
def test_a_damaged_file_has_an_interpreter_or_none(data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(libraries()))
    size = path.stat().st_size
    near = st.one_of(st.integers(0, 4096), st.integers(size - 4096, size - 1))
    altered = data.draw(st.dictionaries(near, st.integers(0, 255), min_size=1, max_size=12))
    found = find_interpreter(Altered(path, altered))
    assert found is None or found.layout.is_sound


def test_what_is_no_elf_file_has_none() -> None:
    assert find_interpreter(MemoryBytes(b"#!/usr/bin/env python3\n" * 9)) is None
