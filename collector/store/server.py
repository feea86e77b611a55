"""A ClickHouse server as the store, by its native protocol."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa

from collector.store import catalog, columns
from collector.store.address import ServerAddress
from collector.store.catalog import Schemas
from collector.store.dialect import Dialect, parse_version
from collector.store.errors import StoreAway, StoreBusy, StoreError
from collector.store.interface import Block, Columns, Statement
from collector.store.lease import BEAT_S, EXPIRY_S, Epochs, Lease
from collector.store.lease_tables import LeaseTables
from collector.store.one_place import OnePlace
from collector.store.parameters import with_literals
from collector.store.pool import Pool
from collector.store.snapshot import Site
from fleetprof.errors import UnavailableError

QUERY_SECONDS = 30
"""Longest time of one query."""

OUTSIDE_SECONDS = 10.0

_OLDEST = (18, 16)
_LARGE = 1 << 40
_SETTLE_S = 60.0
_POLL_S = 0.02
# Queries carry ids of the stacks and series they are about.
_ALWAYS = {
    "max_query_size": _LARGE,
    "max_ast_elements": 100_000_000,
    "max_expanded_ast_elements": 100_000_000,
}
# A collector that stands still in the middle of an insert would hold up who takes over for 300 s.
INSERT = {"receive_timeout": 20}
# As for the embedded store (chdb.py): no insert tokens, no sums at insert; and a block stays one block.
_MODERN_INSERT = {"async_insert": 0, "insert_deduplicate": 0, "optimize_on_insert": 0}
# Else text comes in a form of its own, which native.py leaves to the server.
_MODERN = {"low_cardinality_allow_in_native_format": 0}


class ServerStore(OnePlace):
    """A `Store` in one database of a server, which may have several addresses.

    Statements take a connection from a pool; a further one waits, and gets StoreBusy after 30 s. `query_id`s
    begin with "fleetprof/DATABASE/", so that inserts under way can be found.
    """

    lease_s = (BEAT_S, EXPIRY_S)
    """How often the lease is renewed, and after how long without it is free."""

    def __init__(
        self,
        address: ServerAddress,
        memory_limit_bytes: int,
        threads: int,
        connections: int = 8,
        create: bool = True,
    ) -> None:
        """Connect, and create the database where it is missing; without `create` it looks empty then.

        `memory_limit_bytes` and `threads` are for one query. Raises UnavailableError when the server is away,
        refuses the login or is too old.
        """
        self.address = address
        self._limits: dict[str, Any] = {"max_memory_usage": memory_limit_bytes, "max_threads": threads}
        self._settings: dict[str, Any] = dict(_ALWAYS)
        self._schemas = Schemas(self.query)
        self._unsettled = threading.Event()
        self._unsettled.set()
        if not self._has_database():
            if create:
                self._create_database()
            else:
                address = replace(address, database="system")
        self._pool, self._spare = Pool(address, connections), Pool(address, 4)
        self._lease: Lease | None = None
        self.dialect = self._greet()

    def query(self, statement: Statement) -> Columns:
        """Run a SELECT; see `Store.query`."""
        return columns.to_numpy(self.query_arrow(statement))

    def query_arrow(self, statement: Statement) -> pa.Table:
        """Run a SELECT; see `Store.query_arrow`. Once more where the server went away meanwhile."""
        try:
            return self._select(statement)
        except StoreAway:
            return self._select(statement)

    def execute(self, statement: Statement) -> None:
        """Run a statement without a result; see `Store.execute`."""
        self._run(with_literals(*statement), {})

    def insert(self, table: str, block: Block, token: str) -> None:
        """Append rows as one block; see `Store.insert`. `token` is not used."""
        rows = columns.to_table(block, self.schema(table))
        if not rows.num_rows:
            return
        names = ", ".join(f"`{name}`" for name in rows.column_names)
        settings = self._settings | INSERT | (_MODERN_INSERT if self.dialect.modern else {})
        try:
            with self._pool.connection() as connection:
                connection.insert(
                    f"INSERT INTO {table} ({names}) VALUES", rows, settings, self._query_id(), self._may_write
                )
        except StoreError:
            self._unsettled.set()
            raise

    def schema(self, table: str) -> pa.Schema:
        """The Arrow schema of `table`, asked once; see `Store.schema`."""
        return self._schemas.of(table)

    def mend_parts(self) -> None:
        """Nothing to do: a server sees a failed write; see `Store.mend_parts`."""

    def newest_blocks(self) -> dict[str, int]:
        """Table → number of its newest block; see `Store.newest_blocks`.

        After an insert whose end was not seen, by this process or by one before it, waits until the server has
        none under way any more: such an insert may still be committed. The server lists an insert before it
        takes its rows, hence every one that can be committed is listed.
        """
        if self._unsettled.is_set():
            self._settle()
            self._unsettled.clear()
        return catalog.newest_blocks(self.query)

    def sites(self, all_replicas: bool = False) -> list[Site]:
        """The database; see `Store.sites`."""
        return [self._site(self._pool)]

    def own(
        self,
        holder: str,
        wait: bool = False,
        stopping: threading.Event | None = None,
        after_other: Callable[[], object] = lambda: None,
    ) -> bool:
        """Become the one collector that writes here, until `close`; see `Store.own`."""
        lease = Lease(self._epochs(), holder, *self.lease_s)
        continued = lease.take(wait, stopping, after_other)
        self._lease = lease
        return continued

    @property
    def owned(self) -> bool:
        """False once another collector has taken the store over."""
        return self._lease is None or not self._lease.lost

    def close(self) -> None:
        """Wait for running statements, then disconnect; more calls do nothing."""
        if self._lease:
            self._lease.release()
        self._pool.close()
        self._spare.close()

    def _site(self, pool: Pool) -> Site:
        """The database on the server of `pool`."""

        def ask(statement: Statement) -> Columns:
            return columns.to_numpy(self._run_in(pool, with_literals(*statement), {}))

        def tell(statement: Statement) -> None:
            self._run_in(pool, with_literals(*statement), {})

        def stream(statement: Statement) -> Iterator[pa.Table]:
            with pool.connection() as connection:
                yield from connection.blocks(with_literals(*statement), self._settings, self._query_id())

        return Site(ask, tell, stream)

    def _epochs(self) -> Epochs:
        return LeaseTables(self._ask, self._tell, self._settle)

    def _may_write(self) -> None:
        if self._lease:
            self._lease.check()

    def _ask(self, statement: Statement) -> Columns:
        """A query for the lease: neither behind other statements nor retried."""
        with self._spare.connection() as connection:
            return columns.to_numpy(connection.select(with_literals(*statement), self._settings))

    def _tell(self, statement: Statement) -> None:
        with self._spare.connection() as connection:
            connection.select(with_literals(*statement), self._settings)

    def _select(self, statement: Statement) -> pa.Table:
        return self._run(with_literals(*statement), self._limits | {"max_execution_time": QUERY_SECONDS})

    def _run(self, sql: str, settings: dict[str, Any]) -> pa.Table:
        return self._run_in(self._pool, sql, settings)

    def _run_in(self, pool: Pool, sql: str, settings: dict[str, Any]) -> pa.Table:
        with pool.connection() as connection:
            return connection.select(sql, self._settings | settings, self._query_id())

    def _query_id(self) -> str:
        return f"fleetprof/{self.address.database}/{uuid.uuid4().hex}"

    def _settle(self, pool: Pool | None = None) -> None:
        """Wait until no insert of any collector is under way on the server (of `pool`)."""
        running: Statement = (
            "SELECT count() AS n FROM system.processes WHERE query_id LIKE %(ours)s AND query LIKE 'INSERT %%'",
            {"ours": f"fleetprof/{self.address.database}/%"},
        )
        deadline = time.monotonic() + _SETTLE_S
        sql = with_literals(*running)
        while self._run_in(pool or self._spare, sql, {}).column("n").to_pylist() != [0]:
            if time.monotonic() > deadline:
                raise StoreBusy(0, "The store is still busy with inserts of before.", "Try again later.")
            time.sleep(_POLL_S)

    def _has_database(self) -> bool:
        return (
            self.address.database
            in self._outside("SELECT name FROM system.databases").column("name").to_pylist()
        )

    def _create_database(self) -> None:
        self._outside(f"CREATE DATABASE IF NOT EXISTS {self.address.database}")

    def _outside(self, sql: str, deadline_s: float = OUTSIDE_SECONDS) -> pa.Table:
        """Run a statement that needs no database."""
        pool = Pool(replace(self.address, database=""), 1)
        try:
            with pool.connection() as connection:
                return connection.select(sql, {}, deadline_s=deadline_s)
        finally:
            pool.close()

    def _greet(self) -> Dialect:
        version = str(self.query(("SELECT version() AS v", {}))["v"][0])
        dialect = Dialect(parse_version(version))
        if dialect.version < _OLDEST:
            raise UnavailableError(
                f"The server of the store {self.address} is ClickHouse {version}, which is too old.",
                "Use 23.8 or newer.",
            )
        if dialect.modern:
            self._settings |= _MODERN
        return dialect
