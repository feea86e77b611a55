"""What a collector left half-written counts once, though who takes over has neither its disk nor its journal."""

from pathlib import Path

import pytest

from collector.store.address import parse_server_address
from collector.store.migrate import migrate
from collector.store.server import ServerStore
from tests.store.takeover import check, lives

pytestmark = pytest.mark.store

DEATHS = (5, 6, 7, 8)
"""A batch is nine inserts: marks, names of its windows, three of definitions, samples, minutes, losses, windows."""


def test_a_batch_that_a_dead_collector_left_half_written_counts_once(tmp_path: Path, database: str) -> None:
    opened: list[ServerStore] = []

    def connect() -> ServerStore:
        store = ServerStore(parse_server_address(database), 1 << 30, 2)
        store.lease_s = (0.05, 0.3)
        opened.append(store)
        return store

    migrate(connect())
    windows = lives(connect, tmp_path, DEATHS)
    check(connect(), windows)
    for store in opened:
        store.close()
