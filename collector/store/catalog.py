"""What a store knows of its own tables: columns, partitions, blocks. The same on chDB and a server."""

from collections.abc import Callable

import pyarrow as pa

from collector.store import columns
from collector.store.errors import StoreError
from collector.store.interface import Columns, Statement

Ask = Callable[[Statement], Columns]
"""Runs a SELECT."""

_NEWEST_BLOCKS = (
    "SELECT table, max(max_block_number) AS newest FROM system.parts"
    " WHERE database = currentDatabase() GROUP BY table"
)


class Schemas:
    """The Arrow schemas of tables, each asked for once."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._known: dict[str, pa.Schema] = {}

    def of(self, table: str) -> pa.Schema:
        """The schema of `table`; see `Store.schema`. Raises StoreError where there is no such table."""
        if table not in self._known:
            found = self._ask(columns_statement(table))
            if not len(found["name"]):
                raise StoreError(60, f'The store has no table "{table}".', "Run: fleetprof-collector migrate")
            self._known[table] = columns.schema_of(dict(zip(found["name"], found["type"], strict=True)))
        return self._known[table]


def newest_blocks(ask: Ask) -> dict[str, int]:
    """Table → number of its newest block. Merges keep it, restarts too."""
    found = ask((_NEWEST_BLOCKS, {}))
    return dict(zip(found["table"].tolist(), found["newest"].tolist(), strict=True))


def partitions(ask: Ask, tables: list[str]) -> list[tuple[str, int]]:
    """The partitions of tables that have rows, sorted."""
    found = ask(partitions_statement(tables))
    return sorted((table, int(partition)) for table, partition in zip(*found.values(), strict=True))


def partitions_statement(tables: list[str]) -> Statement:
    """The partitions of tables of the current database, as columns `table` and `partition`."""
    return (
        "SELECT DISTINCT table, partition FROM system.parts WHERE active"
        " AND database = currentDatabase() AND table IN %(tables)s",
        {"tables": tables},
    )


def columns_statement(table: str) -> Statement:
    """The columns of a table, as `name` and `type`. In no order: 18.16 lists no positions, INSERTs name columns."""
    return (
        "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = %(table)s",
        {"table": table},
    )
