"""The cluster that these tests share: 2 shards × 2 replicas and a ZooKeeper, started once.

It ends with the folder, not with the run: even idle it takes a tenth of a CPU.
"""

import uuid
from collections.abc import Callable, Iterator

import pytest

from collector.store.cluster import ClusterStore
from collector.store.migrate import migrate
from collector.store.open import open_store
from tests.cluster.servers import Servers, usable

Open = Callable[..., ClusterStore]


@pytest.fixture(scope="package")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    if not usable():
        pytest.skip("needs the packages clickhouse-server and zookeeper")
    made = Servers(tmp_path_factory.mktemp("cluster"))
    made.wait()
    yield made
    made.stop()


@pytest.fixture
def whole(servers: Servers, store: ClusterStore) -> Iterator[Servers]:
    """The cluster, for a test that kills parts of it: afterwards all is there again and has all rows."""
    yield servers
    servers.start_again()
    opened = open_store(servers.url("shared"))
    assert isinstance(opened, ClusterStore)
    opened._settle_all()
    opened.close()


@pytest.fixture(scope="package")
def store(servers: Servers) -> Iterator[ClusterStore]:
    """A migrated store that tests share, as in tests/store: look only at your own service."""
    opened = open_store(servers.url("shared"))
    assert isinstance(opened, ClusterStore)
    migrate(opened)
    yield opened
    opened.close()


@pytest.fixture
def service() -> str:
    return f"service-{uuid.uuid4().hex[:12]}"
