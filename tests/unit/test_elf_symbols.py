"""Functions of ELF images: which name an address gets."""

import numpy as np
import pytest

from agent.symbolize.elf import MemoryBytes
from agent.symbolize.load_object import load_object
from fleetprof.frames import Frame, FrameKind
from fleetprof.losses import DropReason
from tests.unit.elf_images import (
    GLOBAL,
    IFUNC,
    LOCAL,
    OBJECT,
    TEXT_ADDR,
    TEXT_OFFSET,
    TEXT_SIZE,
    WEAK,
    Symbol,
    image,
    note,
)

LIMIT = 64 << 20


def names(symbols: list[Symbol], *addrs: int, **options: int) -> list[str]:
    source = MemoryBytes(image(symbols, **options))
    offsets = np.array([addr - TEXT_ADDR + TEXT_OFFSET for addr in addrs], np.uint64)
    return [frame.function for frame in load_object(source, "", (), LIMIT).frames(source, offsets, "m")]


def test_an_address_belongs_to_the_function_that_covers_it() -> None:
    symbols = [Symbol("first", 0x401000, 0x10), Symbol("second", 0x401020, 0x10)]
    addrs = (0x401000, 0x40100F, 0x401010, 0x40101F, 0x401020, 0x40102F, 0x401030)
    assert names(symbols, *addrs) == ["first", "first", "", "", "second", "second", ""]


def test_a_function_without_size_reaches_to_the_next_one_or_the_end_of_its_section() -> None:
    symbols = [Symbol("assembly", 0x401000, 0), Symbol("next", 0x401100, 4), Symbol("last", 0x401200, 0)]
    assert names(symbols, 0x4010FF, 0x401104, 0x401FFF) == ["assembly", "", "last"]


def test_of_nested_functions_the_innermost_wins() -> None:
    symbols = [Symbol("outer", 0x401000, 0x100), Symbol("inner", 0x401010, 0x10)]
    assert names(symbols, 0x40100F, 0x401010, 0x40101F, 0x401020) == ["outer", "inner", "inner", "outer"]


def test_only_functions_count() -> None:
    symbols = [Symbol("data", 0x401000, 8, OBJECT), Symbol("elsewhere", 0x401000, 8, section=0)]
    assert names(symbols, 0x401000) == [""]
    assert names([Symbol("resolver", 0x401000, 8, IFUNC)], 0x401000) == ["resolver"]


@pytest.mark.parametrize("order", [1, -1])
def test_aliases_do_not_depend_on_their_order_in_the_file(order: int) -> None:
    aliases = [
        Symbol("__libc_read", 0x401000, 8, binding=LOCAL),
        Symbol("a_local", 0x401000, 8, binding=LOCAL),
        Symbol("__read", 0x401000, 8, binding=GLOBAL),
        Symbol("read", 0x401000, 8, binding=WEAK),
        Symbol("zread", 0x401000, 8, binding=GLOBAL),
    ]
    assert names(aliases[::order], 0x401004) == ["read"]


def test_symbol_versions_and_build_suffixes_are_dropped() -> None:
    assert names([Symbol("memcpy@@GLIBC_2.14", 0x401000, 8)], 0x401000) == ["memcpy"]
    assert names([Symbol("helper.llvm.1234567890", 0x401000, 8)], 0x401000) == ["helper"]
    assert names([Symbol("work.constprop.0", 0x401000, 8)], 0x401000) == ["work.constprop.0"]


def test_unknown_code_keeps_build_id_and_file_offset() -> None:
    source = MemoryBytes(image([]))
    offsets = np.array([TEXT_OFFSET + 5, TEXT_OFFSET + TEXT_SIZE + 1, 0], np.uint64)
    frames = load_object(source, "", (), LIMIT).frames(source, offsets, "m")
    assert frames == [Frame(FrameKind.NATIVE, "", "m", "11" * 20, int(offset)) for offset in offsets]


def test_a_binary_for_another_cpu_is_a_loss_but_keeps_its_build_id() -> None:
    symbols = load_object(MemoryBytes(image([Symbol("f", 0x401000, 8)], machine=8)), "", (), LIMIT)
    assert (symbols.loss, symbols.build_id) == (DropReason.OBJECT_UNREADABLE, "11" * 20)


def test_too_many_symbols_are_a_loss_of_their_own() -> None:
    source = MemoryBytes(image([Symbol(f"f{i}", TEXT_ADDR + i, 1) for i in range(100)]))
    assert load_object(source, "", (), 100 * 32).loss is None
    assert load_object(source, "", (), 100 * 32 - 1).loss is DropReason.SYMBOL_LIMIT


def test_go_build_id_is_hashed_and_gnu_wins() -> None:
    plain = image([])
    go = plain.replace(note(b"GNU", 3, b"\x11" * 20), note(b"Go", 4, b"abc/def_ghijklmnopqr"))
    assert go != plain
    hashed = load_object(MemoryBytes(go), "", (), LIMIT).build_id
    assert len(hashed) == 40
    assert hashed != "11" * 20
    assert int(hashed, 16)


def test_a_cut_file_is_a_loss_wherever_it_is_cut() -> None:
    whole = image([Symbol("f", TEXT_ADDR, 8)])
    for size in [0, 3, 4, 15, 16, 63, 64, 100, TEXT_OFFSET, len(whole) - 65, len(whole) - 1]:
        assert load_object(MemoryBytes(whole[:size]), "", (), LIMIT).loss is DropReason.OBJECT_UNREADABLE


def test_ten_thousand_aliases_of_one_address_take_a_bounded_look() -> None:
    symbols = [Symbol(f"f{i:05}", TEXT_ADDR, 8) for i in range(10_000)]
    assert names(symbols, TEXT_ADDR)[0].startswith("f")


def test_symbols_at_the_top_of_the_address_space_do_not_wrap() -> None:
    symbols = [Symbol("top", 2**64 - 4, 2**63), Symbol("f", TEXT_ADDR, 2**64 - 1)]
    assert names(symbols, TEXT_ADDR, TEXT_ADDR + 100) == ["f", "f"]
