"""One collector writes to a cluster at a time, whichever of its servers live."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from collector.store.cluster import ClusterStore
from collector.store.errors import StoreTaken
from collector.store.open import open_store
from tests.cluster.servers import Servers
from tests.cluster.test_cluster_once import ROWS, block, value
from tests.store.test_store_lease import fall_asleep

pytestmark = pytest.mark.cluster

Open = Callable[..., ClusterStore]


@pytest.fixture
def connect(servers: Servers, store: ClusterStore) -> Iterator[Open]:
    opened: list[ClusterStore] = []

    def make(first: int = 0) -> ClusterStore:
        made = open_store(servers.url("shared", first))
        assert isinstance(made, ClusterStore)
        made.lease_s = (0.1, 1.5)
        opened.append(made)
        return made

    yield make
    for each in opened:
        each.close()


def test_one_of_many_gets_the_lease_through_any_server(connect: Open) -> None:
    stores = [connect(first) for first in range(4)]

    def own(store: ClusterStore) -> bool:
        try:
            store.own(str(id(store)))
        except StoreTaken:
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(own, stores)) == 1


def test_the_lease_outlives_its_server_and_a_sleeper_cannot_write(
    whole: Servers, connect: Open, service: str
) -> None:
    first = connect()
    first.own("first", wait=True)
    whole.nodes[0][0].kill()
    first.insert("stack_1h", block(service), "one")
    assert first.owned
    fall_asleep(first)
    second = connect(1)
    second.own("second", wait=True)
    with pytest.raises(StoreTaken, match="has taken over"):
        first.insert("stack_1h", block(service, ROWS), "two")
    assert not first.owned
    second.insert("stack_1h", block(service, 2 * ROWS), "three")
    assert value(second, service) == 8 * ROWS
