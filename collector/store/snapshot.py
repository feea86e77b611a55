"""What all tables hold at one moment, for reading at leisure while they change: what a backup is made of.

A snapshot is a second set of tables (backup_of_*) with the parts of the first: `ATTACH PARTITION … FROM` makes hard
links, which takes a few milliseconds a partition, and no space until merges and drops replace what is linked. Rows
stay as they were written (plain MergeTree: nothing is summed or replaced), so what is read can be counted.
"""

import logging
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import pyarrow as pa

from collector.store.errors import StoreAway
from collector.store.interface import Columns, Statement, Store

log = logging.getLogger("fleetprof.store")

PREFIX = "backup_of_"
_PLAIN = "max_bytes_to_merge_at_max_space_in_pool = 1"
"""Merging what is dropped soon would be for nothing."""


def same_name(table: str) -> str:
    """The name of a table where every row of it is."""
    return table


def no_table(table: str) -> bool:
    """Leaves no table out."""
    return False


@dataclass(frozen=True, slots=True)
class Site:
    """A ClickHouse with rows that no other one of the store has: the store itself, or a replica of a shard."""

    ask: Callable[[Statement], Columns]
    tell: Callable[[Statement], None]
    stream: Callable[[Statement], Iterator[pa.Table]]
    """Runs a SELECT without a time limit; its rows come in blocks, as they are read."""
    common_name: Callable[[str], str] = same_name
    """Name here → name in the store."""
    elsewhere: Callable[[str], bool] = no_table
    """Whether another site has the same rows of a table (its name here)."""


@dataclass(frozen=True, slots=True)
class SnapshotPart:
    """One partition of a table at one site."""

    table: str
    partition: str
    """As ClickHouse writes it: 20261103, or tuple() for a table without partitions."""
    rows: int
    statement: Statement
    site: Site

    def read(self) -> Iterator[pa.Table]:
        """Its rows, block by block. Date columns are days since the epoch (int32)."""
        return map(_with_days, self.site.stream(self.statement))


class Snapshot:
    """Parts of all tables, until `drop`. Nobody may write to the tables while it is made."""

    def __init__(self, store: Store, tables: Collection[str]) -> None:
        """Make it, of `tables`; raises StoreError. One that was left behind by a crash goes first."""
        self._store = store
        self.parts: list[SnapshotPart] = []
        self.drop()
        for site in store.sites():
            for name, partition_by, order_by in _tables(site):
                if site.common_name(name) in tables and not site.elsewhere(name):
                    self.parts += _freeze(site, name, partition_by, order_by)

    def drop(self) -> None:
        """Let go of the parts; raises StoreError."""
        drop_snapshot(self._store)


def drop_snapshot(store: Store) -> bool:
    """Drop the snapshot that is there, used or left behind; false when there is none. Raises StoreError.

    On a server that is away it stays until the next time.
    """
    found = False
    for site in store.sites(all_replicas=True):
        try:
            for name in site.ask((_OURS, {"like": f"{PREFIX}%"}))["name"].tolist():
                site.tell((f"DROP TABLE IF EXISTS {name}", {}))
                found = True
        except StoreAway as error:
            log.warning("A backup's snapshot may be left on a server: %s", error.message)
    return found


_OURS = "SELECT name FROM system.tables WHERE database = currentDatabase() AND name LIKE %(like)s"
_TABLES = (
    "SELECT name, partition_key, sorting_key FROM system.tables"
    " WHERE database = currentDatabase() AND engine LIKE '%%MergeTree' ORDER BY name"
)
_PARTS = (
    "SELECT partition, sum(rows) AS n FROM system.parts WHERE active AND database = currentDatabase()"
    " AND table = %(table)s GROUP BY partition ORDER BY partition"
)


def _tables(site: Site) -> list[tuple[str, str, str]]:
    """(name, partition key, sorting key) of all tables that have rows of their own."""
    found = site.ask((_TABLES, {}))
    rows = zip(found["name"], found["partition_key"], found["sorting_key"], strict=True)
    return [(str(name), str(partition_by), str(order_by)) for name, partition_by, order_by in rows]


def _freeze(site: Site, name: str, partition_by: str, order_by: str) -> list[SnapshotPart]:
    """The partitions of one table, linked to a second table."""
    frozen = f"{PREFIX}{name}"
    by_partition = f"PARTITION BY {partition_by} " if partition_by else ""
    engine = f"ENGINE = MergeTree {by_partition}ORDER BY ({order_by}) SETTINGS {_PLAIN}"
    site.tell((f"CREATE TABLE {frozen} AS {name} {engine}", {}))
    for partition in site.ask((_PARTS, {"table": name}))["partition"].tolist():
        site.tell((f"ALTER TABLE {frozen} ATTACH PARTITION {partition} FROM {name}", {}))
    found = site.ask((_PARTS, {"table": frozen}))
    parts = []
    for partition, rows in zip(found["partition"].tolist(), found["n"].tolist(), strict=True):
        only = f" WHERE {partition_by} = {partition}" if partition_by else ""
        statement: Statement = (f"SELECT * FROM {frozen}{only}", {})  # noqa: S608 (own names)
        parts.append(SnapshotPart(site.common_name(name), partition, rows, statement, site))
    return parts


def _with_days(table: pa.Table) -> pa.Table:
    fields = [pa.field(f.name, pa.int32() if pa.types.is_date(f.type) else f.type) for f in table.schema]
    return table.cast(pa.schema(fields))
