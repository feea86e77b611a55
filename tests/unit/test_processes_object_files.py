"""Executables kept open: by whom they are found, what is refused, what is closed first."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.object_files import KEEP_NS, ObjectFiles, open_mapped
from agent.process import Mapping, Process

ME = Process(os.getpid(), os.getpid(), 0, "me", "/proc/self/exe")


def mapping(path: Path, device: int = 1, inode: int | None = None) -> Mapping:
    return Mapping(0x1000, 0x2000, 0, str(path), device, path.stat().st_ino if inode is None else inode)


@pytest.fixture
def files() -> Iterator[ObjectFiles]:
    kept = ObjectFiles(3)
    yield kept
    kept.close()


def test_a_remembered_file_outlives_its_name(files: ObjectFiles, tmp_path: Path) -> None:
    path = tmp_path / "tool"
    path.write_bytes(b"content")
    one = mapping(path)
    files.remember(ME, one)
    path.unlink()
    fd = files.fd(one)
    assert fd is not None
    assert os.pread(fd, 100, 0) == b"content"
    assert files.fd(mapping(tmp_path)) is None


def test_another_file_under_the_same_path_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tool"
    path.write_bytes(b"new")
    assert open_mapped(os.getpid(), 0, mapping(path, inode=path.stat().st_ino + 1)) is None


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    fifo, folder, sock = tmp_path / "fifo", tmp_path / "folder", tmp_path / "sock"
    os.mkfifo(fifo)
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(sock))
        for path in (fifo, folder, sock, Path("/dev/null"), Path("/dev/zero")):
            assert open_mapped(os.getpid(), 0, mapping(path)) is None


def test_the_least_used_file_is_closed_first_and_opened_again_when_asked(
    files: ObjectFiles, tmp_path: Path
) -> None:
    ones = []
    for number in range(4):
        path = tmp_path / str(number)
        path.write_bytes(str(number).encode())
        ones.append(mapping(path))
    before = len(os.listdir("/proc/self/fd"))
    for one in ones[:3]:
        files.remember(ME, one)
    assert files.fd(ones[0]) is not None
    files.remember(ME, ones[3])
    assert len(files) == 3
    assert len(os.listdir("/proc/self/fd")) == before + 3
    assert not files.knows((ones[1].device, ones[1].inode))
    fd = files.fd(ones[1])
    assert fd is not None
    assert os.pread(fd, 1, 0) == b"1"
    assert len(files) == 3


def test_unused_files_are_closed_so_that_disks_can_be_unmounted(files: ObjectFiles, tmp_path: Path) -> None:
    path = tmp_path / "tool"
    path.write_bytes(b"x")
    before = len(os.listdir("/proc/self/fd"))
    files.remember(ME, mapping(path))
    files.expire(time.monotonic_ns() + KEEP_NS // 2)
    assert len(files) == 1
    files.expire(time.monotonic_ns() + KEEP_NS)
    assert len(files) == 0
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_build_id_is_the_one_the_linker_wrote(files: ObjectFiles) -> None:
    path = Path(sys.executable).resolve()
    notes = subprocess.run(["readelf", "-n", path], capture_output=True, text=True, check=True).stdout
    files.remember(ME, mapping(path))
    assert re.findall(r"Build ID: (\w+)", notes) == [files.build_id(mapping(path))]
    assert files.build_id(mapping(Path("/etc"))) == ""


def test_a_link_inside_a_root_cannot_lead_out_of_it(tmp_path: Path) -> None:
    """Paths are resolved beneath the root of the process: /proc's magic links are no way around it."""
    link = tmp_path / "link"
    link.symlink_to("/proc/self/exe")
    assert open_mapped(os.getpid(), 0, mapping(link)) is None
