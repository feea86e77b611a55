"""Tables on disk, rows in pages, and the room that mappings take in the kernel."""

import itertools
import os
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.symbolize.elf import ElfFile, FileBytes
from agent.unwind.build import FrameSection
from agent.unwind.kernel_tables import Ranges
from agent.unwind.layout import PAGE_BYTES, ROW, ROWS_PER_LINE
from agent.unwind.pages import PagePacker
from agent.unwind.table_files import ENDING, TableFiles, checked_size, key_of
from tests.unit.test_unwind_tables import compiled

PAGES = 4

row_lists = st.lists(
    st.tuples(st.integers(0, PAGES * PAGE_BYTES - 1), st.integers(0, 65534)), max_size=60
).map(lambda rows: sorted(dict(rows).items()))


@given(row_lists, st.lists(st.integers(0, 60), max_size=4))
def test_packed_rows_are_found_again(rows: list[tuple[int, int]], cuts: list[int]) -> None:
    packer = PagePacker()
    given_rows = np.array(rows, ROW)
    batches = np.split(given_rows, sorted(min(cut, len(rows)) for cut in cuts))
    words = np.concatenate(
        [packer.add(batch) for batch in batches] + [packer.finish(PAGES, PAGES * PAGE_BYTES)]
    )
    directory = packer.directory
    assert len(directory) == PAGES + 1
    assert len(words) == directory[-1] * ROWS_PER_LINE
    for pc in {0, PAGES * PAGE_BYTES - 1, *(pc for pc, _ in rows), *(max(pc - 1, 0) for pc, _ in rows)}:
        page = words[directory[pc >> 16] * ROWS_PER_LINE : directory[(pc >> 16) + 1] * ROWS_PER_LINE]
        assert (np.diff(page.astype(np.int64)) >= 0).all()
        at = np.searchsorted(page, (pc & 0xFFFF) << 16 | 0xFFFF, side="right") - 1
        wanted = max((row for row in rows if row[0] <= pc), default=(0, 0))[1]
        assert page[at] & 0xFFFF == wanted


def test_ranges_are_never_shared_and_all_come_back() -> None:
    chance, ranges = random.Random(1), Ranges(100)
    taken: dict[int, int] = {}
    for _ in range(3000):
        if taken and chance.random() < 0.5:
            first = chance.choice(list(taken))
            ranges.give_back(first, taken.pop(first))
        else:
            count = chance.randrange(1, 20)
            place = ranges.take(count)
            if place is not None:
                taken[place] = count
        used = sorted((first, first + count) for first, count in taken.items())
        assert all(left[1] <= right[0] for left, right in itertools.pairwise(used))
        ranges.settle()
    for first, count in taken.items():
        ranges.give_back(first, count)
    ranges.settle()
    assert ranges.take(100) is None, "it rests: a walk may still look at it"
    ranges.settle()
    assert ranges.take(100) == 0


@pytest.fixture
def section(tmp_path: Path) -> FrameSection:
    with compiled(tmp_path).open("rb") as file:
        return FrameSection(ElfFile(FileBytes(file.fileno())))


def table_bytes(files: TableFiles, section: FrameSection) -> bytes:
    file, size = files.table(section)
    with file:
        file.seek(0)
        data = file.read()
        assert len(data) == size
        file.seek(0)
        assert checked_size(file) == size
    return data


def test_a_table_is_built_once_and_again_when_its_file_is_damaged(
    section: FrameSection, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "tables"
    first = table_bytes(TableFiles(folder), section)
    path = folder / (key_of(section) + ENDING)
    assert [path] == list(folder.iterdir())
    number = path.stat().st_ino
    assert table_bytes(TableFiles(folder), section) == first
    assert path.stat().st_ino == number
    for damage in (first[:-64], first[:-1] + b"x", b"x" + first[1:], b""):
        path.write_bytes(damage)
        assert table_bytes(TableFiles(folder), section) == first
        assert path.read_bytes() == first
    assert "is damaged" in caplog.text
    assert folder.stat().st_mode & 0o077 == 0


def test_the_folder_is_kept_within_its_limit_and_leftovers_go(section: FrameSection, tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    folder.mkdir()
    old = folder / f"old{ENDING}"
    old.write_bytes(bytes(1 << 20))
    os.utime(old, (1, 1))
    (folder / "left-by-a-kill").write_bytes(b"half")
    data = table_bytes(TableFiles(folder, limit_bytes=len(data_of(section, tmp_path)) + 4096), section)
    assert [path.stat().st_size for path in folder.iterdir()] == [len(data)]


def data_of(section: FrameSection, tmp_path: Path) -> bytes:
    return table_bytes(TableFiles(tmp_path / "other"), section)


def test_without_a_folder_tables_are_built_in_memory(section: FrameSection, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    assert table_bytes(TableFiles(blocked / "tables"), section) == data_of(section, tmp_path)


def test_the_name_of_a_table_depends_on_all_it_is_made_of(section: FrameSection) -> None:
    names = {key_of(section)}
    for name in ("vaddr", "base", "code_end", "machine"):
        setattr(section, name, getattr(section, name) + 1)
        names.add(key_of(section))
    section.data += b"x"
    assert len({*names, key_of(section)}) == 6
