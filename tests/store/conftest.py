"""The stores that tests share: each test runs on embedded ClickHouse and on a real server.

Use the fixture `store` (migrated, one of each kind for the whole session) with a service name of your own from
the fixture `service`, and look only at rows of that service. A process can have one chDB folder open at a time:
a test that needs a folder of its own, or that kills the process, runs it in a subprocess. A server is started
once a session, in a temporary folder; `database` makes a database of a test's own on it.
"""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from collector.store.address import parse_server_address
from collector.store.chdb import ChdbStore
from collector.store.interface import Store
from collector.store.migrate import migrate
from collector.store.open import open_store
from collector.store.server import ServerStore
from tests.store.clickhouse_server import ClickHouseServer


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChdbStore]:
    folder: Path = tmp_path_factory.mktemp("store")
    opened = ChdbStore(folder / "data")
    migrate(opened)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseServer]:
    """A running clickhouse-server, shared by the session."""
    server = ClickHouseServer(tmp_path_factory.mktemp("clickhouse"))
    server.wait()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def on_server(clickhouse: ClickHouseServer) -> Iterator[ServerStore]:
    opened = open_store(clickhouse.url("shared"))
    assert isinstance(opened, ServerStore)
    migrate(opened)
    yield opened
    opened.close()


@pytest.fixture(scope="session", params=["embedded", "on_server"])
def store(request: pytest.FixtureRequest) -> Store:
    found: Store = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def database(clickhouse: ClickHouseServer) -> str:
    """The address of an empty database of the test's own."""
    return clickhouse.url(f"test_{uuid.uuid4().hex[:12]}")


@pytest.fixture
def connect(database: str) -> Iterator[Callable[[], ServerStore]]:
    """Opens the same empty, migrated database again and again, as collectors do whose leases are short."""
    opened: list[ServerStore] = []

    def make() -> ServerStore:
        store = ServerStore(parse_server_address(database), 1 << 30, 2)
        store.lease_s = (0.05, 0.5)
        opened.append(store)
        return store

    migrate(make())
    yield make
    for store in opened:
        store.close()


@pytest.fixture
def service() -> str:
    """A service name that no other test uses."""
    return f"service-{uuid.uuid4().hex[:12]}"
