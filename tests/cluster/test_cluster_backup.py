"""A backup of a cluster has the rows of each shard once, and fills a cluster and a single server alike."""

import uuid
from pathlib import Path

import pytest

from collector.keeping.backup_folder import Manifest, write_backup
from collector.keeping.backup_pieces import BackupPieces
from collector.keeping.restore import check_backup, refuse_over_data, restore
from collector.store.cluster import ClusterStore
from collector.store.interface import Store
from collector.store.migrate import migrate
from collector.store.open import open_store
from collector.store.snapshot import PREFIX
from tests.cluster.servers import Servers
from tests.cluster.test_cluster_once import ROWS, block, value

pytestmark = pytest.mark.cluster

HOUR_S = 1_700_000_000 // 3600 * 3600


def back_up(store: Store, folder: Path) -> Manifest:
    folder.mkdir()
    pieces = BackupPieces(store, folder.parent)
    try:
        return write_backup(folder, pieces)
    finally:
        pieces.close()


def fill_from(address: str, folder: Path) -> Store:
    manifest = check_backup(folder)
    store = open_store(address)
    refuse_over_data(store, folder.parent)
    restore(store, folder.parent, folder, manifest)
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
