"""Debug files on disk: bounded, never half there, shared by processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from collector.debuginfo.files import DEBUG, DebugFiles, Kept
from collector.debuginfo.segments import Segment
from collector.debuginfo.workers import Inspection
from fleetprof.errors import UnavailableError

CODE = [Segment(0x1000, 0x500, 0x401000)]


def keep(files: DebugFiles, build_id: str, size: int = 1000, lines: bool = True) -> Kept:
    with files.incoming(size) as incoming:
        incoming.write(os.urandom(size))
        return files.keep(incoming, Inspection(build_id, lines, True, CODE, 0x400000), f"{build_id}.debug")


def use_at(files: DebugFiles, build_id: str, seconds: float) -> None:
    os.utime(files.folder / f"{build_id}.json", (seconds, seconds))


def content(files: DebugFiles, build_id: str) -> bytes:
    file = files.find(build_id)
    assert file
    opened = files.open(file, DEBUG)
    assert opened
    with opened:
        return opened.read()


def test_the_least_recently_used_gives_way(tmp_path: Path) -> None:
    files = DebugFiles(tmp_path, 100_000)
    for number, build_id in enumerate(["aa" * 4, "bb" * 4, "cc" * 4]):
        assert keep(files, build_id, 30_000).evicted == []
        use_at(files, build_id, 1000.0 + number)
    content(files, "aa" * 4)  # used now, though it came first
    assert keep(files, "dd" * 4, 30_000).evicted == ["bb" * 4]
    assert {file.build_id for file in files.all()} == {"aa" * 4, "cc" * 4, "dd" * 4}
    assert files.used_bytes() <= 100_000
    assert files.evicted == 1


def test_the_new_file_stays_though_it_alone_fills_the_limit(tmp_path: Path) -> None:
    files = DebugFiles(tmp_path, 50_000)
    keep(files, "aa" * 4, 30_000)
    assert keep(files, "bb" * 4, 50_000).evicted == ["aa" * 4]
    assert len(content(files, "bb" * 4)) == 50_000


def test_symbols_do_not_replace_lines(tmp_path: Path) -> None:
    files = DebugFiles(tmp_path, 1 << 20)
    assert not keep(files, "aa" * 4, lines=False).better
    with_lines = keep(files, "aa" * 4)
    assert not with_lines.better
    assert keep(files, "aa" * 4, lines=False).better
    assert files.find("aa" * 4) == files.all()[0]
    assert files.all()[0].version == with_lines.file.version
    assert len(list(tmp_path.glob("*.debug"))) == 1


def test_what_is_noted_is_of_one_version(tmp_path: Path) -> None:
    files = DebugFiles(tmp_path, 1 << 20)
    old = keep(files, "aa" * 4).file
    new = keep(files, "aa" * 4).file
    files.note(old, named=True)
    found = files.find("aa" * 4)
    assert found
    assert not found.named
    files.note(new, named=True, problem="It is odd.")
    found = files.find("aa" * 4)
    assert found
    assert (found.named, found.problem) == (True, "It is odd.")


def test_a_crash_leaves_nothing_behind(tmp_path: Path) -> None:
    """A process that ends while it writes: its part goes, that of one that lives stays."""
    files = DebugFiles(tmp_path, 1 << 20)
    keep(files, "aa" * 4)
    (tmp_path / f"{'aa' * 4}.{'0' * 16}.symcache").write_bytes(b"of a version that is gone")
    die = (
        "import os, sys; from pathlib import Path; from collector.debuginfo.files import DebugFiles\n"
        "with DebugFiles(Path(sys.argv[1]), 1 << 20).incoming() as file: file.write(b'x' * 100000); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", die, str(tmp_path)], check=True)
    with files.incoming() as living:
        files.sweep()
        assert [path.name for path in (tmp_path / "incoming").iterdir()] == [Path(living.name).name]
    assert sorted(path.suffix for path in tmp_path.iterdir()) == ["", ".debug", ".json"]
    assert len(content(files, "aa" * 4)) == 1000


def test_another_process_sees_what_is_kept(tmp_path: Path) -> None:
    one, other = DebugFiles(tmp_path, 1 << 20), DebugFiles(tmp_path, 1 << 20)
    keep(one, "aa" * 4)
    assert content(other, "aa" * 4) == content(one, "aa" * 4)
    assert other.remove("aa" * 4)
    assert one.all() == []
    assert not one.remove("aa" * 4)
    assert one.used_bytes() == 0


def test_a_damaged_description_counts_as_missing(tmp_path: Path) -> None:
    files = DebugFiles(tmp_path, 1 << 20)
    keep(files, "aa" * 4)
    (tmp_path / f"{'aa' * 4}.json").write_text('{"build_id": 5')
    assert files.all() == []
    keep(files, "aa" * 4)
    assert len(content(files, "aa" * 4)) == 1000


@pytest.mark.parametrize("build_id", ["../../etc/passwd", "", "zz" * 8, "aa/bb", "a" * 200])
def test_what_is_no_build_id_names_no_file(tmp_path: Path, build_id: str) -> None:
    files = DebugFiles(tmp_path / "debuginfo", 1 << 20)
    (tmp_path / "secret.json").write_text("{}")
    assert files.find(build_id) is None
    assert not files.remove(build_id)


def test_a_disk_without_room_is_told(tmp_path: Path) -> None:
    files = DebugFiles(tmp_path, 1 << 20, reserve_bytes=1 << 60)
    with pytest.raises(UnavailableError, match="no room"), files.incoming(10):
        pass


def test_offsets_become_distances_from_the_start(tmp_path: Path) -> None:
    file = keep(DebugFiles(tmp_path, 1 << 20), "aa" * 4).file
    assert file.address(0x1000) == 0x1000
    assert file.address(0x14FF) == 0x14FF
    assert file.address(0xFFF) is None
    assert file.address(0x1500) is None
