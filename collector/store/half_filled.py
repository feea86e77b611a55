"""Stores that a restore is filling, or was when it was interrupted: see `fill_new` (migrate.py)."""

from collector.store.interface import Store
from collector.store.lease_tables import PREFIX as LEASES
from collector.store.migrate import FILLING, RECORD_TABLE, applied

_OURS = (
    "SELECT name FROM system.tables WHERE database = currentDatabase() AND name NOT LIKE %(leases)s"
    " AND name != %(record)s"
)


def is_half_filled(store: Store) -> bool:
    """Whether the store was begun to be filled, and no more; raises StoreError."""
    return set(applied(store)) == {FILLING}


def is_filled(store: Store) -> bool:
    """Whether the store was filled, to the end; raises StoreError."""
    found = set(applied(store))
    return FILLING in found and len(found) > 1


def clear_half_filled(store: Store) -> None:
    """Drop all tables of a half-filled store, but the record that says so; raises StoreError.

    On a cluster all servers must be there: one that comes back later would bring its rows along.
    """
    at_once = (
        " SYNC" if store.dialect.modern else ""
    )  # or a replica's path in ZooKeeper would stay for a while
    for site in store.sites(all_replicas=True):
        names = site.ask((_OURS, {"leases": f"{LEASES}%", "record": RECORD_TABLE}))["name"].tolist()
        for name in names:
            site.tell((f"DROP TABLE IF EXISTS {name}{at_once}", {}))
