"""The tables of the collector's SQLite files, with a version in each file."""

import sqlite3


def create_tables(connection: sqlite3.Connection, version: int, schema: str) -> bool:
    """Make the tables of a new file; true if it was new. To be called in a transaction.

    Raises sqlite3.DatabaseError for a file of a newer version.
    """
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    if found > version:
        raise sqlite3.DatabaseError(f"it is of a newer fleetprof (schema {found})")
    if found:
        return False
    for statement in schema.split(";\n"):
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {version}")
    return True
