"""The product with auth = "tokens": its own agent has one, others get theirs while it runs, nobody else gets in."""

import os
import subprocess
from pathlib import Path

import pytest
import requests

from tests.e2e.product import BIN, Command, Up, up, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.kernel]


def run(*command: str | Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **environment}
    )


def token(running: Up, *arguments: str) -> str:
    done = run(BIN / "fleetprof-collector", "token", *arguments, "--data", running.data)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def hosts(running: Up, text: str) -> list[str]:
    answer = requests.get(
        f"{running.url}/api/v1/hosts", headers={"Authorization": f"Bearer {text}"}, timeout=30
    )
    if not answer.ok:
        return []  # the token is new, or the store busy
    return [host["host"] for host in answer.json()["hosts"] if host["services"]]


def test_from_locked_to_signed_in(tmp_path: Path) -> None:
    with up(tmp_path / "data", "--auth", "tokens") as running:
        running.wait_to_say("A flame graph of this machine")
        assert "there is none yet" in running.said
        assert requests.get(f"{running.url}/api/v1/hosts", timeout=30).status_code == 401
        assert (
            "Sign in with a token"
            in requests.get(running.url, headers={"Accept": "text/html"}, timeout=30).text
        )
        assert requests.get(f"{running.url}/healthz", timeout=30).status_code == 200
        reader = token(running, "create", "reader", "--scope", "read")
        (own,) = wait_until(lambda: hosts(running, reader), "this machine's own agent")
        shown = run(BIN / "fleetprof", "hosts", "--server", running.url, FLEETPROF_TOKEN=reader)
        assert own in shown.stdout, shown.stderr
        refused = run(BIN / "fleetprof", "hosts", "--server", running.url)
        assert refused.returncode == 2
        assert "asks for a token" in refused.stderr
        command = ["fleetprof-agent", "run", "--collector", f"127.0.0.1:{running.grpc}", "--backend", "perf"]
        command += ["--host", "second", "--state-dir", str(tmp_path / "agent")]
        naked = Command(*command)
        naked.wait_to_say("refuses this agent: This collector asks for a token")
        assert naked.end() == 0
        assert list((tmp_path / "agent" / "spool").glob("*.spool")), "its windows wait on disk"
        path = tmp_path / "token"
        token(running, "create", "second", "--scope", "ingest", "-o", str(path))
        second = Command(*command, "--token-file", path)
        try:
            wait_until(lambda: "second" in hosts(running, reader), "the second agent's windows")
            second.wait_to_say("All windows that waited on disk are sent")
            token(running, "revoke", "second")
            second.wait_to_say('refuses this agent: The token "second" was revoked on')
            assert second.end() == 0
        finally:
            second.kill()
        metrics = requests.get(
            f"{running.url}/metrics", headers={"Authorization": f"Bearer {reader}"}, timeout=30
        ).text
        for reason in ("no_token", "revoked_token"):
            line = next(line for line in metrics.splitlines() if f'reason="{reason}"' in line)
            assert float(line.split()[-1]) >= 1
        refusals = [line for line in running.lines if "Refused a call from 127.0.0.1" in line]
        assert len(refusals) == 2, "one line a peer and reason"
        assert running.end() == 0
        everything = running.said + naked.said + second.said
        assert "fpt_" not in everything
        assert "Traceback" not in everything
