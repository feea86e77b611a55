"""A disk that another program fills while ClickHouse merges: chDB ends such a merge with files cut short."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.store.fill_disk import BLOCKS, ROWS

ROUNDS = 6
"""A merge may end before the disk is full; hardly ever so many."""
DISK = 48 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def ran(*arguments: object) -> str:
    command = [sys.executable, "-m", "tests.store.fill_disk", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert not done.returncode, done.stderr
    return done.stdout


def cut_short(disk: Path, *mend: str) -> str:
    """What a process said in which a merge was cut short."""
    for _ in range(ROUNDS):
        if (said := ran(disk, "merge", *mend)).startswith("cut 1"):
            return said
        for path in disk.iterdir():
            subprocess.run(["rm", "-rf", path], check=True)
    pytest.fail("no merge met a full disk")


def test_a_merge_that_a_full_disk_cut_short_is_taken_back(disk: Path) -> None:
    rows = BLOCKS * ROWS
    assert cut_short(disk, "mend").splitlines()[1] == f"rows {rows} texts {rows} aside 0"


def test_a_start_after_it_finds_the_sources(disk: Path) -> None:
    cut_short(disk)
    rows = BLOCKS * ROWS
    assert ran(disk, "count").strip() == f"rows {rows} texts {rows} aside 1"
