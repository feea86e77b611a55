"""The SQLite file that holds alerts, their events, silences and the outbox.

SQLite and not ClickHouse, because an alert's change of state and the notification that follows from it must
be one transaction: after kill -9 there is either both or neither, and a unique index refuses a second open
alert of the same fingerprint. ClickHouse has neither transactions nor unique keys. synchronous=FULL
makes a commit outlast a power cut; there are few of them (a handful an evaluation), so that costs nothing.
"""

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from collector.sqlite_schema import create_tables
from fleetprof.errors import UnavailableError

FILE = "alerts.sqlite3"
VERSION = 1

_SCHEMA = """
CREATE TABLE alerts (
    id TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    rule TEXT NOT NULL, scope TEXT NOT NULL, service TEXT NOT NULL, node TEXT NOT NULL, version TEXT NOT NULL,
    kind TEXT NOT NULL, function TEXT NOT NULL,
    state TEXT NOT NULL, reason TEXT NOT NULL, value REAL,
    labels TEXT NOT NULL, annotations TEXT NOT NULL, evidence TEXT NOT NULL,
    receivers TEXT NOT NULL, related TEXT NOT NULL,
    active_at INTEGER NOT NULL, fired_at INTEGER NOT NULL, ended_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL, judged_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX one_open_alert ON alerts (fingerprint) WHERE state IN ('pending', 'firing');
CREATE INDEX alerts_by_end ON alerts (ended_at);
CREATE TABLE events (
    number INTEGER PRIMARY KEY,
    alert TEXT NOT NULL REFERENCES alerts (id) ON DELETE CASCADE,
    at INTEGER NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL, author TEXT NOT NULL
) STRICT;
CREATE INDEX events_by_alert ON events (alert);
CREATE TABLE outbox (
    number INTEGER PRIMARY KEY,
    alert TEXT NOT NULL REFERENCES alerts (id) ON DELETE CASCADE,
    status TEXT NOT NULL, receiver TEXT NOT NULL,
    queued_at INTEGER NOT NULL, done_at INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX one_notification ON outbox (alert, status, receiver);
CREATE INDEX outbox_open ON outbox (receiver, number) WHERE done_at = 0;
CREATE TABLE deliveries (
    notification INTEGER NOT NULL REFERENCES outbox (number) ON DELETE CASCADE,
    target TEXT NOT NULL,
    attempts INTEGER NOT NULL, next_at REAL NOT NULL, done_at REAL NOT NULL, outcome TEXT NOT NULL,
    PRIMARY KEY (notification, target)
) STRICT;
CREATE TABLE silences (
    id TEXT PRIMARY KEY,
    matchers TEXT NOT NULL, starts_at INTEGER NOT NULL, ends_at INTEGER NOT NULL,
    author TEXT NOT NULL, comment TEXT NOT NULL, created_at INTEGER NOT NULL
) STRICT;
CREATE TABLE baselines (
    fingerprint TEXT PRIMARY KEY, at INTEGER NOT NULL, author TEXT NOT NULL, comment TEXT NOT NULL
) STRICT;
CREATE TABLE looks (
    rule TEXT NOT NULL, service TEXT NOT NULL, version TEXT NOT NULL, look_s INTEGER NOT NULL,
    at INTEGER NOT NULL, verdict TEXT NOT NULL, funnel TEXT NOT NULL,
    PRIMARY KEY (rule, service, version, look_s)
) STRICT;
"""


def wanted(data: Path, rules: Path | None) -> bool:
    """True where there are rules, or alerts of former ones that have still to be ended and told."""
    return rules is not None or (data / FILE).exists()


class Database:
    """One connection, used by one thread at a time. Raises UnavailableError when the file cannot be used."""

    def __init__(self, path: Path) -> None:
        """Open the file at `path`, made where there is none."""
        self.path = path
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                path, timeout=10, isolation_level=None, check_same_thread=False
            )
            self._prepare()
        except (OSError, sqlite3.Error) as error:
            raise UnavailableError(
                f"Cannot use the alerts' file {path}: {error}.",
                "Give this user the right to write there; a damaged file can be moved away, which forgets "
                "alerts and silences.",
            ) from error

    def _prepare(self) -> None:
        self._connection.row_factory = sqlite3.Row
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            self._connection.execute(f"PRAGMA {pragma}")
        with self.transaction():
            create_tables(self._connection, VERSION, _SCHEMA)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; other threads wait. Nested ones are part of the outer one."""
        with self._lock:
            if self._connection.in_transaction:
                yield
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        """All rows of a statement."""
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def run(self, sql: str, *values: Any) -> int:
        """Run a statement; the number of rows it changed."""
        with self._lock:
            return self._connection.execute(sql, values).rowcount

    def insert(self, table: str, row: dict[str, Any]) -> int:
        """Add a row; its row number. Table and column names come from this package only."""
        names = ", ".join(row)
        marks = ", ".join("?" * len(row))
        with self._lock:
            cursor = self._connection.execute(
                f"INSERT INTO {table} ({names}) VALUES ({marks})",
                tuple(row.values()),
            )
            return int(cursor.lastrowid or 0)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()


def to_text(value: Any) -> str:
    """A JSON column's text."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
