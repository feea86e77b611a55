"""What every place of storage offers: run a statement with parameters, insert columns, close."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy.typing as npt

Columns = dict[str, npt.NDArray[Any]]
"""A result or a block to insert: column name → values. Array columns are object arrays of numpy arrays."""

Params = Mapping[str, Any]
"""Values for a statement's %(name)s placeholders: str, int, float, or a sequence of them (IN, Array)."""

Statement = tuple[str, Params]
"""SQL text with %(name)s placeholders, and the values. A request value never becomes part of the text."""


class Store(Protocol):
    """A ClickHouse, embedded or not. Safe to use from several threads."""

    def query(self, statement: Statement) -> Columns:
        """Run a SELECT and return its columns (empty arrays when no row matched).

        Raises StoreError with ClickHouse's code on failure, QueryTooLong on a time-out (store/errors.py).
        """
        ...

    def execute(self, statement: Statement) -> None:
        """Run a statement that returns nothing (DDL, DROP PARTITION)."""
        ...

    def insert(self, table: str, columns: Mapping[str, Sequence[Any] | npt.NDArray[Any]], token: str) -> None:
        """Append rows; `token` makes a repeated insert of the block count once where the table dedups."""
        ...

    def close(self) -> None:
        """Flush and release the store."""
        ...
