"""A collector that runs takes new retention into use with SIGHUP; other settings wait for the next start."""

import re
import signal
import subprocess
import time
from pathlib import Path

import grpc
import pytest

from fleetprof.v1 import ingest_pb2, ingest_pb2_grpc
from tests.store.pushes import Row, push_request
from tests.store.test_ingest_command import LABELS, run, running

pytestmark = pytest.mark.store

DAY_S = 86400


def push(address: str, sequence: int, days_back: int) -> int:
    start_s = (int(time.time()) // 10 - 10) * 10 - days_back * DAY_S
    with grpc.insecure_channel(address) as channel:
        request = push_request([Row("a;main", 5)], LABELS, sequence, start_s)
        return ingest_pb2_grpc.IngestServiceStub(channel).Push(request, timeout=20).status


def reload(process: "subprocess.Popen[str]", said: str) -> None:
    """Let it read its settings again, until it says what must match `said`."""
    process.send_signal(signal.SIGHUP)
    assert process.stderr
    assert any(re.search(said, line) for line in process.stderr)


def test_retention_changes_while_the_collector_runs(tmp_path: Path) -> None:
    file = tmp_path / "collector.toml"
    file.write_text("retention_samples_days = 3\n")
    with running(tmp_path / "data", "--config", str(file)) as (process, address):
        assert push(address, 1, days_back=0) == ingest_pb2.PushResponse.STATUS_ACCEPTED
        with pytest.raises(grpc.RpcError) as refused:
            push(address, 2, days_back=5)
        assert "samples are kept for 3 days" in str(refused.value)
        file.write_text("retention_samples_days = 30\n")
        reload(process, "retention_samples_days is 30 from now on")
        assert push(address, 2, days_back=5) == ingest_pb2.PushResponse.STATUS_ACCEPTED
        file.write_text("retention_samples_days = 0\n")
        reload(process, "stay as they are: .*retention_samples_days = 0 is too small")
        file.write_text('retention_samples_days = 2\nretention_minutes_days = 2\nui_url = "http://x"\n')
        reload(process, "Dropped what is past its retention: .*samples [0-9]{8}, series_1m [0-9]{8}")
        assert push(address, 1, days_back=0) == ingest_pb2.PushResponse.STATUS_DUPLICATE
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    checked = run("check", "--data", tmp_path / "data")
    assert (checked.returncode, checked.stdout) == (0, "The roll-ups equal the samples.\n")
