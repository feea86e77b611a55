"""The commands `fleetprof-collector backup FOLDER` and `restore FOLDER`."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from collector.config import CollectorConfig
from collector.ingest.journal import JOURNAL, Journal
from collector.ingest.left_journal import set_aside
from collector.ingest.writer import finish
from collector.keeping.backup_folder import Manifest, new_folder, write_backup
from collector.keeping.backup_pieces import BackupPieces
from collector.keeping.control import running_collector
from collector.keeping.restore import check_backup, give_to_owner, refuse_over_data, restore
from collector.store.errors import StoreTaken
from collector.store.folder_lock import FolderLock, collector_id
from collector.store.interface import Store
from collector.store.migrate import migrate
from collector.store.open import open_store
from fleetprof.errors import UnavailableError
from fleetprof.setting_kinds import about_bytes


def run_backup(folder: Path, config: CollectorConfig) -> int:
    """Write a backup to a new folder; raises InputError, UnavailableError."""
    new_folder(folder)
    with running_collector(config.data) as collector:
        if collector:
            manifest = write_backup(folder, collector.backup())
        else:
            manifest = _backup_at_rest(folder, config)
    print(f"Wrote {_said(manifest)} to {folder}.")
    return 0


def run_restore(folder: Path, config: CollectorConfig) -> int:
    """Restore a backup into an empty store; raises InputError, UnavailableError."""
    manifest = check_backup(folder)
    with _owned(config) as store:
        refuse_over_data(store, config.data)
        restore(store, config.data, folder, manifest)
    made = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(manifest.made_unix_s))
    print(f"Restored {_said(manifest)}, as of {made} UTC.")
    return 0


def _said(manifest: Manifest) -> str:
    return f"{manifest.rows} rows in {len(manifest.files)} files of {about_bytes(manifest.bytes)}"


def _backup_at_rest(folder: Path, config: CollectorConfig) -> Manifest:
    """A backup while no collector runs."""
    if not config.store and not (config.data / "clickhouse").is_dir():
        raise UnavailableError(
            f"There is no embedded store in {config.data}.", "Name the data folder (--data), or the --store."
        )
    with _owned(config) as store:
        migrate(store)
        if not finish(store, Journal(config.data / JOURNAL)):
            raise UnavailableError("The roll-ups cannot be stored now.", "See above.")
        pieces = BackupPieces(store, config.data)
        try:
            return write_backup(folder, pieces)
        finally:
            pieces.close()


@contextmanager
def _owned(config: CollectorConfig) -> Iterator[Store]:
    """The store, to which nobody else writes meanwhile."""
    lock = FolderLock(config.data) if config.store else None
    try:
        store = open_store(config.store or config.data, config.store_memory_bytes, config.store_threads)
        try:
            if not store.own(collector_id(config.data)):
                set_aside(config.data / JOURNAL)
            yield store
        except StoreTaken as error:
            raise UnavailableError(
                error.message, "A backup of its store is made on its own host, with its own --data folder."
            ) from error
        finally:
            store.close()
    finally:
        if lock:
            lock.release()
        give_to_owner(config.data)
