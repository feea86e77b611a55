"""What an agent finds worth offering, and what it reads of it."""

import os
import random
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.connection import Connection
from agent.debug_offers.candidate import Candidate, Changed, candidate_of
from agent.debug_offers.sightings import MAX_WAITING, SEEN_AGAIN_S, Sighting, Sightings
from agent.debug_offers.upload import Upload
from agent.symbolize.object_cache import FileKey
from agent.symbolize.object_symbols import ObjectSymbols
from collector.debuginfo.workers import WorkerLimits, Workers
from fleetprof.frames import Frame, FrameKind
from fleetprof.losses import DropReason
from fleetprof.setting_kinds import Address
from tests.unit.elf_images import Symbol, image
from tests.workloads.stripped import Stripped, build_stripped

NAMED, NAMELESS = Frame(FrameKind.NATIVE, "f", "m"), Frame(FrameKind.NATIVE, "", "m", "ab", 1)
WITH_LINE = Frame(FrameKind.GO, "f", "m", file="f.go", line=1)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Stripped:
    return build_stripped("cpp", tmp_path_factory.mktemp("cpp"))


@pytest.fixture(autouse=True)
def nothing_stays_open(tmp_path: Path, built: Stripped) -> Iterator[None]:
    """Of files that tests made; other tests of this process may leave threads that open some."""
    yield
    folders = str(tmp_path), str(built.whole.parent)
    links = [os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
    assert not [link for link in links if link.startswith(folders)]


def sighting(
    path: Path, *roots: Path, nameless: bool = True, all_tables: bool = False, too_much: bool = False
) -> Sighting:
    fd = os.open(path, os.O_RDONLY)
    return Sighting(fd, f"/opt/{path.name}", tuple(map(str, roots)), nameless, all_tables, too_much)


def copied(candidate: Candidate, path: Path, part_bytes: int = 1000) -> Path:
    """What a collector makes of the parts."""
    with path.open("wb") as file:
        for offset, data in candidate.read(part_bytes):
            assert 0 < len(data) <= part_bytes
            file.seek(offset)
            file.write(data)
        file.truncate(candidate.size)
    return path


def test_what_is_sent_of_a_program_names_as_much_as_all_of_it(built: Stripped, tmp_path: Path) -> None:
    """And holds nothing of its code and data: those of this program are 1 KiB of text, say."""
    workers = Workers(WorkerLimits(cpu_s=60, wall_s=300))
    candidate = candidate_of(sighting(built.whole))
    assert candidate
    assert (candidate.build_id, candidate.name) == (built.build_id, built.whole.name)
    assert candidate.lines
    assert candidate.sent_size < candidate.size == built.whole.stat().st_size
    copy = copied(candidate, tmp_path / "copy")
    candidate.close()
    caches = []
    for path in (copy, built.whole):
        with path.open("rb") as file, (tmp_path / f"{path.name}.cache").open("w+b") as cache:
            workers.convert(file, cache)
            cache.seek(0)
            caches.append((workers.inspect(file), cache.read()))
    assert caches[0] == caches[1]
    (code,) = caches[0][0].segments
    assert copy.read_bytes()[code.offset : code.offset + code.size] == bytes(code.size)


def test_the_debug_file_beside_a_stripped_program_is_found(built: Stripped, tmp_path: Path) -> None:
    assert candidate_of(sighting(built.stripped)) is None
    folder = tmp_path / f"usr/lib/debug/.build-id/{built.build_id[:2]}"
    folder.mkdir(parents=True)
    shutil.copy(built.debug, folder / f"{built.build_id[2:]}.debug")
    for known, nameless in ((False, True), (True, False)):
        found = candidate_of(sighting(built.stripped, tmp_path, all_tables=known))
        assert found
        assert (found.size, found.name) == (built.debug.stat().st_size, built.stripped.name)
        assert (found.lines, found.nameless) == (True, nameless)
        found.close()
    other = candidate_of(sighting(built.stripped, tmp_path, all_tables=True, too_much=True))
    assert other
    assert other.nameless, "its tables were too much for the agent's memory"
    other.close()


@pytest.mark.parametrize(
    ("nameless", "too_much", "offered"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_symbols_alone_are_offered_where_they_could_not_be_used(
    tmp_path: Path, nameless: bool, too_much: bool, offered: bool
) -> None:
    path = tmp_path / "program"
    path.write_bytes(image([Symbol("main", 0x401000, 16)]))
    found = candidate_of(sighting(path, nameless=nameless, too_much=too_much))
    assert (found is not None) == offered
    if found:
        assert (found.lines, found.build_id) == (False, "11" * 20)
        found.close()


def test_a_file_that_changes_is_not_sent_and_one_that_is_deleted_is(built: Stripped, tmp_path: Path) -> None:
    path = tmp_path / "program"
    shutil.copy(built.whole, path)
    deleted = candidate_of(sighting(path))
    path.unlink()
    assert deleted
    copied(deleted, tmp_path / "copy")
    deleted.close()
    shutil.copy(built.whole, path)
    for change in (lambda: os.utime(path, (1, 1)), lambda: os.truncate(path, 100)):
        candidate = candidate_of(sighting(path))
        assert candidate
        parts = candidate.read(1000)
        next(parts)
        change()
        with pytest.raises(Changed):
            list(parts)
        candidate.close()
    assert candidate_of(sighting(path)) is None


@given(seed=st.integers(0, 1 << 32), wild=st.booleans())
def test_hostile_files_offer_nothing_outside_of_them(built: Stripped, seed: int, wild: bool) -> None:
    """Real files with bytes changed, in headers or anywhere, and cut."""
    chance = random.Random(seed)
    data = bytearray((built.whole if seed & 1 else built.debug).read_bytes())
    start = int.from_bytes(data[0x28:0x30], "little")
    for _ in range(chance.randint(1, 8)):
        place = (
            chance.randrange(len(data)) if wild else chance.choice([*range(0x80), *range(start, len(data))])
        )
        data[place] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
    fd = os.memfd_create("hostile")
    os.write(fd, data[: chance.randint(0, len(data))] if chance.random() < 0.2 else data)
    size = os.fstat(fd).st_size
    found = candidate_of(Sighting(fd, "/opt/x", ("/nowhere",), bool(seed & 2), False, bool(seed & 4)))
    if found:
        assert 0 < found.sent_size <= found.size == size
        ends = [end for _, end in found.parts]
        assert all(0 <= begin < end <= size for begin, end in found.parts)
        assert ends == sorted(ends)
        assert sum(len(part) for _, part in found.read(4096)) == found.sent_size
        found.close()


class Seen:
    """Sightings with a clock that a test turns."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.sightings = Sightings(lambda: self.now_s)
        self.fd = os.memfd_create("seen")

    def see(
        self, inode: int, *frames: Frame, build_id: str = "ab", loss: DropReason | None = None
    ) -> list[Sighting]:
        key: FileKey = (1, inode, 3, 4)
        self.sightings.see(key, self.fd, "/opt/x", 7, ObjectSymbols(build_id, loss=loss), list(frames))
        return self.taken()

    def taken(self) -> list[Sighting]:
        taken = self.sightings.take()
        for each in taken:
            os.close(each.fd)
        return taken


def test_files_are_noted_once_and_again_when_they_lack_more() -> None:
    seen = Seen()
    assert not seen.see(1, NAMELESS), "off until somebody asks"
    seen.sightings.turn(True)
    assert not seen.see(1, WITH_LINE), "lacks nothing"
    assert not seen.see(1, NAMELESS, build_id="")
    (found,) = seen.see(1, NAMED, WITH_LINE)
    assert (found.nameless, found.too_much, found.roots) == (False, False, ("/proc/7/root", "/"))
    assert not seen.see(1, NAMED)
    (found,) = seen.see(1, NAMED, NAMELESS, loss=DropReason.SYMBOL_LIMIT)
    assert found.nameless
    assert found.too_much
    assert not seen.see(1, NAMED)
    seen.now_s += SEEN_AGAIN_S
    assert seen.see(1, NAMED)
    for inode in range(MAX_WAITING + 10):
        seen.sightings.see((2, inode, 0, 0), seen.fd, "/opt/x", 7, ObjectSymbols("ab"), [NAMED])
    assert len(seen.taken()) == MAX_WAITING
    seen.sightings.see((2, MAX_WAITING, 0, 0), seen.fd, "/opt/x", 7, ObjectSymbols("ab"), [NAMED])
    seen.sightings.close()
    assert not seen.taken()
    os.close(seen.fd)


class Waits(threading.Event):
    """Notes how long was waited, and goes on at once."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.seconds.append(timeout or 0.0)
        return False


def test_parts_are_paced_and_windows_go_first() -> None:
    connection, waits, windows = Connection(Address("127.0.0.1", 1)), Waits(), [5, 3, 1, *[0] * 20]
    upload = Upload(connection, 100_000_000, lambda: windows.pop(0), waits)
    upload._pace(50_000_000)
    assert waits.seconds == [0.0, 1.0, 1.0], "two looks at the windows that wait"
    for _ in range(10):
        upload._pace(50_000_000)
    assert 4.0 < waits.seconds[-1] <= 5.0, "the sum of all parts before"
    connection.close()
