"""Agents and a collector as processes of their own over TLS, with certificates made by the product itself."""

import json
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.product import BIN, Command, Up, free_port, wait_until
from tests.unit.tls_files import PAST, Authority

pytestmark = [pytest.mark.e2e, pytest.mark.kernel]


def certificates(out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "fleetprof-collector", "certificates", "--out", out, "--host", "127.0.0.1", *more],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tls") / "out"
    done = certificates(out)
    assert done.returncode == 0, done.stderr
    assert "tls_client_ca" in done.stderr
    return out


class TlsUp(Up):
    """`fleetprof up` that takes only agents with a certificate of the authority in `made`."""

    def __init__(self, data: Path, made: Path, *more: str) -> None:
        files = ("--tls-certificate", f"{made}/collector.pem", "--tls-key", f"{made}/collector.key")
        super().__init__(data, *more, *files, "--tls-client-ca", f"{made}/ca.pem")


@contextmanager
def agent(port: int, state: Path, *flags: str | Path, **environment: str) -> Iterator[Command]:
    command = Command(
        "fleetprof-agent", "run", "--collector", f"127.0.0.1:{port}", "--state-dir", state,
        "--backend", "perf", *flags, **environment,
    )  # fmt: skip
    try:
        yield command
    finally:
        command.kill()


@pytest.fixture(scope="module")
def centre(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsUp]:
    up = TlsUp(tmp_path_factory.mktemp("tls-data") / "data", made, "--no-agent")
    try:
        up.wait_to_say("UI ready")
        yield up
        assert up.end() == 0
    finally:
        up.kill()


def host_of(up: Up, name: str) -> dict[str, Any] | None:
    answer = up.get("hosts") or {"hosts": []}
    return next((host for host in answer["hosts"] if host["host"] == name), None)


def families(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}/metrics", timeout=20) as answer:
        return {family.name: family for family in text_string_to_metric_families(answer.read().decode())}


def total(family: Any, **labels: str) -> float:
    return sum(sample.value for sample in family.samples if labels.items() <= sample.labels.items())


def test_an_agent_over_mutual_tls_is_on_the_hosts_page_and_in_the_metrics(
    centre: TlsUp, made: Path, tmp_path: Path
) -> None:
    port = free_port()
    flags = (
        "--tls-ca",
        made / "ca.pem",
        "--tls-certificate",
        made / "agent.pem",
        "--tls-key",
        made / "agent.key",
    )
    with agent(
        centre.grpc, tmp_path, *flags, "--host", "tls-host", "--metrics-listen", f"127.0.0.1:{port}"
    ) as running:
        running.wait_to_say("over TLS")
        running.wait_to_say("Registered with collector")
        host = wait_until(
            lambda: (
                (found := host_of(centre, "tls-host")) and found["services"] and found["backend"] and found
            ),
            "a window and a registration",
        )
        assert not host["silent"]
        assert host["backend"] == "perf"
        assert host["cpus"] >= 1
        assert 0 < host["utilisation"] <= 1
        assert abs(host["clock_skew_s"]) < 2
        ours = families(f"http://127.0.0.1:{port}")
        assert total(ours["fleetprof_agent_windows_acknowledged"]) >= 1
        assert ours["fleetprof_agent_last_push_timestamp_seconds"].samples[0].value > time.time() - 60
        theirs = families(centre.url)
        assert total(theirs["fleetprof_collector_pushes"], result="accepted") >= 1
        assert total(theirs["fleetprof_collector_agents"], state="reporting") >= 1
        expires = theirs["fleetprof_collector_tls_certificate_expiry_timestamp_seconds"].samples[0].value
        assert 800 < (expires - time.time()) / 86400 < 826
        shown = subprocess.run(
            [BIN / "fleetprof", "hosts", "--server", centre.url, "tls-host"],
            capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        assert "tls-host" in shown.stdout
        assert running.end(signal.SIGTERM) == 0
        assert "error" not in running.said
        assert "warning: Collector" not in running.said


def test_wrong_tls_is_one_clear_message_on_the_agents_log(centre: TlsUp, made: Path, tmp_path: Path) -> None:
    foreign = Authority.make(tmp_path / "foreign")
    old = foreign.agent("old", PAST)
    assert old.certificate
    assert old.key
    ca = ("--tls-ca", made / "ca.pem")
    theirs = foreign.agent()
    assert theirs.certificate
    assert theirs.key
    cases: dict[str, tuple[tuple[str | Path, ...], str]] = {
        "plain": ((), "wants TLS. Set tls_ca"),
        "no-certificate": (ca, "wants a certificate of this agent"),
        "foreign-server": (("--tls-ca", foreign.ca), "is not signed by an authority in"),
        "foreign-agent": (
            (*ca, "--tls-certificate", theirs.certificate, "--tls-key", theirs.key),
            "does not accept this agent's certificate",
        ),
        "expired": ((*ca, "--tls-certificate", old.certificate, "--tls-key", old.key), "expired on"),
        "wrong-name": ((*ca, "--tls-server-name", "elsewhere"), 'is not for "elsewhere"'),
    }
    for name, (flags, message) in cases.items():
        with agent(centre.grpc, tmp_path / name, *flags) as running:
            running.wait_to_say("cannot be reached")
            lines = [line for line in running.lines if "cannot be reached" in line]
            assert len(lines) == 1, name
            assert message in lines[0], name
            # Nothing but the agent's own lines: gRPC and Python are silent.
            assert all(line.startswith("fleetprof-agent: ") for line in running.lines), running.said
            assert "Sampling" in running.said, "a connection that fails does not stop sampling"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--tls-ca", "/nowhere/ca.pem"), "/nowhere/ca.pem cannot be read"),
        (("--tls-certificate", "MADE/agent.pem"), "is set without its key"),
        (("--tls-certificate", "MADE/agent.pem", "--tls-key", "MADE/collector.key"), "does not belong to"),
        (("--tls-ca", "MADE/ca.key"), "holds no certificate"),
    ],
)
def test_files_that_cannot_be_used_end_the_agent_at_once(
    made: Path, tmp_path: Path, flags: tuple[str, ...], message: str
) -> None:
    given = [flag.replace("MADE", str(made)) for flag in flags]
    with agent(1, tmp_path, *given) as running:
        assert running.process.wait(60) == 2
        running.wait_to_say(message)
        assert "Traceback" not in running.said


def test_a_collector_with_an_expired_certificate_does_not_start(tmp_path: Path) -> None:
    old = Authority.make(tmp_path / "tls").server("old", validity=PAST)
    done = subprocess.run(
        [
            BIN / "fleetprof-collector", "run", "--data", tmp_path / "data", "--grpc", "127.0.0.1:0",
            "--tls-certificate", str(old.certificate), "--tls-key", str(old.key),
        ],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "expired on" in done.stderr
    assert "fleetprof-collector certificates" in done.stderr
    assert "Traceback" not in done.stderr


def test_up_with_tls_still_samples_its_own_machine(made: Path, tmp_path: Path) -> None:
    up = TlsUp(tmp_path / "data", made)
    try:
        up.wait_to_say("A flame graph of this machine")
        hosts = up.get("hosts")["hosts"]
        assert [host["silent"] for host in hosts] == [False]
        assert up.end() == 0
    finally:
        up.kill()


def test_certificates_are_not_replaced_silently(made: Path) -> None:
    done = certificates(made)
    assert done.returncode == 2
    assert "exists already" in done.stderr
    assert json.dumps("--overwrite")[1:-1] in done.stderr
