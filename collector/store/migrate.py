"""Brings a store to this program's schema: numbered SQL files, applied in order and recorded.

A file's statements must be safe to repeat (IF NOT EXISTS), because ClickHouse has no transaction around them:
after a crash half way the file is run again from its start. A file once released is never changed.
"""

import hashlib
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from collector.store.interface import Store
from collector.store.retention import PARTITIONED
from fleetprof.errors import UnavailableError

FOLDER = Path(__file__).parent / "migrations"

_CREATED = re.compile(r"^CREATE TABLE IF NOT EXISTS (\w+)", re.MULTILINE)
RECORD_TABLE = "migrations"
FILLING = 0
"""The number of no migration, recorded before `fill_new` does anything: alone, it says that it did not end."""
_RECORD = """CREATE TABLE IF NOT EXISTS migrations (
    number UInt32,
    name String,
    checksum String,
    applied_at DateTime('UTC')
) ENGINE = MergeTree ORDER BY number"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: its number and name (from `NNNN_name.sql`) and its text before the dialect is applied."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """Tells a changed file."""
        return hashlib.sha256(self.sql.encode("utf-8")).hexdigest()

    @property
    def statements(self) -> list[str]:
        """The statements, in order, without comments."""
        text = re.sub(r"^\s*--.*$", "", self.sql, flags=re.MULTILINE)
        return [part.strip() for part in re.split(r"^;$", text, flags=re.MULTILINE) if part.strip()]


def read_migrations(folder: Path = FOLDER) -> list[Migration]:
    """All migrations of `folder` by number; raises UnavailableError where numbers have gaps or repeat."""
    found = []
    for path in sorted(folder.glob("*.sql")):
        number, _, name = path.stem.partition("_")
        found.append(Migration(int(number), name, path.read_text("utf-8")))
    if [migration.number for migration in found] != list(range(1, len(found) + 1)):
        raise UnavailableError(
            f"The migrations in {folder} are not numbered 1, 2, 3, ….", "Install fleetprof again."
        )
    return found


def tables(folder: Path = FOLDER) -> frozenset[str]:
    """The names of all tables that migrations make."""
    return frozenset(_CREATED.findall("".join(migration.sql for migration in read_migrations(folder))))


@dataclass(frozen=True, slots=True)
class Step:
    """A migration that a store lacks: its name, such as "0001_first", and what it would run there."""

    name: str
    statements: list[str]


def plan(store: Store, folder: Path = FOLDER) -> list[Step]:
    """What `migrate` would do, in order.

    Raises UnavailableError when the store's schema is newer than this program or a file that was applied
    has changed since.
    """
    return [
        Step(
            _title(migration), [s for statement in migration.statements for s in store.dialect.ddl(statement)]
        )
        for migration in _missing(store, folder)
    ]


def migrate(store: Store, folder: Path = FOLDER) -> list[str]:
    """Apply what is missing and return the names of it, e.g. ["0001_first"].

    Raises as `plan` does, and StoreError when a statement fails.
    """
    missing = _missing(store, folder)
    for migration in missing:
        _apply(store, migration)
        _record(store, migration)
    return [_title(migration) for migration in missing]


def fill_new(store: Store, schema: int, fill: Callable[[], None], folder: Path = FOLDER) -> None:
    """Give a store without tables those of `schema`, `fill` them, and bring them to this program's schema.

    Migrations are recorded when all is done: until then, the store is known as half-filled (half_filled.py), and
    `migrate` refuses it. Raises UnavailableError for a schema that is newer than this program.
    """
    migrations = read_migrations(folder)
    _check(migrations, {schema: ""} if schema > len(migrations) else {})
    if FILLING not in applied(store):
        _record(store, Migration(FILLING, "filled from a backup", ""))
    for migration in migrations[:schema]:
        _apply(store, migration)
    fill()
    for migration in migrations[schema:]:
        _apply(store, migration)
    for migration in migrations:
        _record(store, migration)


def newest_applied(store: Store) -> int:
    """The number of the newest migration that the store has; 0 for none."""
    return max(applied(store), default=0)


def _missing(store: Store, folder: Path) -> list[Migration]:
    migrations = read_migrations(folder)
    known = applied(store)
    if set(known) == {FILLING} or (not known and store.partitions(list(PARTITIONED))):
        raise UnavailableError(
            "The store is half-filled: a restore was interrupted.",
            "Start it again, it begins anew: fleetprof-collector restore FOLDER",
        )
    _check(migrations, known)
    return [migration for migration in migrations if migration.number not in known]


def _title(migration: Migration) -> str:
    return f"{migration.number:04}_{migration.name}"


def applied(store: Store) -> dict[int, str]:
    """Number → checksum of the migrations that the store has seen, and FILLING; raises StoreError."""
    exists = store.query((f"EXISTS TABLE {RECORD_TABLE}", {}))
    if not next(iter(exists.values()))[0]:
        return {}
    rows = store.query((f"SELECT number, checksum FROM {RECORD_TABLE} ORDER BY number", {}))  # noqa: S608 (own name)
    return dict(zip(rows["number"].tolist(), rows["checksum"].tolist(), strict=True))


def _check(migrations: list[Migration], known: dict[int, str]) -> None:
    newest = max(known, default=0)
    if newest > len(migrations):
        raise UnavailableError(
            f"The data was written by a newer fleetprof: its schema is {newest}, this program's is "
            f"{len(migrations)}.",
            "Install the newer fleetprof again, or use another data folder.",
        )
    for migration in migrations:
        if known.get(migration.number, migration.checksum) != migration.checksum:
            raise UnavailableError(
                f"Migration {_title(migration)} has changed since this data saw it.",
                "Install an unmodified fleetprof.",
            )


def _apply(store: Store, migration: Migration) -> None:
    for statement in migration.statements:
        for rendered in store.dialect.ddl(statement):
            store.execute((rendered.replace("%", "%%"), {}))


def _record(store: Store, migration: Migration) -> None:
    for statement in store.dialect.ddl(_RECORD):
        store.execute((statement, {}))
    record = {
        "number": [migration.number],
        "name": [migration.name],
        "checksum": [migration.checksum],
        "applied_at": [int(time.time())],
    }
    store.insert(RECORD_TABLE, record, uuid.uuid4().hex)
