"""What goes wrong at start is one clear message: what happened, why, what to do; never a traceback."""

import os
import socket
import subprocess
from pathlib import Path

import pytest

from tests.e2e.product import BIN, Up, free_port, up, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.kernel]

NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
NO_BPF = ("setpriv", "--bounding-set=-bpf,-sys_admin,-perfmon", "--inh-caps=-bpf,-sys_admin,-perfmon")


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={**os.environ, **environment}
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def refused(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """The command ended with `code` and said all `words`, in at most a few lines."""
    assert done.returncode == code, done.stderr
    for word in words:
        assert word in done.stderr
    assert len(done.stderr.splitlines()) <= 8, done.stderr


def test_up_without_root_says_what_to_do(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    done = run(*NOBODY, BIN / "fleetprof", "up", "--data", str(tmp_path / "data"))
    refused(done, 3, "needs root", "--no-agent")


def test_the_agent_without_the_right_to_use_bpf(tmp_path: Path) -> None:
    output = ("--output", str(tmp_path / "x.folded"))
    agent = BIN / "fleetprof-agent"
    done = run(*NO_BPF, agent, "record", "--backend", "core", "--duration", "1s", *output)
    refused(done, 3, "perf event", "CAP_PERFMON")


def test_a_taken_port(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for flag in ("--grpc", "--http"):
            free = "--http" if flag == "--grpc" else "--grpc"
            done = run(
                BIN / "fleetprof",
                *("up", "--no-agent", "--data", str(tmp_path / "data")),
                *(flag, f"127.0.0.1:{port}", free, f"127.0.0.1:{free_port()}"),
            )
            refused(done, 3, str(port), flag)


def test_a_data_folder_in_use(tmp_path: Path) -> None:
    with up(tmp_path / "data", "--no-agent") as first:
        first.wait_to_say("UI ready")
        second = Up(tmp_path / "data", "--no-agent")
        assert second.process.wait(40) == 3
        assert str(first.process.pid) in second.said
        assert "Traceback" not in second.said


def test_a_folder_that_cannot_be_written() -> None:
    done = run(BIN / "fleetprof", "up", "--no-agent", "--data", "/proc/fleetprof")
    refused(done, 3, "/proc/fleetprof")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--frequency-hz", "0"), ("--frequency-hz", "1 to 1000")),
        (("--collector", "nowhere"), ("--collector", "host:port")),
        (("--backend", "magic"), ("--backend", "core")),
        (("--config", "/does/not/exist"), ("/does/not/exist",)),
    ],
)
def test_wrong_settings_of_the_agent(arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    refused(run(BIN / "fleetprof-agent", "run", *arguments), 2, *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--duration", "never"), ("never",)),
        (("-o", "/tmp/x.svg"), ("x.svg", "*.folded")),
        (("--type", "heat"), ("heat", "offcpu")),
        (("-p", "4194304"), ("4194304",)),
    ],
)
def test_wrong_wishes_of_record(arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    refused(run(BIN / "fleetprof-agent", "record", *arguments), 2, *words)


def test_a_server_that_is_away() -> None:
    port = free_port()
    done = run(BIN / "fleetprof", "top", "--server", f"http://127.0.0.1:{port}")
    refused(done, 3, str(port))


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        ({"query": "{service="}, "character"),
        ({"type": "heat"}, "offcpu"),
        ({"from": "now", "to": "now-1h"}, "end"),
        ({"from": "yesterday-ish"}, "yesterday-ish"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_wrong_questions(served: Up, asked: dict[str, str], word: str) -> None:
    import requests

    answer = requests.get(f"{served.url}/api/v1/top", params=asked, timeout=30)
    assert answer.status_code == 400
    assert word in answer.json()["error"] + answer.json()["hint"]


def test_bytes_that_are_no_request_are_counted(served: Up) -> None:
    import grpc

    with grpc.insecure_channel(f"127.0.0.1:{served.grpc}") as channel:
        push = channel.unary_unary("/fleetprof.v1.IngestService/Push")
        with pytest.raises(grpc.RpcError) as refusal:
            push(os.urandom(2000), timeout=20)
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    wait_until(lambda: "malformed" in str(served.get("losses") or served.get("summary")), "it is counted", 5)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> "Up":
    with up(tmp_path_factory.mktemp("served") / "data", "--no-agent") as running:
        running.wait_to_say("UI ready")
        yield running
