"""Puts a backup into an empty store and data folder."""

import os
from pathlib import Path

from collector.keeping.backup_folder import Manifest, read_manifest, read_rows, verify
from collector.keeping.backup_pieces import FILES
from collector.store.interface import Statement, Store
from collector.store.lease_tables import PREFIX as LEASES
from collector.store.migrate import fill_new
from collector.store.retention import PARTITIONED
from fleetprof.errors import InputError, UnavailableError


def check_backup(folder: Path) -> Manifest:
    """The manifest of a backup whose files are all as they were written; raises InputError."""
    manifest = read_manifest(folder)
    verify(folder, manifest)
    return manifest


def refuse_over_data(store: Store, data: Path) -> None:
    """Raise InputError where the store has tables, or the data folder files of a backup or batches."""
    statement: Statement = (
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND name NOT LIKE %(leases)s",
        {"leases": f"{LEASES}%"},
    )
    found = [f"table {name}" for name in store.query(statement)["name"].tolist()]
    found += [str(data / name) for name in FILES if (data / name).exists()]
    found += [str(path) for path in data.glob("journal*/*.batch")]
    if found:
        raise InputError(
            f"There is something already ({found[0]}): a backup is never restored over data.",
            "Name an empty data folder (--data), and with --store an empty database.",
        )


def restore(store: Store, data: Path, folder: Path, manifest: Manifest) -> None:
    """Fill an empty store and data folder; raises StoreError, InputError, UnavailableError.

    Interrupted, it leaves what no collector starts with (migrate.py). Tables with partitions go first: by their
    rows that is known.
    """

    def fill() -> None:
        files = [file for file in manifest.files if file.table]
        for file in sorted(files, key=lambda file: file.table not in PARTITIONED):
            for number, rows in enumerate(read_rows(folder, file)):
                store.insert(file.table, rows, f"restore-{file.sha256}-{number}")
        for name in FILES:
            if (source := folder / "files" / name).exists():
                _put(source, data / name)

    fill_new(store, manifest.schema, fill)


def give_to_owner(data: Path) -> None:
    """Where root does this for the collector's user, who owns the data folder: give it all that is in there."""
    owner = data.stat()
    if os.geteuid() or not owner.st_uid:
        return
    for path in data.rglob("*"):
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _put(source: Path, target: Path) -> None:
    """Copy a file that only its owner may read."""
    part = target.with_suffix(".part")
    try:
        part.touch(0o600)
        part.write_bytes(source.read_bytes())
        part.rename(target)
    except OSError as error:
        raise UnavailableError(
            f"Cannot write {target}: {error.strerror}.", "Let this user write there."
        ) from error
