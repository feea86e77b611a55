"""python -m tests.store.fill_disk FOLDER merge|count: what test_full_disk.py runs, a process for each open store.

`merge` makes a table on the disk of FOLDER, merges it, and fills the disk as soon as the merge has begun. It tells
how many parts were cut short, mends them if `mend` follows, and tells how many rows there are; else it ends
at once, as if killed.
"""

import os
import sys
import threading
from pathlib import Path

from collector.store.chdb import ChdbStore
from collector.store.whole_parts import WholeParts

BLOCKS, ROWS = 6, 60_000


def merge(disk: Path, mend: bool) -> None:
    """Have a merge meet a full disk."""
    store = ChdbStore(disk / "data")
    store.execute(("CREATE TABLE t (k UInt64, s String) ENGINE = MergeTree ORDER BY k", {}))
    store.execute(("SYSTEM STOP MERGES t", {}))
    for _ in range(BLOCKS):
        store.execute((f"INSERT INTO t SELECT number, toString(rand64()) FROM numbers({ROWS})", {}))
    found = store.query(("SELECT data_paths[1] AS path FROM system.tables WHERE name = 't'", {}))
    other = threading.Thread(target=fill, args=(disk / "other", Path(str(found["path"][0]))), daemon=True)
    other.start()
    store.execute(("SYSTEM START MERGES t", {}))
    store.execute(("OPTIMIZE TABLE t FINAL", {}))
    other.join()
    print("cut", len(WholeParts(store.query, store.execute).look().cut), flush=True)
    (disk / "other").unlink()
    if not mend:
        os._exit(0)
    store.mend_parts()
    count(store)


def fill(path: Path, table: Path) -> None:
    """Take all of the disk when a merge begins."""
    while not list(table.glob("tmp_merge*")):
        pass
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


def count(store: ChdbStore) -> None:
    """Say how many rows, and parts that ClickHouse set aside, there are."""
    rows = store.query(("SELECT count() AS rows, uniqExact(s) AS texts FROM t", {}))
    aside = WholeParts(store.query, store.execute).set_aside()
    print("rows", int(rows["rows"][0]), "texts", int(rows["texts"][0]), "aside", len(aside), flush=True)
    store.close()


if __name__ == "__main__":
    folder, step, *more = sys.argv[1:]
    merge(Path(folder), bool(more)) if step == "merge" else count(ChdbStore(Path(folder) / "data"))
