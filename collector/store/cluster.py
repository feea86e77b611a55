"""A cluster of ClickHouse servers as the store: replicated tables in shards, read through distributed ones.

The collector puts rows on their shards itself, so that an insert that it saw acknowledged is in a replica, and not
in a queue of the server that it spoke to. A repeated insert is recognised by the shard's replicas (by a token, on
18.16 by its content), whichever of them it is sent to.
"""

import logging
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from collector.store import columns
from collector.store.address import ServerAddress
from collector.store.catalog import columns_statement, partitions_statement
from collector.store.cluster_ddl import SHARD_KEYS, Cluster, local_table
from collector.store.cluster_lease import ClusterLease
from collector.store.errors import QueryTooLong, StoreAway, StoreBusy, StoreError
from collector.store.interface import Block, Statement
from collector.store.lease import Epochs
from collector.store.parameters import with_literals
from collector.store.pool import Pool
from collector.store.server import INSERT, ServerStore
from collector.store.snapshot import Site
from fleetprof.errors import UnavailableError

log = logging.getLogger("fleetprof.store")

T = TypeVar("T")

DDL_SECONDS = 30.0
"""Longest wait for a change of the schema to reach every server that is there."""

SETTLE_SECONDS = 60.0

CAUGHT_UP_SECONDS = 5.0

_POLL_S = 0.1
_BEHIND = (
    "SELECT count() AS n FROM system.replicas WHERE database = currentDatabase()"
    " AND (is_readonly OR queue_size > 0 OR (log_max_index > 0 AND log_max_index >= log_pointer))"
)
# Of those, what a query could miss: merges may go on.
_LACKING = (
    "SELECT count() AS n FROM system.replicas WHERE database = currentDatabase() AND table IN %(tables)s"
    " AND (is_readonly OR inserts_in_queue > 0 OR (log_max_index > 0 AND log_max_index >= log_pointer))"
)
# Other replicas of the shard may take what one cannot: read only without ZooKeeper, ZooKeeper's errors, an insert
# whose end is unknown, too many parts; a new leader of the replicas is being chosen.
_ELSEWHERE = {242, 252, 292, 319, 999}
# `global` runs a subquery once and sends its result to the shards. Without all shards an answer would be wrong.
_READ: dict[str, int | str] = {
    "distributed_product_mode": "global",
    "skip_unavailable_shards": 0,
    "load_balancing": "in_order",
    "max_replica_delay_for_distributed_queries": 10,
}


@dataclass(frozen=True, slots=True)
class Node:
    """One server of the cluster."""

    shard: int
    replica: int
    host: str
    port: int
    pool: Pool
    spare: Pool
    """For what must not wait behind inserts."""

    def __str__(self) -> str:
        return f"{self.host}:{self.port} (shard {self.shard}, replica {self.replica})"


class ClusterStore(ServerStore):
    """A `Store` in one database of all servers of a cluster; statements start at the first server that answers."""

    def __init__(
        self,
        address: ServerAddress,
        memory_limit_bytes: int,
        threads: int,
        connections: int = 8,
        create: bool = True,
    ) -> None:
        """As `ServerStore`; raises UnavailableError too when the servers do not know the cluster."""
        self._nodes: list[Node] = []
        super().__init__(address, memory_limit_bytes, threads, connections, create)
        self.dialect = replace(self.dialect, cluster=Cluster(address.cluster, address.database))
        self._limits |= _READ
        try:
            self._nodes = self._find_nodes(connections)
        except StoreError:
            self.close()
            raise
        shards = sorted({node.shard for node in self._nodes})
        self._shards = [[node for node in self._nodes if node.shard == shard] for shard in shards]

    def insert(self, table: str, block: Block, token: str) -> None:
        """Append rows, to each shard its own as one block; see `Store.insert`.

        After an error the same call can be repeated: what a shard has already it does not take again.
        """
        rows = columns.to_table(block, self.schema(table))
        for shard, part in self.split(table, rows):
            self._insert_into(self._shards[shard], local_table(table), part, f"{token}-{shard}")

    def execute(self, statement: Statement) -> None:
        """Run a statement; one ON CLUSTER is done when all servers that are there have its table alike.

        Raises UnavailableError when one of them has not after 30 s, or a shard has no server that is there.
        """
        if " ON CLUSTER " not in statement[0]:
            super().execute(statement)
            return
        sql = with_literals(*statement)
        deadline = time.monotonic() + DDL_SECONDS
        try:
            with self._spare.connection() as connection:
                settings = self._settings | {"distributed_ddl_task_timeout": int(DDL_SECONDS)}
                connection.select(sql, settings, deadline_s=DDL_SECONDS)
        except (StoreAway, QueryTooLong) as error:
            # Servers that are away get it from the queue when they are back; those that are there must have it.
            log.warning("A change of the schema has not reached all servers yet: %s", error.message)
        if "TABLE" in sql:
            self._verify(sql.split(" ON CLUSTER ")[0].split(".")[-1], deadline)

    @property
    def shards(self) -> int:
        """As `Store.shards`."""
        return len(self._shards)

    def newest_blocks(self) -> dict[str, int]:
        """Nothing: replicas recognise what is repeated; see `Store.newest_blocks`."""
        return {}

    def mend_parts(self) -> None:
        """Nothing to do: servers see a failed write; see `Store.mend_parts`."""

    def caught_up(self) -> bool:
        """Whether all servers are there and have all rows; see `Store.caught_up`. Waits for some seconds."""
        deadline = time.monotonic() + CAUGHT_UP_SECONDS
        try:
            while any(map(self._lacks_rows, self._nodes)):
                if time.monotonic() > deadline:
                    return False
                time.sleep(_POLL_S)
        except StoreAway:
            return False
        return True

    def partitions(self, tables: list[str]) -> list[tuple[str, int]]:
        """The partitions of tables on any server; see `Store.partitions`."""
        named = {local_table(table): table for table in tables}
        sql = with_literals(*partitions_statement(list(named)))
        found: set[tuple[str, int]] = set()
        for replicas in self._shards:
            answer = self._on_one_of(replicas, lambda pool: self._run_in(pool, sql, {}))
            found |= {(named[row["table"]], int(row["partition"])) for row in answer.to_pylist()}
        return sorted(found)

    def drop_partition(self, table: str, partition: int) -> None:
        """Drop a partition on every shard; see `Store.drop_partition`."""
        sql = f"ALTER TABLE {local_table(table)} DROP PARTITION {int(partition)}"
        for replicas in self._shards:
            self._on_one_of(replicas, lambda pool: self._run_in(pool, sql, {}))

    def sites(self, all_replicas: bool = False) -> list[Site]:
        """Of each shard a replica that has all rows, or all replicas; see `Store.sites`."""
        if all_replicas:
            return [self._site_of(node) for node in self._nodes]
        return [self._site_of(self._complete_one(replicas)) for replicas in self._shards]

    def _site_of(self, node: Node) -> Site:
        """A server; tables without a shard key, which are whole on every one, count as those of the first shard."""

        def in_store(name: str) -> str:
            return name.removesuffix("_local")

        def elsewhere(name: str) -> bool:
            return node.shard != self._shards[0][0].shard and in_store(name) not in SHARD_KEYS

        return replace(self._site(node.pool), common_name=in_store, elsewhere=elsewhere)

    def _complete_one(self, replicas: list[Node]) -> Node:
        """A replica that is there, once it has all rows that the others were given."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            for node in replicas:
                with suppress(StoreAway):
                    if not self._lacks_rows(node):
                        return node
            if time.monotonic() > deadline:
                raise StoreAway(279, f"No server of shard {replicas[0].shard} has all rows.", "Start one.")
            time.sleep(_POLL_S)

    def _lacks_rows(self, node: Node) -> bool:
        """Whether other replicas have rows that a server has not; raises StoreAway."""
        sql = with_literals(_LACKING, {"tables": sorted(map(local_table, SHARD_KEYS))})
        return bool(self._run_in(node.spare, sql, {}).column("n")[0].as_py())

    def close(self) -> None:
        """Wait for running statements, then disconnect; more calls do nothing."""
        super().close()
        for node in self._nodes:
            node.pool.close()
            node.spare.close()

    def _epochs(self) -> Epochs:
        pools = [node.spare for node in self._nodes]
        run = lambda pool, sql: self._run_in(pool, sql, {})  # noqa: E731
        return ClusterLease(self.address.database, pools, run, self._settle_all)

    def _settle_all(self) -> None:
        """Wait until no insert is under way on a server that is there, and all of them have all rows.

        What a new owner reads then (which windows are stored) is what the one before it was acknowledged, but for
        rows that only a server which is away has.
        """
        deadline = time.monotonic() + SETTLE_SECONDS
        for node in self._nodes:
            try:
                self._settle(node.spare)
                while int(self._run_in(node.spare, _BEHIND, {}).column("n")[0].as_py()):
                    if time.monotonic() > deadline:
                        raise StoreBusy(0, f"{node} is behind its replicas.", "Wait until it has caught up.")
                    time.sleep(_POLL_S)
            except StoreAway as error:
                log.warning("Cannot see whether %s has all rows: %s", node, error.message)

    def _create_database(self) -> None:
        known = self._outside("SELECT DISTINCT cluster FROM system.clusters").column("cluster").to_pylist()
        if self.address.cluster not in known:
            raise self._unknown_cluster()
        sql = f"CREATE DATABASE IF NOT EXISTS {self.address.database} ON CLUSTER {self.address.cluster}"
        self._outside(sql, deadline_s=DDL_SECONDS)

    def _find_nodes(self, connections: int) -> list[Node]:
        statement: Statement = (
            "SELECT shard_num, replica_num, host_name, port FROM system.clusters WHERE cluster = %(name)s"
            " ORDER BY shard_num, replica_num",
            {"name": self.address.cluster},
        )
        found = self.query(statement)
        nodes = []
        for shard, number, host, port in zip(*(column.tolist() for column in found.values()), strict=True):
            at = replace(self.address, hosts=((host, port),))
            nodes.append(Node(shard, number, host, port, Pool(at, connections), Pool(at, 4)))
        if not nodes:
            raise self._unknown_cluster()
        return nodes

    def _unknown_cluster(self) -> StoreError:
        return StoreError(
            170,
            f"The store {self.address} knows no cluster {self.address.cluster}.",
            "Name one of the server's remote_servers (SELECT DISTINCT cluster FROM system.clusters).",
        )

    def split(self, table: str, rows: pa.Table) -> Iterator[tuple[int, pa.Table]]:
        """The rows of each shard, in their order, always the same for the same rows; see `Store.split`."""
        if table not in SHARD_KEYS or len(self._shards) == 1:
            yield from super().split(table, rows)
            return
        shards = _numbers(rows.column(SHARD_KEYS[table])) % np.uint64(len(self._shards))
        for shard in np.unique(shards).tolist():
            yield int(shard), rows.take(pa.array(np.flatnonzero(shards == shard)))

    def _insert_into(self, replicas: list[Node], table: str, rows: pa.Table, token: str) -> None:
        settings = self._settings | INSERT
        if self.dialect.modern:
            settings |= {"async_insert": 0, "optimize_on_insert": 0, "insert_deduplication_token": token}
        names = ", ".join(f"`{name}`" for name in rows.column_names)
        sql = f"INSERT INTO {table} ({names}) VALUES"

        def insert(pool: Pool) -> None:
            with pool.connection() as connection:
                connection.insert(sql, rows, settings, self._query_id(), self._may_write)

        self._on_one_of(replicas, insert)

    def _on_one_of(self, replicas: list[Node], action: Callable[[Pool], T]) -> T:
        """What `action` returns for the pool of the first replica that can do it."""
        for place, node in enumerate(replicas):
            try:
                return action(node.pool)
            except StoreError as error:
                last = place + 1 == len(replicas)
                if last or not (isinstance(error, StoreAway) or error.code in _ELSEWHERE):
                    raise
                log.warning("%s cannot do it, trying another replica: %s", node, error.message)
        raise AssertionError("a shard without replicas")

    def _verify(self, table: str, deadline: float) -> None:
        """Wait until all servers that are there have `table` with the same columns."""
        while True:
            seen = {str(node): self._columns(node, table) for node in self._nodes}
            present = {node: found for node, found in seen.items() if found is not None}
            lacking = sorted(node for node, found in present.items() if not found)
            if not lacking and len(set(present.values())) == 1:
                break
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"A change of the table {table} has not reached {', '.join(lacking) or 'all servers'}"
                    f" within {DDL_SECONDS:.0f} s.",
                    "See the server's log and its distributed_ddl and zookeeper settings, then try again.",
                )
            time.sleep(_POLL_S)
        for replicas in self._shards:
            if all(seen[str(node)] is None for node in replicas):
                raise StoreAway(279, f"No server of shard {replicas[0].shard} is there.", "Start one.")

    def _columns(self, node: Node, table: str) -> tuple[str, ...] | None:
        """The columns of a table on a server, sorted; None when the server is away."""
        sql = with_literals(*columns_statement(table))
        try:
            found = self._run_in(node.pool, sql, {})
        except StoreAway:
            return None
        return tuple(sorted(" ".join(row.values()) for row in found.to_pylist()))


def _numbers(column: pa.ChunkedArray) -> npt.NDArray[np.uint64]:
    """A number for each value: a number itself, or the CRC-32 of a text."""
    if pa.types.is_integer(column.type):
        numbers: npt.NDArray[np.uint64] = column.to_numpy().astype(np.uint64)
        return numbers
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    whole = encoded.unify_dictionaries().combine_chunks()
    texts = whole.dictionary.to_pylist()
    sums = np.array([zlib.crc32(text.encode("utf-8")) for text in texts], np.uint64)
    of_rows: npt.NDArray[np.uint64] = sums[whole.indices.to_numpy()]
    return of_rows
