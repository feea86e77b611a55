"""Symbols of many files stay inside their memory; equal tables are kept once."""

import os
from pathlib import Path

import numpy as np
import pytest

from agent.process import Mapping, Process
from agent.symbolize import reading_cost
from agent.symbolize.symbolizer import Symbolizer
from fleetprof.frames import Frame, FrameKind
from fleetprof.losses import DropReason
from tests.unit.elf_images import TEXT_ADDR, TEXT_OFFSET, Symbol, image


class OpenFiles:
    """Descriptors of files by path, as the agent holds them."""

    def __init__(self) -> None:
        self._fds: dict[str, int] = {}

    def fd(self, mapping: Mapping) -> int | None:
        if mapping.path not in self._fds and os.path.exists(mapping.path):
            self._fds[mapping.path] = os.open(mapping.path, os.O_RDONLY)
        return self._fds.get(mapping.path)

    def close(self) -> None:
        for fd in self._fds.values():
            os.close(fd)


@pytest.fixture
def files() -> OpenFiles:
    opened = OpenFiles()
    yield opened
    opened.close()


def library(path: Path, count: int, salt: str = "") -> Mapping:
    """An ELF file of `count` functions of 4 bytes, and its mapping."""
    path.write_bytes(image([Symbol(f"f{salt}{i}", TEXT_ADDR + 4 * i, 4) for i in range(count)]))
    number = int(path.name)
    start = 0x7F0000000000 + number * 0x100000
    return Mapping(start, start + 0x1000, TEXT_OFFSET, str(path), 1, number + 1)


def process(mappings: list[Mapping]) -> Process:
    return Process(2**22 + 5, 5, 1, "test", "/bin/test", mappings=mappings)


def look_up(symbolizer: Symbolizer, mappings: list[Mapping], offset: int = 8) -> list[Frame]:
    addrs = np.array([mapping.start_addr + offset for mapping in mappings], np.uint64)
    return symbolizer.user_frames(process(mappings), addrs)


def test_memory_stays_inside_the_limit_and_names_stay_right(files: OpenFiles, tmp_path: Path) -> None:
    mappings = [library(tmp_path / str(i), 500 + i, salt=f"_{i}_") for i in range(60)]
    symbolizer = Symbolizer(files, memory_limit_bytes=200_000)
    for _ in range(3):
        frames = look_up(symbolizer, mappings)
        assert [frame.function for frame in frames] == [f"f_{i}_2" for i in range(60)]
        assert symbolizer.nbytes <= 200_000


def test_the_same_library_in_a_hundred_containers_is_kept_once(files: OpenFiles, tmp_path: Path) -> None:
    one = Symbolizer(files)
    mappings = [library(tmp_path / str(i), 1000) for i in range(100)]
    look_up(one, mappings[:1])
    single = one.nbytes
    assert {frame.function for frame in look_up(one, mappings)} == {"f2"}
    assert one.nbytes < single + 100 * 5000


def test_a_rewritten_file_is_read_again(files: OpenFiles, tmp_path: Path) -> None:
    mapping = library(tmp_path / "1", 10, "old")
    symbolizer = Symbolizer(files)
    assert look_up(symbolizer, [mapping])[0].function == "fold2"
    library(tmp_path / "1", 10, "renamed")
    assert look_up(symbolizer, [mapping])[0].function == "frenamed2"


def test_a_missing_file_is_one_loss_for_each_address(files: OpenFiles, tmp_path: Path) -> None:
    gone = Mapping(0x1000, 0x3000, 0x5000, "/nowhere/libgone.so.1 (deleted)", 1, 1)
    symbolizer = Symbolizer(files)
    frames = symbolizer.user_frames(process([gone]), np.array([0x1000, 0x2FFF, 0x3000], np.uint64))
    assert frames[:2] == [Frame(FrameKind.NATIVE, "", "libgone.so.1", "", at) for at in (0x5000, 0x6FFF)]
    assert frames[2].mapping == "[unmapped]"
    assert symbolizer.take_losses() == {DropReason.OBJECT_UNREADABLE: 2}
    assert not symbolizer.take_losses()


def test_too_large_a_table_is_a_loss_of_its_own(files: OpenFiles, tmp_path: Path) -> None:
    mapping = library(tmp_path / "1", 1000)
    symbolizer = Symbolizer(files, memory_limit_bytes=20_000)
    assert look_up(symbolizer, [mapping])[0].function == ""
    assert symbolizer.take_losses() == {DropReason.SYMBOL_LIMIT: 1}


@pytest.mark.parametrize(
    "path", ["", "//anon", "/dev/zero (deleted)", "[heap]", "[anon:v8]", "/memfd:jit (deleted)"]
)
def test_memory_without_a_file_folds_into_one_frame(files: OpenFiles, path: str) -> None:
    mapping = Mapping(0x10000, 0x90000, 0, path)
    frames = Symbolizer(files).user_frames(
        process([mapping]), np.arange(0x10000, 0x90000, 64, dtype=np.uint64)
    )
    assert set(frames) == {Frame(FrameKind.JIT, "", "[jit]")}


def test_order_is_kept_for_any_order_of_addresses(files: OpenFiles, tmp_path: Path) -> None:
    mappings = [library(tmp_path / str(i), 50, salt=f"_{i}_") for i in range(5)]
    rows = [(i % 5, i % 50) for i in np.random.default_rng(1).permutation(250).tolist()]
    addrs = np.array([mappings[m].start_addr + 4 * f for m, f in rows], np.uint64)
    frames = Symbolizer(files).user_frames(process(mappings), addrs)
    assert [frame.function for frame in frames] == [f"f_{m}_{f}" for m, f in rows]


def test_no_addresses_and_no_mappings(files: OpenFiles) -> None:
    symbolizer = Symbolizer(files)
    assert symbolizer.user_frames(process([]), np.empty(0, np.uint64)) == []
    assert symbolizer.user_frames(process([]), np.array([5], np.uint64))[0].mapping == "[unmapped]"


def test_a_process_whose_file_is_ever_another_takes_no_time_from_others(
    files: OpenFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each change makes its symbols be read anew, until it has no time left; what others map is read as before."""
    monkeypatch.setattr(reading_cost, "CPU_SHARE", 1e-9)
    symbolizer = Symbolizer(files)
    symbolizer._loading = reading_cost.ProcessBudgets(burst_ns=0)
    restless = library(tmp_path / "1", 10, "first")
    assert look_up(symbolizer, [restless])[0].function == "ffirst2"
    library(tmp_path / "1", 10, "changed")
    assert look_up(symbolizer, [restless])[0].function == ""
    assert symbolizer.take_losses() == {DropReason.SYMBOL_LIMIT: 1}
    other = library(tmp_path / "2", 10, "other")
    frames = symbolizer.user_frames(
        Process(7, 7, 1, "other", "/bin/other", mappings=[other]), np.array([other.start_addr + 8], np.uint64)
    )
    assert frames[0].function == "fother2"
