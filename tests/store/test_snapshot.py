"""A snapshot holds what tables held, whatever happens to them; the socket hands out one backup at a time."""

import signal
import threading
import time
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

import pytest

from collector.cli import main
from collector.keeping.backup_pieces import BackupPieces
from collector.keeping.control import SOCKET, ControlServer, running_collector
from collector.store.interface import Store
from collector.store.migrate import migrate
from collector.store.open import open_store
from collector.store.snapshot import Snapshot, drop_snapshot
from fleetprof.errors import UnavailableError
from tests.store.test_ingest_command import push, running

pytestmark = pytest.mark.store

DAY = datetime(1972, 2, 3, tzinfo=UTC)
"""Long before all rows of other tests."""


def insert(store: Store, service: str, value: int) -> None:
    columns = {"service": [service], "type": ["cpu"], "series": [1], "value": [value], "captures": [1]}
    store.insert("series_1m", {"ts": [int(DAY.timestamp())], **columns}, f"{service}{value}")


def test_it_stays_as_it_was(store: Store, service: str) -> None:
    insert(store, service, 1)
    insert(store, service, 2)
    snapshot = Snapshot(store, {"series_1m"})
    store.drop_partition("series_1m", 19720203)
    insert(store, service, 4)
    (part,) = [part for part in snapshot.parts if part.partition == "19720203"]
    rows = [row for table in part.read() for row in table.to_pylist()]
    assert {part.table for part in snapshot.parts} == {"series_1m"}
    assert len(rows) == part.rows
    assert sorted(row["value"] for row in rows if row["service"] == service) == [1, 2]
    again = Snapshot(store, {"series_1m"})  # the first one was left behind
    assert [part.rows for part in again.parts if part.partition == "19720203"] == [1]
    assert drop_snapshot(store)
    assert not drop_snapshot(store)
    store.drop_partition("series_1m", 19720203)


def test_one_backup_at_a_time_through_a_socket_with_a_long_path(database: str, tmp_path: Path) -> None:
    data = tmp_path / ("long" * 30)
    data.mkdir()
    store = open_store(database)
    migrate(store)
    asked, go_on = threading.Event(), threading.Event()

    def hold(have: Collection[str]) -> BackupPieces:
        asked.set()
        assert go_on.wait(60)
        return BackupPieces(store, data, have)

    server = ControlServer(data, hold)
    assert (data / SOCKET).stat().st_mode & 0o777 == 0o600
    ended: list[str] = []

    def first() -> None:
        with running_collector(data) as collector:
            assert collector
            ended.extend(piece.WhichOneof("piece") or "" for piece in collector.backup())

    thread = threading.Thread(target=first)
    thread.start()
    assert asked.wait(60)
    with running_collector(data) as collector:
        assert collector
        pieces = collector.backup()
        with pytest.raises(UnavailableError, match="another backup"):
            next(pieces)
    go_on.set()
    thread.join()
    assert ended == ["head", "end"]
    server.stop(5)
    with running_collector(data) as collector:
        assert collector is None
    store.close()


def test_check_leaves_the_journal_of_a_running_collector_alone(
    database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(tmp_path, "--store", database) as (process, address):
        push(address, 1)
        process.send_signal(signal.SIGSTOP)  # or it would roll up meanwhile, and tidy its journal
        while "State:\tT" not in Path(f"/proc/{process.pid}/status").read_text():
            time.sleep(0.01)
        try:
            before = {path.name: path.read_bytes() for path in (tmp_path / "journal").iterdir()}
            assert main(["check", "--data", str(tmp_path), "--store", database]) == 0
            assert capsys.readouterr().out == "The roll-ups equal the samples.\n"
            assert {path.name: path.read_bytes() for path in (tmp_path / "journal").iterdir()} == before
            assert any(name.endswith(".batch") for name in before)
        finally:
            process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
