"""Where a scene's collector stores: embedded, on a ClickHouse server, on a cluster of four."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from collector.store.chdb import ChdbStore
from collector.store.cluster import ClusterStore
from collector.store.interface import Store
from collector.store.open import open_store
from tests.cluster.servers import Servers
from tests.store.clickhouse_server import ClickHouseServer

DATABASE = "faults"
SESSION_S = 10.0
"""A machine that is busy with other runs must not look like one that died."""


class Place(Protocol):
    """A store that can be broken. Servers are started when it is made."""

    in_memory: int
    """Windows that agents keep in memory. On servers as many as a takeover takes: what a dead collector stored in
    part must come again, from agents without disk too."""

    def address(self) -> str:
        """The collector's setting `store`; "" for its data folder."""
        ...

    def heal(self) -> None:
        """Start what was killed, and wait until it serves."""
        ...

    def open(self, data: Path) -> Store:
        """The store with all rows, once the collector with this data folder has ended."""
        ...

    def stop(self) -> None:
        """End all servers."""
        ...


class Embedded:
    """In the collector itself."""

    in_memory = 12
    """Few: agents without disk lose some, and count them."""

    def address(self) -> str:
        return ""

    def heal(self) -> None:
        pass

    def open(self, data: Path) -> Store:
        return ChdbStore(data)

    def stop(self) -> None:
        pass


class OneServer:
    """On a server of its own."""

    in_memory = 60

    def __init__(self, folder: Path) -> None:
        self.server = ClickHouseServer(folder)
        self.server.wait()

    def address(self) -> str:
        return self.server.url(DATABASE)

    def heal(self) -> None:
        if not self.server.process:
            self.server.start()
        self.server.wait()

    def open(self, data: Path) -> Store:
        return open_store(self.address())

    def stop(self) -> None:
        self.server.kill()


class FourServers:
    """On two shards of two replicas each."""

    in_memory = 60

    def __init__(self, folder: Path) -> None:
        self.servers = Servers(folder, SESSION_S)
        self.servers.wait()

    def address(self) -> str:
        return self.servers.url(DATABASE)

    def heal(self) -> None:
        self.servers.start_again()

    def open(self, data: Path) -> Store:
        opened = open_store(self.address())
        assert isinstance(opened, ClusterStore)
        opened._settle_all()
        return opened

    def stop(self) -> None:
        self.servers.stop()


PLACES: dict[str, Callable[[Path], Place]] = {
    "chdb": lambda folder: Embedded(),
    "server": OneServer,
    "cluster": FourServers,
}
