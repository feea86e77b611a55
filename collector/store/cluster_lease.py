"""Epochs of the lease on a cluster: replicated tables, claimed through what ZooKeeper keeps of their columns.

An epoch is a table on every server, replicated by all of them. Who creates it first writes its columns to
ZooKeeper, in one transaction; one of the columns is named for the holder, so that all others see whose it is. The
holder's beats reach every server, so that the lease outlives any of them.
"""

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import pyarrow as pa

from collector.store import columns
from collector.store.errors import UNKNOWN_TABLE, StoreAway, StoreError
from collector.store.interface import Columns, Statement
from collector.store.lease import Beat
from collector.store.lease_tables import COLUMNS, beat_statement, last_beat_statement, table_of, to_beat
from collector.store.parameters import with_literals
from collector.store.pool import Pool

log = logging.getLogger("fleetprof.store")

_KEEPER = 999
_NO_NODE = re.compile(r"[Nn]o node|does not exist|ZNONODE", re.ASCII)


@dataclass(frozen=True, slots=True)
class ClusterLease:
    """`Epochs` of a database. `pools` are the servers'; `run` runs a statement on one of them; `settled` waits
    until no insert is under way on any."""

    database: str
    pools: Sequence[Pool]
    run: Callable[[Pool, str], pa.Table]
    settled: Callable[[], None]

    def newest(self) -> int:
        """See `Epochs.newest`."""
        return max((int(name) for name in self._children(self._path)["name"]), default=0)

    def claim(self, epoch: int, holder: str) -> bool:
        """See `Epochs.claim`; true again for a holder who claimed the epoch before."""
        mark = "holder_" + blake2b(holder.encode("utf-8"), digest_size=8).hexdigest()
        create = (
            f"CREATE TABLE IF NOT EXISTS {table_of(epoch)} ({COLUMNS}, {mark} UInt8)"
            f" ENGINE = ReplicatedReplacingMergeTree('{self._path}/{epoch:010}', '{{shard}}-{{replica}}', beat)"
            " ORDER BY holder"
        )
        errors = self._on_all(create)
        if len(errors) == len(self.pools) and isinstance(errors[0], StoreAway):
            raise errors[0]
        found = self._children(f"{self._path}/{epoch:010}")
        values = dict(zip(found["name"], found["value"], strict=True))
        return mark in values.get("columns", "")

    def last_beat(self, epoch: int) -> Beat | None:
        """See `Epochs.last_beat`."""
        try:
            return to_beat(self._first(last_beat_statement(epoch)))
        except StoreError as error:
            if error.code == UNKNOWN_TABLE:
                return None
            raise

    def beat(self, epoch: int, beat: Beat) -> None:
        """See `Epochs.beat`."""
        self._first(beat_statement(epoch, beat))

    def settle(self) -> None:
        """See `Epochs.settle`."""
        self.settled()

    def drop_before(self, epoch: int) -> None:
        """See `Epochs.drop_before`; on a server that is away the table stays until another collector starts."""
        for name in self._children(self._path)["name"]:
            if int(name) < epoch:
                self._on_all(f"DROP TABLE IF EXISTS {table_of(int(name))}")

    @property
    def _path(self) -> str:
        return f"/clickhouse/tables/{self.database}/collector_leases"

    def _children(self, path: str) -> Columns:
        """Names and values of what is under a path of ZooKeeper; none where there is no such path."""
        try:
            return self._first(
                ("SELECT name, value FROM system.zookeeper WHERE path = %(path)s", {"path": path})
            )
        except StoreError as error:
            if error.code == _KEEPER and _NO_NODE.search(error.message):
                return columns.to_numpy(
                    pa.table({"name": pa.array([], pa.string()), "value": pa.array([], pa.string())})
                )
            raise

    def _first(self, statement: Statement) -> Columns:
        """What a statement gives on the first server that can run it."""
        sql = with_literals(*statement)
        missing: StoreError | None = None
        for pool in self.pools:
            try:
                return columns.to_numpy(self.run(pool, sql))
            except StoreError as error:
                if not (isinstance(error, StoreAway) or error.code in (UNKNOWN_TABLE, 242, _KEEPER)):
                    raise
                if missing is None or isinstance(missing, StoreAway):
                    missing = error
        assert missing
        raise missing

    def _on_all(self, sql: str) -> list[StoreError]:
        """Run a statement on every server; the errors of those that could not."""
        errors = []
        for pool in self.pools:
            try:
                self.run(pool, sql)
            except StoreError as error:
                errors.append(error)
        return errors
