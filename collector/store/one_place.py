"""What stores whose rows all lie in one place have in common."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import pyarrow as pa

from collector.store import catalog
from collector.store.interface import Columns, Statement


class OnePlace(ABC):
    """A part of a `Store` without shards and replicas."""

    @abstractmethod
    def query(self, statement: Statement) -> Columns:
        """See `Store.query`."""

    @abstractmethod
    def execute(self, statement: Statement) -> None:
        """See `Store.execute`."""

    @property
    def shards(self) -> int:
        """One; see `Store.shards`."""
        return 1

    def split(self, table: str, rows: pa.Table) -> Iterator[tuple[int, pa.Table]]:
        """All rows; see `Store.split`."""
        if rows.num_rows:
            yield 0, rows

    def caught_up(self) -> bool:
        """Always true: there are no replicas; see `Store.caught_up`."""
        return True

    def partitions(self, tables: list[str]) -> list[tuple[str, int]]:
        """The partitions of tables that have rows; see `Store.partitions`."""
        return catalog.partitions(self.query, tables)

    def drop_partition(self, table: str, partition: int) -> None:
        """Drop a partition; see `Store.drop_partition`."""
        self.execute((f"ALTER TABLE {table} DROP PARTITION {int(partition)}", {}))
