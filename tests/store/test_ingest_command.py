"""The command fleetprof-collector as people run it."""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from fleetprof.v1 import ingest_pb2, ingest_pb2_grpc
from tests.store.pushes import Row, push_request, recent_window_s

pytestmark = pytest.mark.store

COMMAND = [sys.executable, "-m", "collector"]
LABELS = {"host": "h", "service": "s"}


def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=240)


@contextmanager
def running(data: Path, *more: str) -> "Iterator[tuple[subprocess.Popen[str], str]]":
    """A collector on a free port, and its address."""
    command = [*COMMAND, "run", "--grpc", "127.0.0.1:0", "--data", str(data), *more]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        said = ""
        try:
            for line in process.stderr:
                said += line
                if "Taking profiles on" in line:
                    yield process, line.split(" on ")[1].split(",")[0]
                    break
            else:
                raise AssertionError(said)
        finally:
            process.terminate()


def push(address: str, sequence: int) -> int:
    with grpc.insecure_channel(address) as channel:
        request = push_request([Row("a;main", 5)], LABELS, sequence, recent_window_s(sequence))
        return ingest_pb2_grpc.IngestServiceStub(channel).Push(request, timeout=20).status


def test_run_check_and_a_restart(tmp_path: Path) -> None:
    with running(tmp_path) as (process, address):
        assert push(address, 1) == ingest_pb2.PushResponse.STATUS_ACCEPTED
        taken = run("run", "--grpc", address, "--data", tmp_path / "other")
        assert taken.returncode == 3
        assert f"port {address.rpartition(':')[2]} is taken by" in taken.stderr
        assert f"(process {process.pid})" in taken.stderr
        used = run("check", "--data", tmp_path)
        assert (used.returncode, used.stderr.count("Traceback")) == (3, 0)
        assert f"in use by process {process.pid}" in used.stderr
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    with running(tmp_path) as (process, address):
        assert push(address, 1) == ingest_pb2.PushResponse.STATUS_DUPLICATE
        assert push(address, 2) == ingest_pb2.PushResponse.STATUS_ACCEPTED
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    checked = run("check", "--data", tmp_path)
    assert (checked.returncode, checked.stdout) == (0, "The roll-ups equal the samples.\n")


def test_migrate(tmp_path: Path) -> None:
    assert "0001_first\n" in run("migrate", "--dry-run", "--data", tmp_path).stdout
    assert run("migrate", "--data", tmp_path).stdout.startswith("applied 0001_first\n")
    assert run("migrate", "--data", tmp_path).stdout == "The schema is up to date.\n"


def test_print_config(tmp_path: Path) -> None:
    shown = run("run", "--print-config", "--retention-samples-days", "3")
    assert "retention_samples_days = 3" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["run", "--grpc", "nonsense"], 2, "not an address"),
        (["run", "--grpc", "203.0.113.1:4040", "--data", "{tmp}"], 3, "Cannot listen on 203.0.113.1:4040"),
        (["run", "--data", "/proc/nothing"], 3, "Cannot use the data folder /proc/nothing"),
        (["run", "--data", "{tmp}/a?b"], 2, "one of ? & %"),
    ],
)
def test_what_cannot_be_is_one_message(tmp_path: Path, arguments: list[str], code: int, text: str) -> None:
    done = run(*(each.format(tmp=tmp_path) for each in arguments))
    assert done.returncode == code
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def fill(path: Path) -> None:
    """Write a file until its disk is full."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(bytes(1 << 16)):
            pass


def test_a_full_disk_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    """On a small file system: answers turn to "later", and after room is made all is stored once."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", mounted], check=False).returncode:
        pytest.skip("mounting needs root")
    try:
        ballast = mounted / "ballast"
        no_reserve = ("--disk-free", "0", "--disk-free-percent", "0")
        with running(mounted / "data", *no_reserve) as (process, address):
            assert push(address, 1) == ingest_pb2.PushResponse.STATUS_ACCEPTED
            fill(ballast)
            with pytest.raises(grpc.RpcError) as later:
                push(address, 2)
            assert later.value.code() == grpc.StatusCode.UNAVAILABLE
            ballast.unlink()
            assert push(address, 2) in (
                ingest_pb2.PushResponse.STATUS_ACCEPTED,
                ingest_pb2.PushResponse.STATUS_DUPLICATE,
            )
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        assert run("check", "--data", mounted / "data").stdout == "The roll-ups equal the samples.\n"
    finally:
        subprocess.run(["umount", mounted], check=True)
