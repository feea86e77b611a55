"""Before the disk is full the oldest days go, never today's; then new windows are refused in words."""

import subprocess
import sys
from pathlib import Path

import pytest

from collector.keeping.disk_guard import Reserve

pytestmark = pytest.mark.store

PROGRAM = """
import sys, time
from pathlib import Path
import numpy as np
from collector.ingest.committer import Committer
from collector.ingest.journal import Journal
from collector.ingest.known import KnownDefinitions
from collector.ingest.limits import Limits
from collector.ingest.loss_ledger import LossLedger
from collector.ingest.refusal import Later
from collector.keeping.disk_guard import DiskGuard, Reserve
from collector.pipeline import Pipeline
from collector.query.querier import Querier
from collector.store.chdb import ChdbStore
from collector.store.migrate import migrate
from collector.store.snapshot import Snapshot, drop_snapshot
from query_ui.app import UiConfig, create_app
from tests.store.pushes import Row, push_request

disk = Path(sys.argv[1])
store = ChdbStore(disk / "data")
migrate(store)
today = int(time.time()) // 86400 * 86400
for back in (3, 2, 1, 0):
    count = 400_000  # 8 random bytes each: 3 MB
    random = np.random.default_rng(back)
    store.insert("stack_1h", {
        "ts": np.full(count, today - back * 86400), "service": ["s"] * count, "type": ["cpu"] * count,
        "version": ["1"] * count, "region": [""] * count, "stack": random.integers(0, 1 << 62, count),
        "value": random.integers(0, 1 << 62, count), "captures": np.ones(count, np.int64),
    }, "")

def days():
    return [day for _, day in store.partitions(["stack_1h"])]

def reserve_beyond(size):
    return Reserve(guard.free_bytes + size, 0, 9)

before = days()
guard = DiskGuard(store, disk, Reserve(1, 0, 9), look_every_s=3600)
assert days() == before and not guard.refusal
guard._reserve = reserve_beyond(1 << 20)
guard.look()
assert days() == before[1:], days()
guard.look()  # what was dropped is given time to leave the disk
assert days() == before[1:], days()
Snapshot(store, {"stack_1h"})  # of a backup, which would hold on to what is dropped
for _ in range(4):
    guard._settled_s, guard._reserve = 0.0, reserve_beyond(1 << 20)
    guard.look()
assert days() == before[3:], days()
assert not drop_snapshot(store)
status = guard.status
assert len(status.dropped) == 3 and not status.refusal
assert [day.day.replace("-", "") for day in status.dropped] == [str(day) for day in before[:3]]
assert all(abs(day.at_s - time.time()) < 100 for day in status.dropped)
again = DiskGuard(store, disk, Reserve(1, 0, 9), look_every_s=3600)  # as after a restart
assert again.status.dropped == status.dropped
again.stop()

client = create_app(Querier(store), UiConfig(disk=lambda: guard.status)).test_client()
known, ledger = KnownDefinitions(store), LossLedger()
committer = Committer(store, Journal(disk / "journal"), known, ledger, refusal=lambda: guard.refusal)
pipeline = Pipeline(known, committer, ledger, Limits())
def push(sequence):
    request = push_request([Row("a;b", 5)], {"host": "h", "service": "s"}, sequence)
    return pipeline.push(request.SerializeToString())
push(1)
guard._reserve = Reserve(3 * guard.free_bytes, 0, 9)
guard.look()
try:
    push(2)
except Later as later:
    assert "nearly full" in later.message and later.retry_ms >= 10_000 and later.overloaded
else:
    raise AssertionError("a window was taken on a full disk")
said = client.get("/api/v1/status").json
assert [notice["severity"] for notice in said["notices"]] == ["critical", "warning"], said
assert said["disk"]["refusal"] == guard.refusal and len(said["disk"]["dropped"]) == 3
guard.change(Reserve(1, 0, 9))
guard.look()
push(2)
assert [notice["severity"] for notice in client.get("/api/v1/status").json["notices"]] == ["warning"]
assert committer.stop(10)
guard.stop()
assert int(store.query(("SELECT count() AS n FROM windows", {}))["n"][0]) == 2
store.close()
"""


def test_oldest_days_go_first_then_windows_are_refused(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400M", "fleetprof-guard", tmp_path], check=True)
    try:
        command = [sys.executable, "-c", PROGRAM, tmp_path]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)
    assert done.returncode == 0, done.stderr


def test_the_reserve_is_never_most_of_a_small_disk() -> None:
    assert Reserve(1 << 30, 2).of(1 << 40) == int((1 << 40) * 0.02)
    assert Reserve(1 << 30, 2).of(100 << 30) == 2 * (100 << 30) // 100
    assert Reserve(1 << 30, 2).of(20 << 30) == 1 << 30
    assert Reserve(1 << 30, 2).of(1 << 30) == (1 << 30) // 10
    assert Reserve(0, 30).of(100) == 30
