"""As tests/store/test_takeover.py, on a cluster, where a collector may die between two shards of one insert too."""

from pathlib import Path

import pytest

from collector.store.cluster import ClusterStore
from collector.store.migrate import migrate
from collector.store.open import open_store
from tests.cluster.servers import Servers
from tests.store.takeover import check, lives

pytestmark = pytest.mark.cluster

DEATHS = (8, 10)
"""Marks and names on one shard, then each table on one or both."""


def test_a_batch_that_a_dead_collector_left_half_written_counts_once(
    tmp_path: Path, servers: Servers
) -> None:
    opened: list[ClusterStore] = []

    def connect() -> ClusterStore:
        store = open_store(servers.url("takeover"))
        assert isinstance(store, ClusterStore)
        store.lease_s = (0.05, 0.5)
        opened.append(store)
        return store

    migrate(connect())
    windows = lives(connect, tmp_path, DEATHS)
    check(connect(), windows)
    for store in opened:
        store.close()
