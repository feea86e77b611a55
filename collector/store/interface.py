"""What every place of storage offers: run a statement with parameters, insert columns, close."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy.typing as npt
import pyarrow as pa

from collector.store.dialect import Dialect

if TYPE_CHECKING:
    from collector.store.snapshot import Site

Columns = dict[str, npt.NDArray[Any]]
"""A result: column name → values. Array columns are object arrays of numpy arrays."""

Block: TypeAlias = Mapping[str, Sequence[Any] | npt.NDArray[Any] | pa.Array] | pa.Table
"""Rows to insert: column name → values. Arrow lists and dictionaries are the cheap form of Array and text."""

Params = Mapping[str, Any]
"""Values for a statement's %(name)s placeholders: str, int, float, or a sequence of them (IN, Array)."""

Statement = tuple[str, Params]
"""SQL text with %(name)s placeholders (and %% for a percent sign), and the values. A request value never
becomes part of the text."""


class Store(Protocol):
    """A ClickHouse, embedded or not. Safe to use from several threads."""

    dialect: Dialect
    """What this ClickHouse understands."""

    def query(self, statement: Statement) -> Columns:
        """Run a SELECT and return its columns (empty arrays when no row matched).

        DateTime columns are Unix seconds (uint32), Date columns days since the epoch (int32). Raises
        StoreError with ClickHouse's code on failure, QueryTooLong on a time-out, StoreBusy where later may
        work (store/errors.py).
        """
        ...

    def query_arrow(self, statement: Statement) -> pa.Table:
        """As `query`, as an Arrow table: Array columns without a Python object a row (columns.ragged)."""
        ...

    def execute(self, statement: Statement) -> None:
        """Run a statement that returns nothing (DDL, DROP PARTITION); no time limit."""
        ...

    def schema(self, table: str) -> pa.Schema:
        """The names and Arrow types in which rows of `table` are inserted; StoreError when there is none."""
        ...

    def insert(self, table: str, block: Block, token: str) -> None:
        """Append rows as one block. The block must hold every column of the table; an empty one does nothing.

        Where the collector is not a table's only writer, `token` makes a repeated insert count once
        (replicated tables). The embedded store has `newest_blocks` instead and ignores it.
        """
        ...

    def newest_blocks(self) -> dict[str, int]:
        """Table → number of its newest block, which each committed insert raises; tables without are absent.

        A single writer that noted this before an insert can tell afterwards, even after kill -9, whether the
        insert was committed. Empty where there can be other writers: there, tokens do it.
        """
        ...

    def mend_parts(self) -> None:
        """Take back what a full disk cut short, where ClickHouse does not see to that; raises StoreError.

        To be called every few seconds, where nobody else inserts.
        """
        ...

    def caught_up(self) -> bool:
        """Whether a query sees all that was inserted, whichever replica answers it; raises StoreError."""
        ...

    @property
    def shards(self) -> int:
        """Over how many groups of servers the rows of a table are spread."""
        ...

    def split(self, table: str, rows: pa.Table) -> Iterator[tuple[int, pa.Table]]:
        """(shard, its rows), those without any left out: what `insert` inserts as one block each."""
        ...

    def partitions(self, tables: list[str]) -> list[tuple[str, int]]:
        """(table, partition) for each partition of `tables` that has rows, sorted: YYYYMMDD or YYYYMM."""
        ...

    def drop_partition(self, table: str, partition: int) -> None:
        """Drop a partition with all of its rows, at once."""
        ...

    def sites(self, all_replicas: bool = False) -> "list[Site]":
        """Where rows are: the store itself, or of each shard a replica that has all rows, or all replicas.

        Raises StoreError where a shard has none that has all rows.
        """
        ...

    def own(
        self,
        holder: str,
        wait: bool = False,
        stopping: threading.Event | None = None,
        after_other: Callable[[], object] = lambda: None,
    ) -> bool:
        """Become the only collector that writes, until `close`; who only reads need not.

        `holder` is this collector's name across restarts. While another one has the store: raises StoreTaken,
        or with `wait` takes over when that one is gone, unless `stopping` is set before (StoreTaken too).
        Returns false when another one wrote since this one did: block numbers that this one noted say nothing now.
        `after_other` is called then, before the store is this one's: a crash in between leaves no doubt.
        """
        ...

    @property
    def owned(self) -> bool:
        """False once another collector has taken over: inserts raise StoreTaken from then on."""
        ...

    def close(self) -> None:
        """Flush and release the store."""
        ...
