"""The store that tests share: a process can have one chDB folder open at a time.

Use the fixture `store` (a migrated ChdbStore, one for the whole session) with a service name of your own from
the fixture `service`, and look only at rows of that service. A test that needs a folder of its own, or that
kills the process, runs it in a subprocess.
"""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.store.chdb import ChdbStore
from collector.store.migrate import migrate


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChdbStore]:
    folder: Path = tmp_path_factory.mktemp("store")
    opened = ChdbStore(folder / "data")
    migrate(opened)
    yield opened
    opened.close()


@pytest.fixture
def service() -> str:
    """A service name that no other test uses."""
    return f"service-{uuid.uuid4().hex[:12]}"
