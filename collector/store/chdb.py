"""Embedded ClickHouse (chDB) as the store: one process, one folder, a pool of connections."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from chdb.state.sqlitelike import Connection

from collector.store import catalog, columns
from collector.store.catalog import Schemas
from collector.store.dialect import Dialect, parse_version
from collector.store.errors import StoreBusy, StoreError, parse
from collector.store.folder_lock import FolderLock
from collector.store.interface import Block, Columns, Statement
from collector.store.one_place import OnePlace
from collector.store.parameters import typed
from collector.store.snapshot import Site
from collector.store.whole_parts import Looked, WholeParts
from fleetprof.errors import InputError, UnavailableError
from fleetprof.open_files import raise_limit

log = logging.getLogger("fleetprof.store")

DEFAULT_MEMORY_BYTES = 2 << 30
DEFAULT_THREADS = 2
QUERY_SECONDS = 30
"""Longest time of one query."""

_OPEN_FILES = 65_536
"""It holds three for each of its threads, and those of the parts that it reads."""
_CONFIG = Path(__file__).with_name("chdb.xml")
_MARK_CACHE_BYTES = 256 << 20  # ClickHouse's default of 5 GiB is for servers of their own
# ClickHouse notes an insert's token before it commits the part (MergeTreeSink): killed in between, it ignores
# the retry and the rows are gone (reproduced on 26.9 with SIGKILL at that rename). So: no tokens here.
# optimize_on_insert would sum each block again, which the collector has done, in 2.5 times the time.
_INSERT_SETTINGS = "async_insert = 0, insert_deduplicate = 0, optimize_on_insert = 0, max_execution_time = 0"
_POOL_WAIT_SECONDS = 30
_NOT_ENOUGH_SPACE = 243


class ChdbStore(OnePlace):
    """A `Store` in a folder of this machine.

    A connection runs one statement at a time, so statements take one from a pool of `connections`; a further
    one waits, and gets StoreBusy after 30 s. A process can have one folder open at a time.
    """

    def __init__(
        self,
        path: Path,
        memory_limit_bytes: int = DEFAULT_MEMORY_BYTES,
        threads: int = DEFAULT_THREADS,
        connections: int = 8,
    ) -> None:
        """Open or create the store at `path`.

        Raises UnavailableError when another process has it open, when it cannot be written, or when it is
        not ours to read; InputError for a path that chDB cannot name.
        """
        self.path = path.absolute()
        if {"?", "&", "%"} & set(str(self.path)):
            raise InputError(f"The data folder {self.path} has one of ? & % in its name.", "Choose another.")
        raise_limit(_OPEN_FILES)
        self._lock = FolderLock(self.path)
        self._address = (
            f"{self.path}/clickhouse?max_server_memory_usage={memory_limit_bytes}"
            f"&mark_cache_size={_MARK_CACHE_BYTES}&max_threads={threads}&max_threads_min_free_memory_per_thread=0"
            f"&async_insert=0&config-file={_CONFIG}"
        )
        self._free = threading.BoundedSemaphore(connections)
        self._connections = connections
        self._guard = threading.Lock()
        self._idle: list[_Pooled] = []
        self._schemas = Schemas(self.query)
        self._inserting: dict[str, threading.Lock] = {}
        self._measuring = threading.Lock()
        self._newest_block: dict[str, int] = {}
        """Of tables that were inserted into; only we insert, and numbers only rise."""
        self._parts = WholeParts(self.query, self.execute)
        self._closed = False
        try:
            version = str(self.query(("SELECT version() AS v", {}))["v"][0])
        except UnavailableError:
            self._lock.release()
            raise
        self.dialect = Dialect(parse_version(version))
        for part in self._parts.set_aside():
            log.error(
                "ClickHouse could not read part %s of %s, and has set it aside in %s.",
                part.name, part.table, self.path,
            )  # fmt: skip

    def query(self, statement: Statement) -> Columns:
        """Run a SELECT; see `Store.query`."""
        return columns.to_numpy(self.query_arrow(statement))

    def query_arrow(self, statement: Statement) -> pa.Table:
        """Run a SELECT; see `Store.query_arrow`."""
        sql, values = typed(*statement)
        with self._connection(QUERY_SECONDS) as connection:
            data = connection.query(sql, "ArrowStream", params=values or None).bytes()
        return columns.from_ipc(data)

    def stream(self, statement: Statement) -> Iterator[pa.Table]:
        """Run a SELECT without a time limit; its rows come in blocks, as they are read."""
        sql, values = typed(*statement)
        with (
            self._connection(0) as connection,
            connection.send_query(sql, "ArrowStream", params=values or None) as chunks,
        ):
            for chunk in chunks:
                yield columns.from_ipc(chunk.bytes())

    def execute(self, statement: Statement) -> None:
        """Run a statement without a result; see `Store.execute`."""
        sql, values = typed(*statement)
        with self._connection(0) as connection:
            connection.query(sql, "Null", params=values or None)

    def insert(self, table: str, block: Block, token: str) -> None:
        """Append rows as one block; see `Store.insert`. `token` is not used."""
        rows = columns.to_table(block, self.schema(table))
        if not rows.num_rows:
            return
        names = ", ".join(f"`{name}`" for name in rows.column_names)
        statement = f"INSERT INTO {table} ({names}) SETTINGS {_INSERT_SETTINGS}"
        data = columns.to_ipc(rows)
        with self._inserting.setdefault(table, threading.Lock()):
            before = self._newest_block.get(table) or self.newest_blocks().get(table, 0)
            with (
                self._connection(0) as connection,
                connection.send_insert(statement, "ArrowStream") as stream,
            ):
                stream.append(data)
                stream.finish()
            self._newest_block[table] = self._expect_newer(table, before)

    def mend_parts(self) -> None:
        """Take back merges that a full disk cut short; see `Store.mend_parts`."""
        for table in {part.table for part in self._look().cut}:
            with self._inserting.setdefault(table, threading.Lock()):
                self._reload(table)

    def _look(self, table: str = "") -> Looked:
        with self._measuring:
            return self._parts.look(table)

    def _reload(self, table: str) -> None:
        self._newest_block.pop(table, None)
        with self._measuring:
            self._parts.reload(table)

    def _expect_newer(self, table: str, before: int) -> int:
        """The table's newest block; raises StoreError when it is not newer than `before`.

        On a full disk a streamed insert of chDB (4.4) answers that all rows were written, and drops them.
        """
        looked = self._look(table)
        if looked.cut:
            self._reload(table)
            looked = self._look(table)
        if looked.newest <= before:
            raise StoreError(
                _NOT_ENOUGH_SPACE,
                f"Rows of {table} did not reach {self.path}: its disk is full, or refuses to be written.",
                "Make room there, or shorten the retention.",
            )
        return looked.newest

    def schema(self, table: str) -> pa.Schema:
        """The Arrow schema of `table`, asked once; see `Store.schema`."""
        return self._schemas.of(table)

    def newest_blocks(self) -> dict[str, int]:
        """Table → number of its newest block; see `Store.newest_blocks`."""
        return catalog.newest_blocks(self.query)

    def sites(self, all_replicas: bool = False) -> list[Site]:
        """The folder; see `Store.sites`."""
        return [Site(self.query, self.execute, self.stream)]

    def own(
        self,
        holder: str,
        wait: bool = False,
        stopping: threading.Event | None = None,
        after_other: Callable[[], object] = lambda: None,
    ) -> bool:
        """Nothing to do: who opened the folder is the only one; see `Store.own`."""
        return True

    @property
    def owned(self) -> bool:
        """Always true: nobody can take the folder from its process."""
        return True

    def close(self) -> None:
        """Wait for running statements, then release the folder; more calls do nothing."""
        if self._closed:
            return
        for _ in range(self._connections):
            self._free.acquire(timeout=_POOL_WAIT_SECONDS)
        with self._guard:
            self._closed = True
            for connection in self._idle:
                connection.raw.close()
            self._idle.clear()
        self._lock.release()

    @contextmanager
    def _connection(self, limit_s: int) -> Iterator[Connection]:
        """A connection of the pool whose statements may take `limit_s` (0: for ever); errors get a type."""
        if not self._free.acquire(timeout=_POOL_WAIT_SECONDS):
            raise StoreBusy(0, "All connections to the store are in use.", "Try again later.")
        try:
            pooled = self._take()
            try:
                pooled.limit(limit_s)
                yield pooled.raw
            except BaseException as error:
                self._renew(pooled)
                if isinstance(error, RuntimeError):
                    raise parse(str(error)) from error
                raise
            with self._guard:
                self._idle.append(pooled)
        finally:
            self._free.release()

    def _renew(self, failed: "_Pooled") -> None:
        """Another connection in place of one whose statement failed.

        chDB (4.4) gives what a failed query has written to its Arrow stream to the next query of the connection:
        a wrong answer. The new one comes first, since chDB stops with its last connection.
        """
        try:
            fresh = _Pooled(Connection(self._address))
        except RuntimeError as error:
            log.warning("Cannot open another connection to %s: %s", self.path, parse(str(error)).message)
        else:
            with self._guard:
                self._idle.append(fresh)
        failed.raw.close()

    def _take(self) -> "_Pooled":
        with self._guard:
            if self._closed:
                raise StoreError(0, "The store is closed.")
            if self._idle:
                return self._idle.pop()
        try:
            return _Pooled(Connection(self._address))
        except RuntimeError as error:
            raise self._cannot_open(error) from error

    def _cannot_open(self, error: RuntimeError) -> UnavailableError:
        if "already initialized with path" in str(error):
            return UnavailableError(
                f"Cannot open {self.path}: this process has another data folder open.",
                "Close that one first.",
            )
        return UnavailableError(
            f"Cannot open the data folder {self.path}: {parse(str(error)).message}",
            "If its files were damaged, move the folder away and start with an empty one.",
        )


class _Pooled:
    """A connection and the time limit that was last set on it."""

    def __init__(self, raw: Any) -> None:
        self.raw = raw
        self._limit_s = 0

    def limit(self, limit_s: int) -> None:
        """Set the time limit of the connection's statements, in seconds; 0 for none."""
        if limit_s != self._limit_s:
            self.raw.query(f"SET max_execution_time = {int(limit_s)}")
            self._limit_s = limit_s
