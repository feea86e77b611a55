"""What every place of storage offers: run a statement with parameters, insert columns, close."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy.typing as npt
import pyarrow as pa

from collector.store.dialect import Dialect

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

        DateTime columns are Unix seconds (uint32), Date columns days (uint16). Raises StoreError with
        ClickHouse's code on failure, QueryTooLong on a time-out, StoreBusy when later may work
        (store/errors.py).
        """
        ...

    def query_arrow(self, statement: Statement) -> pa.Table:
        """As `query`, as an Arrow table: Array columns without a Python object a row (columns.ragged)."""
        ...

    def execute(self, statement: Statement) -> None:
        """Run a statement that returns nothing (DDL, DROP PARTITION); no time limit."""
        ...

    def insert(self, table: str, block: Block, token: str) -> None:
        """Append rows; `token` makes a repeated insert of the block count once where the table dedups.

        The block must hold every column of the table. An empty block does nothing.
        """
        ...

    def close(self) -> None:
        """Flush and release the store."""
        ...
