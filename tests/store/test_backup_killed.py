"""A restore that is killed at any point leaves what no collector starts on, and is simply started again."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from collector.cli import main
from collector.debuginfo.files import DEBUG, FOLDER, DebugFiles
from collector.tokens.token import Scope
from tests.store.clickhouse_server import ClickHouseServer
from tests.store.test_backup import (
    ACCEPTED,
    DUPLICATE,
    QUESTIONS,
    Stream,
    arguments,
    book_of,
    expect_whole_windows,
    look_into,
    streaming,
)
from tests.store.test_ingest_command import run, running
from tests.unit.test_debuginfo_files import keep

pytestmark = pytest.mark.store

BUILD_ID = "ab" * 20
STEPS = (
    ("execute", 1),  # a mark is left
    ("insert samples", 1),  # tables, and some rows
    ("rename tokens.sqlite3.part", 1),  # all rows and not all files
    ("insert migrations", 3),  # all, but for the record that says so
)


class Made(NamedTuple):
    """A backup, and who sent the windows that are in it."""

    folder: Path
    stream: Stream


@pytest.fixture(scope="module")
def backup(clickhouse: ClickHouseServer, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Made of a running collector, with two windows or more, a token and a debug file."""
    folder: Path = tmp_path_factory.mktemp("backup")
    data, store = folder / "data", clickhouse.url("killed_source")
    with book_of(data) as book:
        book.create("ann", [Scope.READ])
    keep(DebugFiles(data / FOLDER, 1 << 30), BUILD_ID)
    with running(data, *arguments(data, store)[2:]) as (process, address):
        with streaming(address) as stream:
            stream.wait_for(2)
        made = run("backup", folder / "made", *arguments(data, store))
        assert made.returncode == 0, made.stderr
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    return Made(folder / "made", stream)


def restore_until(step: str, number: int, backup: Made, *where: str) -> None:
    command = [
        sys.executable,
        "-m",
        "tests.store.killed_restore",
        step,
        str(number),
        str(backup.folder),
        *where,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == -signal.SIGKILL, f"{step} never came: {done.stderr}"


def expect_refused(*where: str) -> None:
    """No collector starts, and it says how to go on."""
    refused = run("run", "--grpc", "127.0.0.1:0", *where)
    assert refused.returncode == 3, refused.stderr
    said = " ".join(refused.stderr.split())
    assert "restore" in said
    assert "was interrupted" in said
    assert "Start it again, it begins anew: fleetprof-collector restore" in said


def test_killed_again_and_again(backup: Made, tmp_path: Path) -> None:
    data = tmp_path / "data"
    where = arguments(data, "")
    for step, number in STEPS:
        restore_until(step, number, backup, *where)
        expect_refused(*where)
    ended = run("restore", backup.folder, *where)
    assert (ended.returncode, ended.stdout[:44]) == (0, "The restore that was interrupted here had al")
    last = expect_whole_windows(look_into(data, "", **QUESTIONS))
    with book_of(data) as book:
        assert [token.name for token in book.all()] == ["ann"]
    (kept,) = DebugFiles(data / FOLDER, 1 << 30).all()
    assert (data / FOLDER / f"{BUILD_ID}.{kept.version}.{DEBUG}").stat().st_size == 1000
    with running(data, *where[2:]) as (_, address):
        assert [backup.stream.push(address, n) for n in (last, last + 1)] == [DUPLICATE, ACCEPTED]


def test_a_server_that_was_half_filled_is_cleared(
    backup: Made, clickhouse: ClickHouseServer, tmp_path: Path
) -> None:
    """No collector starts on it from another folder either; rows that were there already count once."""
    store = clickhouse.url("killed_once")
    where = arguments(tmp_path / "data", store)
    restore_until("insert windows", 1, backup, *where)
    assert main(["migrate", "--data", str(tmp_path / "elsewhere"), "--store", store]) == 3
    restored = run("restore", backup.folder, *where)
    assert (restored.returncode, restored.stdout[:9]) == (0, "Restored "), restored.stderr
    expect_whole_windows(look_into(tmp_path / "data", store, **QUESTIONS))
    assert run("restore", backup.folder, *where).returncode == 2  # over data, never
