"""What all tables hold at one moment, for reading at leisure while they change: what a backup is made of.

A snapshot is a second set of tables (backup_of_*) with the parts of the first: `ATTACH PARTITION … FROM` makes hard
links, which takes a few milliseconds a partition, and no space until merges and drops replace what is linked. Rows
stay as they were written (plain MergeTree: nothing is summed or replaced), so what is read can be counted.
"""

import hashlib
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
    fingerprint: str
    """Of what the rows are in (system.parts): the same in a later snapshot only where the rows are the same."""
    statement: Statement | None
    """None for what is known by its fingerprint, and not read."""
    site: Site

    def read(self) -> Iterator[pa.Table]:
        """Its rows, block by block. Date columns are days since the epoch (int32)."""
        return map(_with_days, self.site.stream(self.statement)) if self.statement else iter(())


class Snapshot:
    """Parts of all tables, until `drop`. Nobody may write to the tables while it is made."""

    def __init__(
        self, store: Store, tables: Collection[str], schema: int = 0, known: Collection[str] = ()
    ) -> None:
        """Make it, of `tables`; raises StoreError. One that was left behind by a crash goes first.

        Partitions with a fingerprint in `known` are told, but not held on to. `schema`: the tables' (migrate.py).
        """
        self._store = store
        self.parts: list[SnapshotPart] = []
        self.drop()
        found = [
            _Source(site, *table)
            for site in store.sites()
            for table in _tables(site)
            if site.common_name(table[0]) in tables and not site.elsewhere(table[0])
        ]
        for source in sorted(found, key=lambda source: source.site.common_name(source.name) not in _FIRST):
            self.parts += source.freeze(schema, known)

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
    "SELECT partition, name, rows, bytes_on_disk AS size, toUInt32(modification_time) AS at FROM system.parts"
    " WHERE active AND database = currentDatabase() AND table = %(table)s ORDER BY partition, name"
)
Part = tuple[str, int, int, int]
"""Name, rows, bytes, and when it was written."""
Parts = dict[str, list[Part]]
"""Those of each partition."""

_FIRST = {"symbolized"}
"""Its rows lead to rows of `frames`, and who writes both, those of `frames` first, is not stopped by a snapshot."""


def _tables(site: Site) -> list[tuple[str, str, str]]:
    """(name, partition key, sorting key) of all tables that have rows of their own."""
    found = site.ask((_TABLES, {}))
    rows = zip(found["name"], found["partition_key"], found["sorting_key"], strict=True)
    return [(str(name), str(partition_by), str(order_by)) for name, partition_by, order_by in rows]


@dataclass(frozen=True, slots=True)
class _Source:
    """A table at a site."""

    site: Site
    name: str
    partition_by: str
    order_by: str

    def freeze(self, schema: int, known: Collection[str]) -> list[SnapshotPart]:
        """The partitions, those that are not `known` linked to a second table."""
        live = self._parts(self.name)
        fingerprints = {
            partition: _fingerprint(schema, self.name, parts) for partition, parts in live.items()
        }
        held = [partition for partition, fingerprint in fingerprints.items() if fingerprint not in known]
        frozen = self._hold(held) if held else {}
        return [
            SnapshotPart(
                self.site.common_name(self.name),
                partition,
                sum(rows for _, rows, *_ in (frozen if partition in held else live)[partition]),
                fingerprint,
                self._statement(partition) if partition in held else None,
                self.site,
            )
            for partition, fingerprint in fingerprints.items()
            if partition not in held or partition in frozen  # else it was dropped meanwhile
        ]

    @property
    def _frozen(self) -> str:
        return f"{PREFIX}{self.name}"

    def _hold(self, partitions: list[str]) -> Parts:
        """Link partitions to a second table; its parts."""
        by_partition = f"PARTITION BY {self.partition_by} " if self.partition_by else ""
        engine = f"ENGINE = MergeTree {by_partition}ORDER BY ({self.order_by}) SETTINGS {_PLAIN}"
        self.site.tell((f"CREATE TABLE {self._frozen} AS {self.name} {engine}", {}))
        for partition in partitions:
            self.site.tell((f"ALTER TABLE {self._frozen} ATTACH PARTITION {partition} FROM {self.name}", {}))
        return self._parts(self._frozen)

    def _statement(self, partition: str) -> Statement:
        only = f" WHERE {self.partition_by} = {partition}" if self.partition_by else ""
        return f"SELECT * FROM {self._frozen}{only}", {}  # noqa: S608 (own names)

    def _parts(self, table: str) -> Parts:
        found = self.site.ask((_PARTS, {"table": table}))
        parts: Parts = {}
        columns = (found[name].tolist() for name in ("partition", "name", "rows", "size", "at"))
        for partition, *part in zip(*columns, strict=True):
            parts.setdefault(str(partition), []).append((part[0], part[1], part[2], part[3]))
        return parts


def _fingerprint(schema: int, table: str, parts: list[Part]) -> str:
    """Parts never change: rows that are changed, merged or moved are in parts of another name, size or time."""
    return hashlib.sha256(repr((schema, table, parts)).encode("utf-8")).hexdigest()


def _with_days(table: pa.Table) -> pa.Table:
    fields = [pa.field(f.name, pa.int32() if pa.types.is_date(f.type) else f.type) for f in table.schema]
    return table.cast(pa.schema(fields))
