"""The command fleetprof-collector with a ClickHouse server as its store, as people run it."""

import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from collector.cli import main
from collector.store import pool
from collector.store.migrate import migrate
from collector.store.open import open_store
from fleetprof.errors import FleetprofError
from fleetprof.v1 import ingest_pb2
from tests.store.clickhouse_server import ClickHouseServer, free_port, login
from tests.store.test_ingest_command import COMMAND, push, run, running

pytestmark = pytest.mark.store

ACCEPTED = ingest_pb2.PushResponse.STATUS_ACCEPTED
DUPLICATE = ingest_pb2.PushResponse.STATUS_DUPLICATE


def test_migrate_shows_applies_and_refuses_a_newer_schema(
    database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def say(*arguments: str) -> str:
        assert main([*arguments, "--data", str(tmp_path), "--store", database]) == 0
        return capsys.readouterr().out

    shown = say("migrate", "--dry-run")
    assert shown.startswith("-- 0001_first\nCREATE TABLE IF NOT EXISTS samples (")
    assert "CODEC" not in shown
    assert say("migrate", "--dry-run") == shown
    assert say("migrate").startswith("applied 0001_first\n")
    assert say("migrate") == "The schema is up to date.\n"
    store = open_store(database)
    store.insert("migrations", {"number": [99], "name": ["x"], "checksum": ["y"], "applied_at": [1]}, "")
    store.close()
    assert main(["migrate", "--data", str(tmp_path), "--store", database]) == 3
    assert "written by a newer fleetprof: its schema is 99" in capsys.readouterr().err


def test_run_check_and_a_takeover(database: str, tmp_path: Path) -> None:
    """A second collector is refused, one on the same folder waits and goes on where the first was killed."""
    with running(tmp_path, "--store", database) as (process, address):
        assert push(address, 1) == ACCEPTED
        refused = run("run", "--grpc", "127.0.0.1:0", "--data", tmp_path / "other", "--store", database)
        assert refused.returncode == 3
        assert f"in use by another collector ({process_of(process)})" in refused.stderr.replace("\n", " ")
        standby = [*COMMAND, "run", "--grpc", f"127.0.0.1:{free_port()}", "--data", str(tmp_path),
                   "--store", database, "--standby"]  # fmt: skip
        with subprocess.Popen(standby, stderr=subprocess.PIPE, text=True) as second:
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert second.stderr
            said = next(line for line in second.stderr if "Taking profiles on" in line)
            assert (
                f"keeping them in clickhouse://fleetprof@{database.rpartition('@')[2].rstrip('?')}." in said
            )
            address = said.split(" on ")[1].split(",")[0]
            assert push(address, 1) == DUPLICATE
            assert push(address, 2) == ACCEPTED
            second.send_signal(signal.SIGTERM)
            assert second.wait(30) == 0
    checked = run("check", "--data", tmp_path, "--store", database)
    assert (checked.returncode, checked.stdout) == (0, "The roll-ups equal the samples.\n")


def process_of(process: "subprocess.Popen[str]") -> str:
    import socket

    return f"{socket.gethostname()}, process {process.pid}"


@pytest.mark.parametrize(
    ("store", "text"),
    [
        ("clickhouse://127.0.0.1:{free}/x", "is not there: Connection refused"),
        ("clickhouse://127.0.0.1:{http}/x", "does not answer"),
        ("clickhouse://nobody:wr0ng@127.0.0.1:{port}/x", "does not let user nobody in"),
        ("clickhouse://default:wr0ng@127.0.0.1:{port}/x", "does not let user default in"),
        ("clickhouse://127.0.0.1:{port}/x?secure=1", "cannot agree on TLS"),
        ("clickhouse://127.0.0.1:{port}/x?secure=1&ca=/nowhere", "There is no file /nowhere"),
        ("clickhouse://127.0.0.1:{port}/x?password_file=/nowhere", "Cannot read the store's password"),
        ("clickhouse://{login}@127.0.0.1:{port}/x?cluster=none", "knows no cluster none"),
        ("clickhouse://127.0.0.1:{port}/x-y", 'names the database "x-y"'),
        ("clickhouse://127.0.0.1:{port}/x?nope=1", 'has an option "nope"'),
        ("clickhouse://127.0.0.1:port/x", "where host:port should be"),
        ("http://127.0.0.1:{http}/x", "Cannot open a store"),
    ],
)
def test_a_server_that_cannot_be_used_is_one_message(
    clickhouse: ClickHouseServer, store: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "CONNECT_S", 1)
    places = {"login": login(), "free": free_port(), "http": clickhouse.http_port, "port": clickhouse.port}
    with pytest.raises(FleetprofError) as refused:
        open_store(store.format(**places))
    assert text in str(refused.value)
    assert "wr0ng" not in str(refused.value)


def test_the_command_says_it_without_a_traceback() -> None:
    done = run("migrate", "--store", f"clickhouse://user:secret@127.0.0.1:{free_port()}/x")
    assert (done.returncode, done.stderr.count("Traceback"), done.stderr.count("secret")) == (3, 0, 0)
    assert "is not there: Connection refused" in done.stderr


def test_pages_are_served_beside_the_collector(database: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from query_ui.server import main; main()", "--http", "127.0.0.1:0"]
    command += ["--store", database, "--data", str(tmp_path)]
    early = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (early.returncode, "Run: fleetprof-collector migrate" in early.stderr) == (3, True)
    store = open_store(database)
    migrate(store)
    store.own("a collector")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        url = process.stdout.readline().removeprefix("fleetprof UI: ").strip().rstrip("/")
        try:
            with urllib.request.urlopen(f"{url}/api/v1/labels", timeout=30) as answer:
                assert answer.status == 200
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    store.close()
