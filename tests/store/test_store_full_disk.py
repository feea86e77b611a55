"""A full disk refuses rows: the store says so, and they count once when there is room again."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.store

PROGRAM = """
import os, sys
from pathlib import Path
import numpy as np
from collector.store.chdb import ChdbStore
from collector.store.errors import StoreError

disk = Path(sys.argv[1])
store = ChdbStore(disk / "data")
store.execute(("CREATE TABLE t (ts DateTime('UTC'), v UInt64) ENGINE = MergeTree ORDER BY ts", {}))

def insert(count):
    store.insert("t", {"ts": np.full(count, 1_760_000_000), "v": np.arange(count)}, "")

insert(5)
ballast = disk / "ballast"
with ballast.open("wb", buffering=0) as file:
    try:
        while file.write(bytes(1 << 16)):
            pass
    except OSError:
        pass
for count in (1, 30_000):
    try:
        insert(count)
    except StoreError as error:
        assert "full" in str(error), error
    else:
        raise AssertionError("rows were taken for stored on a full disk")
ballast.unlink()
insert(30_000)
print(int(store.query(("SELECT count() AS n FROM t", {}))["n"][0]))
store.close()
"""


def test_rows_that_do_not_fit_are_not_taken_for_stored(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96M", "fleetprof-full", tmp_path], check=True)
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, tmp_path], capture_output=True, text=True, timeout=60
        )
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["30005"]
