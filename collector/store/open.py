"""Opens the store that an address names."""

from pathlib import Path

from collector.store.address import ServerAddress, is_server_address, parse_server_address
from collector.store.chdb import DEFAULT_MEMORY_BYTES, DEFAULT_THREADS, ChdbStore
from collector.store.interface import Store
from fleetprof.errors import InputError


def open_store(
    address: str | Path,
    memory_limit_bytes: int = DEFAULT_MEMORY_BYTES,
    threads: int = DEFAULT_THREADS,
    create: bool = True,
) -> Store:
    """The store at a folder's path or `file:` URL (embedded ClickHouse), or at a `clickhouse:` URL.

    `memory_limit_bytes` is for all of the embedded store, or for one query of a server; `threads` for one
    query. Without `create` a database that a server does not have is not made. Raises InputError for an
    address of another kind, UnavailableError when it cannot be opened.
    """
    text = str(address)
    if is_server_address(text):
        return _open_server(parse_server_address(text), memory_limit_bytes, threads, create)
    path = text.removeprefix("file://").removeprefix("file:")
    if "://" in path:
        raise InputError(
            f'Cannot open a store at "{text}".',
            "Give the path of a folder, or clickhouse://host:9000/database.",
        )
    return ChdbStore(Path(path), memory_limit_bytes, threads)


def _open_server(address: ServerAddress, memory_limit_bytes: int, threads: int, create: bool) -> Store:
    # Not at the top: the driver takes 0.3 s to import, which the embedded store does not need.
    from collector.store.cluster import ClusterStore
    from collector.store.server import ServerStore

    kind = ClusterStore if address.cluster else ServerStore
    return kind(address, memory_limit_bytes, threads, create=create)


def shown(address: str | Path) -> str:
    """`address` as it may be logged: without a password."""
    text = str(address)
    return str(parse_server_address(text)) if is_server_address(text) else text
