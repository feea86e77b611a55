"""The tokens of a collector, in an SQLite file that only its owner can read.

The command `fleetprof-collector token` writes the file while the collector runs; the collector looks for changes
at most every LOOK_EVERY_S, when it is asked.
"""

import logging
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from collector.sqlite_schema import create_tables
from collector.tokens.token import Scope, Token, make_text
from fleetprof.errors import InputError, UnavailableError

log = logging.getLogger("fleetprof.tokens")

FILE = "tokens.sqlite3"
VERSION = 1
LOOK_EVERY_S = 1.0
MAX_NAME = 64

_SCHEMA = """
CREATE TABLE tokens (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, digest BLOB NOT NULL, scopes TEXT NOT NULL,
    created_s INTEGER NOT NULL, expires_s INTEGER, revoked_s INTEGER
) STRICT;
CREATE UNIQUE INDEX one_valid_name ON tokens (name) WHERE revoked_s IS NULL;
CREATE TABLE session_key (value BLOB NOT NULL) STRICT;
"""
_COLUMNS = "id, name, digest, scopes, created_s, expires_s, revoked_s"


class TokenBook:
    """All tokens. Safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        """Open the file in `folder`, made where there is none; raises UnavailableError."""
        self.path = folder / FILE
        self._lock = threading.Lock()
        self._tokens: dict[str, Token] = {}
        self._own: dict[str, Token] = {}
        self._version = -1
        self._looked_s = 0.0
        self._failed = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _create(self.path, folder)
            self._connection = sqlite3.connect(
                self.path, timeout=10, isolation_level=None, check_same_thread=False
            )
            self._prepare()
            self._load()
        except (OSError, sqlite3.Error) as error:
            raise UnavailableError(
                f"Cannot use the tokens' file {self.path}: {error}.",
                "It must belong to the collector's user; a damaged one can be moved away, which ends all tokens.",
            ) from error

    def find(self, number: str) -> Token | None:
        """The token of this id, revoked and expired ones too."""
        with self._lock:
            self._look()
            return self._tokens.get(number) or self._own.get(number)

    def all(self) -> list[Token]:
        """All tokens, oldest first."""
        with self._lock:
            self._load()
            return sorted(self._tokens.values(), key=lambda token: (token.created_s, token.name))

    def create(self, name: str, scopes: Iterable[Scope], expires_s: int | None = None) -> str:
        """Make a token; returns its text, which is kept nowhere. Raises InputError."""
        if not 0 < len(name) <= MAX_NAME or not name.isprintable():
            raise InputError(
                f"A token's name has 1 to {MAX_NAME} printable characters.", "Example: agents-berlin."
            )
        chosen = frozenset(scopes)
        if not chosen:
            raise InputError("The token has no scope.", "Give --scope ingest, read or admin.")
        text, number, digest = make_text()
        row = (number, name, digest, " ".join(sorted(chosen)), int(time.time()), expires_s)
        try:
            self._change("INSERT INTO tokens VALUES (?, ?, ?, ?, ?, ?, NULL)", *row)
        except sqlite3.IntegrityError:
            raise InputError(
                f'There is a token named "{name}" already.', "Choose another name, or revoke that one first."
            ) from None
        return text

    def revoke(self, which: str) -> Token:
        """End a token, by name or id; raises InputError."""
        found = [token for token in self.all() if which in (token.name, token.id)]
        open_ones = [token for token in found if token.revoked_s is None]
        if not open_ones:
            what = f'The token "{which}" is revoked already.' if found else f'There is no token "{which}".'
            raise InputError(what, "See: fleetprof-collector token list.")
        self._change("UPDATE tokens SET revoked_s = ? WHERE id = ?", int(time.time()), open_ones[0].id)
        return open_ones[0]

    def lend(self, name: str, scopes: Iterable[Scope]) -> str:
        """The text of a token that lives as long as this process, in its memory only."""
        text, number, digest = make_text()
        self._own[number] = Token(number, name, digest, frozenset(scopes), int(time.time()))
        return text

    def session_key(self) -> bytes:
        """What cookies of the pages are signed with."""
        with self._lock:
            row = self._connection.execute("SELECT value FROM session_key").fetchone()
            return bytes(row[0])

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def _prepare(self) -> None:
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("BEGIN IMMEDIATE")
        if create_tables(self._connection, VERSION, _SCHEMA):
            self._connection.execute("INSERT INTO session_key VALUES (?)", (secrets.token_bytes(32),))
        self._connection.execute("COMMIT")

    def _change(self, statement: str, *values: object) -> None:
        with self._lock:
            try:
                self._connection.execute(statement, values)
            except sqlite3.OperationalError as error:
                raise UnavailableError(f"Cannot write {self.path}: {error}.", "Try again.") from error
            self._load()

    def _look(self) -> None:
        """Read the file again where it has changed; one that cannot be read leaves things as they are."""
        now_s = time.monotonic()
        if now_s - self._looked_s < LOOK_EVERY_S:
            return
        self._looked_s = now_s
        try:
            version = self._connection.execute("PRAGMA data_version").fetchone()[0]
            if version != self._version:
                self._load()
                self._version = version
            self._failed = False
        except sqlite3.Error as error:
            if not self._failed:
                log.error("Cannot read %s: %s. The tokens read before stay in force.", self.path, error)
            self._failed = True

    def _load(self) -> None:
        rows = self._connection.execute(f"SELECT {_COLUMNS} FROM tokens")  # noqa: S608 (own names)
        self._tokens = {row[0]: _token(row) for row in rows}


def _token(row: tuple[str, str, bytes, str, int, int | None, int | None]) -> Token:
    known = {str(scope): scope for scope in Scope}
    scopes = frozenset(known[word] for word in row[3].split() if word in known)
    return Token(row[0], row[1], row[2], scopes, row[4], row[5], row[6])


def _create(path: Path, folder: Path) -> None:
    """Make the file for its owner alone: the folder's owner, where root makes it for the collector's user."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return
    try:
        if os.geteuid() == 0:
            owner = folder.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
    finally:
        os.close(descriptor)
