"""What is inserted into a cluster counts once, whatever is repeated, killed and started again."""

import time
from collections.abc import Callable
from datetime import date

import pytest

from collector.store import cluster
from collector.store.cluster import ClusterStore
from collector.store.errors import StoreError
from collector.store.migrate import migrate
from collector.store.open import open_store
from collector.store.retention import drop_expired
from tests.cluster.servers import Servers

pytestmark = pytest.mark.cluster

ROWS = 1000
DEADLINE_S = 60.0


def block(service: str, first: int = 0) -> dict[str, list[object]]:
    numbers = list(range(first, first + ROWS))
    return {
        "ts": [1_700_000_000] * ROWS,
        "service": [service] * ROWS,
        "type": ["cpu"] * ROWS,
        "version": [""] * ROWS,
        "region": [""] * ROWS,
        "stack": numbers,
        "value": [4] * ROWS,
        "captures": [1] * ROWS,
    }


def value(store: ClusterStore, service: str, table: str = "stack_1h") -> int:
    sql = f"SELECT sum(value) AS v FROM {table} WHERE service = %(service)s"
    return int(store.query((sql, {"service": service}))["v"][0])


def eventually(check: Callable[[], bool]) -> None:
    """Until `check` holds; errors of the store meanwhile are no answer."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            if check():
                return
        except StoreError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.05)


def insert_until_taken(store: ClusterStore, rows: dict[str, list[object]], token: str) -> None:
    """What the collector does: the same block, until it is in."""

    def inserted() -> bool:
        store.insert("stack_1h", rows, token)
        return True

    eventually(inserted)


def own_value(servers: Servers, service: str, shard: int, replica: int) -> int:
    """What one server has itself."""
    store = open_store(servers.nodes[shard][replica].url("shared"))
    try:
        return value(store, service, "stack_1h_local")
    finally:
        store.close()


def test_a_block_repeated_through_any_server_counts_once(
    servers: Servers, store: ClusterStore, service: str
) -> None:
    store.insert("stack_1h", block(service), "token")
    for first in range(4):
        other = open_store(servers.url("shared", first))
        assert isinstance(other, ClusterStore)
        other._shards = [replicas[::-1] for replicas in other._shards]
        other.insert("stack_1h", block(service), "token")
        assert value(other, service) == 4 * ROWS
        other.close()
    for shard in range(2):
        eventually(lambda shard=shard: own_value(servers, service, shard, 0) == 2 * ROWS)
        eventually(lambda shard=shard: own_value(servers, service, shard, 1) == 2 * ROWS)


def test_stacks_lie_with_their_samples(servers: Servers, store: ClusterStore, service: str) -> None:
    numbers = list(range(50))
    store.insert("stacks", {"service": [service] * 50, "stack": numbers, "last_seen": [1] * 50,
                            "frames": [[n] for n in numbers]}, "token")  # fmt: skip
    store.insert("stack_1h", block(service), "token")
    for shard in range(2):
        one = open_store(servers.nodes[shard][0].url("shared"))
        found = one.query(
            (
                "SELECT count() AS n FROM stacks_local WHERE service = %(s)s AND stack NOT IN"
                " (SELECT stack FROM stack_1h_local WHERE service = %(s)s)",
                {"s": service},
            )
        )
        assert found["n"].tolist() == [0]
        one.close()


def test_a_replica_of_each_shard_may_die(whole: Servers, store: ClusterStore, service: str) -> None:
    store.insert("stack_1h", block(service), "before")
    eventually(lambda: all(own_value(whole, service, shard, 1) == 2 * ROWS for shard in range(2)))
    whole.nodes[0][0].kill()
    whole.nodes[1][0].kill()
    assert value(store, service) == 4 * ROWS
    insert_until_taken(store, block(service, ROWS), "while away")
    insert_until_taken(store, block(service, ROWS), "while away")
    assert value(store, service) == 8 * ROWS
    whole.start_again()
    eventually(lambda: all(own_value(whole, service, shard, 0) == 4 * ROWS for shard in range(2)))
    insert_until_taken(store, block(service, ROWS), "while away")
    store._settle_all()
    assert value(store, service) == 8 * ROWS


def test_without_a_shard_there_is_no_answer_and_no_half_insert(
    whole: Servers, store: ClusterStore, service: str
) -> None:
    store.insert("stack_1h", block(service), "before")
    for node in whole.nodes[1]:
        node.kill()
    with pytest.raises(StoreError):
        value(store, service)
    with pytest.raises(StoreError):
        store.insert("stack_1h", block(service, ROWS), "after")
    whole.start_again()
    insert_until_taken(store, block(service, ROWS), "after")
    eventually(lambda: value(store, service) == 8 * ROWS)


def test_without_zookeeper_nothing_is_acknowledged_or_doubled(
    whole: Servers, store: ClusterStore, service: str
) -> None:
    store.insert("stack_1h", block(service), "before")
    replicas = [(shard, replica) for shard in range(2) for replica in range(2)]
    eventually(lambda: all(own_value(whole, service, *place) == 2 * ROWS for place in replicas))
    whole.zookeeper.kill()
    with pytest.raises(StoreError):
        store.insert("stack_1h", block(service, ROWS), "after")
    assert value(store, service) in (4 * ROWS, 6 * ROWS, 8 * ROWS)
    whole.start_again()
    insert_until_taken(store, block(service, ROWS), "after")
    store._settle_all()  # a replica that was behind may have been asked before
    assert value(store, service) == 8 * ROWS


def test_a_change_of_the_schema_does_not_wait_for_the_dead(
    whole: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is there on all that live when it returns, and on the others some time after they are back."""
    monkeypatch.setattr(cluster, "DDL_SECONDS", 4.0)
    opened = open_store(whole.url("late"))
    create = "CREATE TABLE IF NOT EXISTS late.some ON CLUSTER fleetprof (n UInt8) ENGINE = Memory"
    dead = whole.nodes[1][1]
    dead.kill()
    opened.execute((create, {}))
    living = [whole.nodes[0][0], whole.nodes[0][1], whole.nodes[1][0]]
    count = "SELECT count() AS n FROM system.tables WHERE database = 'late' AND name = 'some'"

    def there(port_url: str) -> bool:
        one = open_store(port_url)
        try:
            return int(one.query((count, {}))["n"][0]) == 1
        finally:
            one.close()

    assert all(there(node.url("late")) for node in living)
    whole.start_again()
    eventually(lambda: there(dead.url("late")))
    opened.close()


def test_a_partition_is_dropped_on_every_shard(store: ClusterStore, service: str) -> None:
    old = block(service) | {"ts": [86400] * ROWS}
    store.insert("stack_1h", old, "old")
    assert ("stack_1h", 19700102) in store.partitions(["stack_1h"])
    eventually(lambda: drop_expired(store, {"stack_1h": 30}, date(1970, 6, 1)) == ["stack_1h 19700102"])
    eventually(lambda: value(store, service) == 0)


def test_a_schema_is_applied_once_and_shown_before(servers: Servers) -> None:
    opened = open_store(servers.url("shared", 2))
    assert migrate(opened) == []
    opened.close()


def test_a_cluster_that_is_not_known_is_one_message(servers: Servers) -> None:
    address = servers.nodes[0][0].url("shared", cluster="nowhere")
    with pytest.raises(StoreError, match="knows no cluster nowhere"):
        open_store(address)
