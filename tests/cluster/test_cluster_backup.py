"""A backup of a cluster has the rows of each shard once, and fills a cluster and a single server alike."""

import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from collector.keeping.backup_folder import Manifest
from collector.keeping.backup_pieces import BackupPieces
from collector.keeping.backup_writing import write_backup
from collector.keeping.restore import check_backup, refuse_over_data, restore
from collector.store.cluster import ClusterStore
from collector.store.errors import StoreError
from collector.store.interface import Block, Store
from collector.store.migrate import migrate
from collector.store.open import open_store
from collector.store.snapshot import PREFIX
from fleetprof.errors import UnavailableError
from tests.cluster.servers import Servers
from tests.cluster.test_cluster_once import ROWS, block, value
from tests.store.pushes import recent_window_s
from tests.store.takeover import Life, check
from tests.store.test_ingest_command import run

pytestmark = pytest.mark.cluster

HOUR_S = 1_700_000_000 // 3600 * 3600


def back_up(store: Store, folder: Path) -> Manifest:
    folder.mkdir()
    pieces = BackupPieces(store, folder.parent)
    try:
        return write_backup(folder, pieces)
    finally:
        pieces.close()


def fill_from(address: str, folder: Path, dies_at: str = "") -> Store:
    """The store, filled; `dies_at`: a table that cannot be filled."""
    manifest = check_backup(folder)
    store, data = open_store(address), folder.parent / "restored"
    data.mkdir(exist_ok=True)
    insert = store.insert

    def insert_until(table: str, block: Block, token: str) -> None:
        if table == dies_at:
            raise StoreError(0, "gone")
        insert(table, block, token)

    store.insert = insert_until  # type: ignore[method-assign]
    try:
        refuse_over_data(store, data)
        restore(store, data, folder, manifest)
    except StoreError:
        store.close()
        raise
    return store


def marks(store: Store) -> list[int]:
    return store.query(("SELECT ts FROM rollups_pending WHERE collector = 'c'", {}))["ts"].tolist()


def snapshots(store: ClusterStore) -> int:
    """Tables of a snapshot on any server."""
    question = f"SELECT count() AS n FROM system.tables WHERE name LIKE '{PREFIX}%'"
    return sum(
        int(site.ask((question.replace("%", "%%"), {}))["n"][0]) for site in store.sites(all_replicas=True)
    )


def test_backup_of_a_cluster(servers: Servers, tmp_path: Path) -> None:
    number = uuid.uuid4().hex[:8]
    store = open_store(servers.url(f"source_{number}"))
    assert isinstance(store, ClusterStore)
    migrate(store)
    for first in (0, ROWS):
        store.insert("stack_1h", block("s", first), f"token-{first}")
    store.insert(
        "rollups_pending", {"ts": [HOUR_S], "collector": ["c"], "pending": [0], "version": [1]}, "mark"
    )
    manifest = back_up(store, tmp_path / "backup")
    assert snapshots(store) == 0
    store.insert("stack_1h", block("s", 2 * ROWS), "later")
    tables = {file.table: 0 for file in manifest.files}
    for file in manifest.files:
        tables[file.table] += file.rows
    assert tables == {"stack_1h": 2 * ROWS, "rollups_pending": 1}
    again = fill_from(servers.url(f"again_{number}"), tmp_path / "backup")
    single = fill_from(servers.url(f"single_{number}").split("?")[0], tmp_path / "backup")
    for restored in (again, single):
        assert value(restored, "s") == 2 * ROWS * 4  # type: ignore[arg-type]
        assert marks(restored) == [HOUR_S]
        assert migrate(restored) == []
        restored.close()
    assert value(store, "s") == 3 * ROWS * 4
    store.close()


def test_from_a_cluster_into_an_embedded_store_and_back(servers: Servers, tmp_path: Path) -> None:
    """With windows of a collector, all sums of which must be the same; the way back is interrupted once."""
    number = uuid.uuid4().hex[:8]
    store = open_store(servers.url(f"windows_{number}"))
    assert isinstance(store, ClusterStore)
    migrate(store)
    life = Life(store, tmp_path / "journal", None)
    life.push(recent_window_s(30), [1, 2])
    life.end()
    store = open_store(servers.url(f"windows_{number}"))
    back_up(store, tmp_path / "first")
    store.close()
    embedded = ("--data", tmp_path / "embedded")
    for command in (("restore", tmp_path / "first"), ("backup", tmp_path / "second")):
        done = run(*command, *embedded)
        assert done.returncode == 0, done.stderr
    check_embedded(tmp_path / "embedded")
    address = servers.url(f"back_{number}")
    with pytest.raises(StoreError, match="gone"):
        fill_from(address, tmp_path / "second", dies_at="windows")
    with pytest.raises(UnavailableError, match="half-filled"):
        migrate(half := open_store(address))
    half.close()
    again = fill_from(address, tmp_path / "second")
    check(again, 2)
    assert migrate(again) == []
    again.close()


def check_embedded(data: Path) -> None:
    """As `check`, in a process of its own: a process has one embedded store at most."""
    program = (
        "import sys; from collector.store.chdb import ChdbStore; from tests.store.takeover import check;"
        " from pathlib import Path; check(ChdbStore(Path(sys.argv[1])), 2)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(data)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
