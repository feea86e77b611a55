"""A backup is of one moment, is made while a collector takes windows, and is restored whole or not at all."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import Any

import grpc
import pytest

from collector.cli import main
from collector.debuginfo.files import DEBUG, FOLDER, DebugFiles
from collector.debuginfo.segments import Segment
from collector.debuginfo.workers import Inspection
from collector.keeping.backup_folder import read_manifest
from collector.keeping.backup_pieces import BackupPieces
from collector.keeping.backup_writing import Earlier, write_backup
from collector.keeping.restore import check_backup, refuse_over_data, restore
from collector.store.consistency import differences
from collector.store.migrate import migrate
from collector.store.open import open_store
from collector.tokens.book import TokenBook
from collector.tokens.token import Scope
from fleetprof.errors import InputError, UnavailableError
from fleetprof.v1 import ingest_pb2, ingest_pb2_grpc
from tests.store.clickhouse_server import ClickHouseServer
from tests.store.pushes import Row, push_request, recent_window_s
from tests.store.test_ingest_command import run, running

pytestmark = pytest.mark.store

ACCEPTED = ingest_pb2.PushResponse.STATUS_ACCEPTED
DUPLICATE = ingest_pb2.PushResponse.STATUS_DUPLICATE
FUNCTIONS = 40

LOOK = """
import json, sys
from tests.store.test_backup import look
print(json.dumps(look(sys.argv[1], **json.loads(sys.argv[2]))))
"""
TABLES = "SELECT name FROM system.tables WHERE database = currentDatabase() AND name LIKE 'backup_of_%%'"
WINDOWS = "SELECT sequence, rows FROM windows WHERE agent_id = 'stream' ORDER BY sequence"
# A stack is named after its window, so samples say which windows they are of.
SAMPLES = (
    "SELECT toUInt64(substring(leaf, 1, 6)) AS window, count() AS n, sum(value) AS v FROM ("
    " SELECT stack, value FROM samples WHERE service = 'shop') AS a ALL INNER JOIN ("
    " SELECT DISTINCT stack, leaf FROM ("
    " SELECT DISTINCT stack, frames[1] AS id FROM stacks WHERE service = 'shop') AS s ALL INNER JOIN ("
    " SELECT DISTINCT id, function AS leaf FROM frames) AS f USING id) AS b USING stack"
    " GROUP BY window ORDER BY window"
)


def look(where: str, **questions: str) -> dict[str, list[list[str]]]:
    """What a store says, and where its roll-ups differ from its samples."""
    store = open_store(where)
    found = {"differences": [list(map(str, astuple(each))) for each in differences(store)]}
    for name, sql in questions.items():
        rows = store.query((sql, {}))
        found[name] = [list(map(str, row)) for row in zip(*rows.values(), strict=True)]
    store.close()
    return found


def look_into(data: Path, store: str, **questions: str) -> dict[str, list[list[str]]]:
    """The same; an embedded store, of which a process can have one, is asked by another process."""
    if store:
        return look(store, **questions)
    command = [sys.executable, "-c", LOOK, str(data), json.dumps(questions)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, list[list[str]]] = json.loads(done.stdout)
    return answer


class Stream:
    """Windows pushed one after the other on a thread; each has stacks of its own."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._newest = recent_window_s(2000)
        self._stopping = threading.Event()
        self.acknowledged = 0
        self.failure = ""
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def request(self, sequence: int) -> Any:
        rows = [Row(f"{sequence:06}-{place};main", sequence) for place in range(FUNCTIONS)]
        labels = {"host": "h", "service": "shop"}
        return push_request(rows, labels, sequence, self._newest + 10 * sequence, "stream")

    def push(self, address: str, sequence: int) -> int:
        with grpc.insecure_channel(address) as channel:
            return ingest_pb2_grpc.IngestServiceStub(channel).Push(self.request(sequence), timeout=60).status

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                status = self.push(self._address, self.acknowledged + 1)
                assert status == ACCEPTED
                self.acknowledged += 1
        except (grpc.RpcError, AssertionError) as error:
            self.failure = repr(error)

    def wait_for(self, windows: int) -> None:
        """Until so many are acknowledged."""
        deadline = threading.Event()
        for _ in range(1200):
            if self.acknowledged >= windows or self.failure:
                break
            deadline.wait(0.1)
        assert self.acknowledged >= windows, self.failure

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()
        assert not self.failure


QUESTIONS = {
    "windows": WINDOWS,
    "samples": SAMPLES,
    "rolled_up": "SELECT sum(captures) AS n FROM stack_1h",
    "pending": "SELECT ts FROM (SELECT ts, collector, argMax(pending, version) AS p FROM rollups_pending"
    " GROUP BY ts, collector) WHERE p = 1",
}


@contextmanager
def book_of(data: Path) -> Iterator[TokenBook]:
    book = TokenBook(data)
    yield book
    book.close()


@contextmanager
def streaming(address: str) -> Iterator[Stream]:
    stream = Stream(address)
    try:
        yield stream
    finally:
        stream.stop()


def arguments(data: Path, store: str) -> list[str]:
    return ["--data", str(data), *(["--store", store] if store else [])]


@pytest.mark.parametrize("source", ["embedded", "server"])
def test_backup_of_a_running_collector_and_restore_into_the_other_kind(
    source: str, clickhouse: ClickHouseServer, tmp_path: Path
) -> None:
    server = clickhouse.url(f"backup_{os.urandom(6).hex()}")
    stores = ("", server) if source == "embedded" else (server, "")
    old, new, backup = tmp_path / "old", tmp_path / "new", tmp_path / "backup"
    with book_of(old) as book:
        book.create("ann", [Scope.READ])
    debug = keep_with_holes(old / FOLDER)
    with running(old, *arguments(old, stores[0])[2:]) as (process, address):
        with streaming(address) as stream:
            stream.wait_for(2)
            first = run("backup", tmp_path / "first", *arguments(old, stores[0]))
            assert (first.returncode, first.stdout[:6]) == (0, "Wrote "), first.stderr
            stream.wait_for(stream.acknowledged + 2)
            before = stream.acknowledged
            made = run("backup", backup, "--since", tmp_path / "first", *arguments(old, stores[0]))
            after = stream.acknowledged + 1
            assert (made.returncode, made.stdout[:6]) == (0, "Wrote "), made.stderr
            stream.wait_for(after + 2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert look_into(old, stores[0], left=TABLES) == {"left": [], "differences": []}
    shutil.rmtree(tmp_path / "first")  # what did not change since is in the second one, too
    restored = run("restore", backup, *arguments(new, stores[1]))
    assert (restored.returncode, restored.stdout[:9]) == (0, "Restored "), restored.stderr
    again = new / FOLDER / debug.name
    assert again.read_bytes() == debug.read_bytes()
    assert again.stat().st_blocks * 512 < again.stat().st_size / 2
    (about,) = (new / FOLDER).glob("*.json")
    assert about.read_bytes() == (old / FOLDER / about.name).read_bytes()
    assert about.stat().st_mtime_ns == (old / FOLDER / about.name).stat().st_mtime_ns
    with book_of(new) as book:
        assert [token.name for token in book.all()] == ["ann"]
    assert (new / "tokens.sqlite3").stat().st_mode & 0o777 == 0o600
    last = expect_whole_windows(look_into(new, stores[1], **QUESTIONS))
    assert before <= last <= after
    with running(new, *arguments(new, stores[1])[2:]) as (process, address):
        assert [stream.push(address, n) for n in (1, last)] == [DUPLICATE, DUPLICATE]
        assert stream.push(address, last + 1) == ACCEPTED
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def keep_with_holes(folder: Path) -> Path:
    """Keep a debug file most of which is a hole; where it is."""
    files = DebugFiles(folder, 1 << 30)
    with files.incoming() as incoming:
        incoming.write(os.urandom(100_000))
        incoming.seek(4 << 20, os.SEEK_CUR)
        incoming.write(os.urandom(1000))
        incoming.truncate(incoming.tell() + (1 << 20))
        found = Inspection("cd" * 20, True, True, [Segment(0, 100, 0)], 0)
        kept = files.keep(incoming, found, "holes.debug").file
    return folder / f"{kept.build_id}.{kept.version}.{DEBUG}"


def expect_whole_windows(found: dict[str, list[list[str]]]) -> int:
    """Each window is there with all of its rows and sums, up to the last one, which is returned."""
    last = len(found["windows"])
    assert found["windows"] == [[str(n), str(FUNCTIONS)] for n in range(1, last + 1)]
    assert found["samples"] == [[str(n), str(FUNCTIONS), str(FUNCTIONS * n)] for n in range(1, last + 1)]
    assert found["rolled_up"] == [[str(FUNCTIONS * last)]]
    assert found["pending"] == []
    assert found["differences"] == []
    return last


def test_backup_after_kill_9_has_what_was_in_the_journal(tmp_path: Path) -> None:
    """No collector runs: the command finishes its journal first."""
    data, new, backup = tmp_path / "data", tmp_path / "new", tmp_path / "backup"
    with running(data) as (process, address):
        with streaming(address) as stream:
            stream.wait_for(2)
        process.kill()
        process.wait()
    assert list((data / "journal").glob("*.batch"))
    made = run("backup", backup, "--data", data)
    assert made.returncode == 0, made.stderr
    assert run("restore", backup, "--data", new).returncode == 0
    assert expect_whole_windows(look_into(new, "", **QUESTIONS)) == stream.acknowledged


@pytest.fixture
def small_backup(database: str, tmp_path: Path) -> Path:
    """A backup of a store with some rows."""
    store = open_store(database)
    migrate(store)
    columns = {"service": ["s"], "type": ["cpu"], "series": [1], "value": [1], "captures": [1]}
    store.insert("series_1m", {"ts": [recent_window_s()], **columns}, "")
    store.insert("frames", {"id": [1], "kind": [1], "function": ["f"], "mapping": [""], "build_id": [""],
                            "offset": [0], "file": [""], "line": [0], "updated": [1]}, "")  # fmt: skip
    folder = tmp_path / "backup"
    folder.mkdir()
    pieces = BackupPieces(store, tmp_path)
    write_backup(folder, pieces)
    pieces.close()
    store.close()
    return folder


def restore_into(database: str, data: Path, folder: Path) -> None:
    manifest = check_backup(folder)
    store = open_store(database)
    try:
        refuse_over_data(store, data)
        restore(store, data, folder, manifest)
        assert list(differences(store)) == []
    finally:
        store.close()


def test_nothing_is_restored_over_data(small_backup: Path, database: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is something already"):
        restore_into(database, tmp_path, small_backup)  # the one that it was made of
    fresh = database.replace("/test_", "/test_other_")
    data = tmp_path / "data"
    data.mkdir()
    (data / "alerts.sqlite3").touch()
    with pytest.raises(InputError, match=r"something already .*alerts\.sqlite3"):
        restore_into(fresh, data, small_backup)
    (data / "alerts.sqlite3").unlink()
    restore_into(fresh, data, small_backup)


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "no manifest", "newer", "outside"])
def test_a_damaged_backup_is_refused_before_anything_is_written(
    damage: str, small_backup: Path, database: str, tmp_path: Path
) -> None:
    manifest = small_backup / "manifest.json"
    victim = small_backup / next(file.path for file in read_manifest(small_backup).files)
    facts = json.loads(manifest.read_text())
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    if damage == "flip":
        victim.write_bytes(data)
    elif damage == "cut":
        victim.write_bytes(victim.read_bytes()[:-1])
    elif damage == "remove":
        victim.unlink()
    elif damage == "no manifest":
        manifest.unlink()
    elif damage == "newer":
        manifest.write_text(json.dumps({**facts, "schema": 999}))
    else:
        facts["files"][0]["path"] = "../../etc/passwd"
        manifest.write_text(json.dumps(facts))
    assert main(["backup", str(small_backup), "--verify"]) in (1, 2) or damage == "newer"
    fresh = database.replace("/test_", "/test_fresh_")
    with pytest.raises((InputError, UnavailableError)) as refused:
        restore_into(fresh, tmp_path / "data", small_backup)
    assert any(text in str(refused.value) for text in ("damaged", "no backup", "newer fleetprof"))
    store = open_store(fresh)
    assert (
        store.query(("SELECT name FROM system.tables WHERE database = currentDatabase()", {}))["name"].size
        == 0
    )
    store.close()


def test_a_backup_takes_what_has_not_changed_from_an_earlier_one(
    small_backup: Path, database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The two share those files on disk, and every file that changed is anew in the second one."""
    store = open_store(database)
    columns = {"service": ["s"], "type": ["cpu"], "series": [1], "value": [1], "captures": [1]}
    store.insert("series_1m", {"ts": [recent_window_s() - 86400], **columns}, "another day")
    earlier = Earlier(small_backup, check_backup(small_backup))
    second = tmp_path / "second"
    second.mkdir()
    pieces = BackupPieces(store, tmp_path, earlier.by_fingerprint())
    manifest = write_backup(second, pieces, earlier)
    pieces.close()
    store.close()
    inodes = {path.stat().st_ino for path in small_backup.rglob("*.parquet")}
    shared = {file.path for file in manifest.files if (second / file.path).stat().st_ino in inodes}
    changed = {file.table for file in manifest.files if file.path not in shared}
    assert changed == {"series_1m"}
    assert len(shared) == len(manifest.files) - 1
    assert main(["backup", str(second), "--verify"]) == 0
    assert "is whole: " in capsys.readouterr().out
    restore_into(database.replace("/test_", "/test_since_"), tmp_path / "data", second)


def test_what_cannot_be_backed_up_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    for command, folder, code, text in (
        ("backup", tmp_path / "full", 2, "is not empty"),
        ("backup", Path("/proc/nothing"), 2, "Cannot write a backup to /proc/nothing"),
        ("backup", tmp_path / "b", 3, "There is no embedded store"),
        ("restore", tmp_path / "full", 2, "it has no manifest.json"),
    ):
        assert main([command, str(folder), "--data", str(tmp_path / "none")]) == code
        assert text in capsys.readouterr().err
