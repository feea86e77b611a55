"""Migrations, each test in a process of its own (a process has one embedded folder)."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.store

PROGRAM = """
import sys
from pathlib import Path
from collector.store.open import open_store
from collector.store.migrate import migrate, plan
from fleetprof.errors import FleetprofError
folder = Path(sys.argv[1])
store = open_store(sys.argv[2])
try:
    for step in sys.argv[3:]:
        try:
            found = plan(store, folder / "sql") if step == "dry" else migrate(store, folder / "sql")
            print(step, [each.name for each in found] if step == "dry" else found)
        except FleetprofError as error:
            print(step, "refused:", error.message)
        if step == "half":
            (folder / "sql" / "0002_second.sql").write_text("SELECT 2")
        if step == "change":
            (folder / "sql" / "0001_first.sql").write_text("SELECT 1")
        if step == "older":
            (folder / "sql" / "0002_second.sql").unlink()
finally:
    store.close()
"""

FIRST = """-- A comment
CREATE TABLE IF NOT EXISTS a (n UInt8, t ${lc}) ENGINE = MergeTree ORDER BY n
;
CREATE TABLE IF NOT EXISTS c (n UInt8) ENGINE = MergeTree ORDER BY n
;
"""


@pytest.fixture(params=["embedded", "on_server"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty store."""
    if request.param == "embedded":
        return str(tmp_path / "data")
    address: str = request.getfixturevalue("database")
    return address


def run(folder: Path, place: str, *steps: str) -> list[str]:
    command = [sys.executable, "-c", PROGRAM, str(folder), place, *steps]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def write(folder: Path, name: str, sql: str) -> None:
    (folder / "sql").mkdir(exist_ok=True)
    (folder / "sql" / name).write_text(sql)


def test_applied_once_in_order_and_refused_when_newer_or_changed(tmp_path: Path, place: str) -> None:
    write(tmp_path, "0001_first.sql", FIRST)
    write(tmp_path, "0002_second.sql", "CREATE TABLE IF NOT EXISTS b (n UInt8) ENGINE = Memory")
    assert run(tmp_path, place, "dry", "apply", "older", "again", "change", "changed") == [
        "dry ['0001_first', '0002_second']",
        "apply ['0001_first', '0002_second']",
        "older []",
        "again refused: The data was written by a newer fleetprof: its schema is 2, this program's is 1.",
        "change refused: The data was written by a newer fleetprof: its schema is 2, this program's is 1.",
        "changed refused: The data was written by a newer fleetprof: its schema is 2, this program's is 1.",
    ]


def test_a_changed_file_is_refused_and_a_half_applied_one_is_finished(tmp_path: Path, place: str) -> None:
    write(tmp_path, "0001_first.sql", FIRST)
    write(
        tmp_path,
        "0002_second.sql",
        "CREATE TABLE IF NOT EXISTS d (n UInt8) ENGINE = Memory\n;\nnonsense\n;\n",
    )
    first, half, mended, change, changed = run(
        tmp_path, place, "broken", "half", "mended", "change", "changed"
    )
    assert first.startswith("broken refused: The store failed: ")
    assert half.startswith("half refused: The store failed: ")
    assert mended == "mended ['0002_second']"
    assert change == "change []"
    assert changed == "changed refused: Migration 0001_first has changed since this data saw it."
