"""What these tests share."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unwind tables on disk, as of an agent that starts again: those of all that runs here take 1 s."""
    return tmp_path_factory.mktemp("tables")
