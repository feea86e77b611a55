"""What a start of the collector loads: libraries that take long to import wait until they are used."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.store

CODE = """
import sys, query_ui.up
from pathlib import Path
from collector.store.chdb import ChdbStore
from collector.store.migrate import migrate
store = ChdbStore(Path(sys.argv[1]))
migrate(store)
store.close()
print([name for name in ("pandas", "scipy.special", "scipy.sparse", "scipy.optimize") if name in sys.modules])
"""


def test_neither_pandas_nor_scipy_is_loaded(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CODE, str(tmp_path / "data")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr
