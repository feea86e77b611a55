"""As tests/store/test_takeover.py, on a cluster, where a collector may die between two shards of one insert too."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from collector.store.cluster import ClusterStore
from collector.store.errors import StoreAway
from collector.store.migrate import migrate
from collector.store.open import open_store
from tests.cluster.servers import Servers
from tests.store.pushes import recent_window_s
from tests.store.takeover import SERVICE, Life, check, lives

pytestmark = pytest.mark.cluster

DEATHS = (8, 10)
"""Marks and names on one shard, then each table on one or both."""

Connect = Callable[[str], ClusterStore]


@pytest.fixture
def connect(servers: Servers) -> Iterator[Connect]:
    opened: list[ClusterStore] = []

    def make(database: str) -> ClusterStore:
        store = open_store(servers.url(database))
        assert isinstance(store, ClusterStore)
        store.lease_s = (0.05, 0.5)
        opened.append(store)
        return store

    yield make
    for store in opened:
        store.close()


def test_a_batch_that_a_dead_collector_left_half_written_counts_once(
    tmp_path: Path, connect: Connect
) -> None:
    migrate(connect("takeover"))
    windows = lives(lambda: connect("takeover"), tmp_path, DEATHS)
    check(connect("takeover"), windows)


def test_windows_that_one_shard_has_are_completed_though_nobody_pushes_them_again(
    tmp_path: Path, connect: Connect
) -> None:
    migrate(connect("one_shard"))
    store = connect("one_shard")
    first = Life(store, tmp_path / "first", None)
    insert_into = store._insert_into

    def die_at_second_shard(replicas: Any, table: str, *rest: Any) -> None:
        if table == "samples_local" and replicas is store._shards[1]:
            first.dead.set()
            raise StoreAway(0, "dead")
        insert_into(replicas, table, *rest)

    store._insert_into = die_at_second_shard  # type: ignore[method-assign]
    first.push(recent_window_s(30), [1, 2])
    assert first.dead.is_set()
    first.end()
    half = samples_of(connect("one_shard"))
    Life(connect("one_shard"), tmp_path / "second", None).end()
    assert 0 < half < samples_of(connect("one_shard"))
    check(connect("one_shard"), 2)


def samples_of(store: ClusterStore) -> int:
    found = store.query(("SELECT count() AS n FROM samples WHERE service = %(s)s", {"s": SERVICE}))
    return int(found["n"][0])
