"""The commands `fleetprof-collector backup FOLDER` and `restore FOLDER`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from collector.config import CollectorConfig
from collector.ingest.journal import JOURNAL, Journal
from collector.ingest.left_journal import set_aside
from collector.ingest.writer import finish
from collector.keeping.backup_folder import Manifest, damages, read_manifest
from collector.keeping.backup_pieces import BackupPieces
from collector.keeping.backup_writing import Earlier, new_folder, write_backup
from collector.keeping.control import running_collector
from collector.keeping.half_restored import refuse_half_restored
from collector.keeping.restore import (
    check_backup,
    ended_already,
    give_to_owner,
    refuse_over_data,
    restore,
)
from collector.store.errors import StoreTaken
from collector.store.folder_lock import FolderLock, collector_id
from collector.store.interface import Store
from collector.store.migrate import migrate
from collector.store.open import open_store
from fleetprof.errors import UnavailableError


def run_backup(folder: Path, config: CollectorConfig, since: Path | None = None) -> int:
    """Write a backup to a new folder; raises InputError, UnavailableError.

    `since`: an earlier backup, from which comes what has not changed.
    """
    refuse_half_restored(config.data)
    earlier = Earlier(since, check_backup(since)) if since else None
    new_folder(folder)
    have = sorted(earlier.by_fingerprint()) if earlier else []
    with running_collector(config.data) as collector:
        if collector:
            manifest = write_backup(folder, collector.backup(have), earlier)
        else:
            manifest = _backup_at_rest(folder, config, have, earlier)
    print(f"Wrote {manifest}, to {folder}.")
    if earlier:
        there = earlier.by_fingerprint()
        taken = sum(file.fingerprint in there for file in manifest.files)
        print(f"Of its {len(manifest.files)} files, {taken} have not changed since {earlier.folder}.")
    return 0


def run_verify(folder: Path) -> int:
    """Compare a backup with its checksums and say what is wrong; raises InputError where there is none."""
    manifest = read_manifest(folder)
    found = list(damages(folder, manifest))
    for damage in found:
        print(damage)
    if found:
        print(f"{len(found)} of {len(manifest.files)} files of {folder} are damaged: it cannot be restored.")
    else:
        print(f"{folder} is whole: {manifest}.")
    return 1 if found else 0


def run_restore(folder: Path, config: CollectorConfig) -> int:
    """Restore a backup into an empty store; raises InputError, UnavailableError."""
    manifest = check_backup(folder)
    with _owned(config) as store:
        if ended_already(store, config.data):
            print("The restore that was interrupted here had all in its place: the collector can be started.")
            return 0
        refuse_over_data(store, config.data)
        restore(store, config.data, folder, manifest)
    print(f"Restored {manifest}.")
    return 0


def _backup_at_rest(
    folder: Path, config: CollectorConfig, have: list[str], earlier: Earlier | None
) -> Manifest:
    """A backup while no collector runs."""
    if not config.store and not (config.data / "clickhouse").is_dir():
        raise UnavailableError(
            f"There is no embedded store in {config.data}.", "Name the data folder (--data), or the --store."
        )
    with _owned(config) as store:
        migrate(store)
        if not finish(store, Journal(config.data / JOURNAL)):
            raise UnavailableError("The roll-ups cannot be stored now.", "See above.")
        pieces = BackupPieces(store, config.data, have)
        try:
            return write_backup(folder, pieces, earlier)
        finally:
            pieces.close()


@contextmanager
def _owned(config: CollectorConfig) -> Iterator[Store]:
    """The store, to which nobody else writes meanwhile."""
    lock = FolderLock(config.data) if config.store else None
    try:
        store = open_store(config.store or config.data, config.store_memory_bytes, config.store_threads)
        try:
            store.own(collector_id(config.data), after_other=lambda: set_aside(config.data / JOURNAL))
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
