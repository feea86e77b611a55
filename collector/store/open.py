"""Opens the store that an address names."""

from pathlib import Path
from urllib.parse import urlsplit

from collector.store.chdb import DEFAULT_MEMORY_BYTES, ChdbStore
from collector.store.interface import Store
from fleetprof.errors import InputError


def open_store(address: str | Path, memory_limit_bytes: int = DEFAULT_MEMORY_BYTES) -> Store:
    """The store at a folder's path or `file:` URL (embedded ClickHouse).

    Raises InputError for an address of another kind, UnavailableError when it cannot be opened.
    """
    text = str(address)
    scheme = urlsplit(text).scheme if "://" in text or text.startswith("file:") else ""
    if scheme in ("", "file"):
        return ChdbStore(Path(text.removeprefix("file://").removeprefix("file:")), memory_limit_bytes)
    raise InputError(f'Cannot open a store at "{text}".', "Give the path of a folder.")
