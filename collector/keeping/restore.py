"""Puts a backup into an empty store and data folder."""

import os
from pathlib import Path

from collector.keeping.backup_folder import BackupFile, Manifest, inside, read_manifest, read_rows, verify
from collector.keeping.backup_writing import force_folder, forced
from collector.keeping.half_restored import is_marked, mark, remove_files, unmark
from collector.keeping.holes import end_with_hole, write_with_holes
from collector.keeping.kept_files import files_there, is_kept
from collector.store.half_filled import clear_half_filled, is_filled, is_half_filled
from collector.store.interface import Statement, Store
from collector.store.lease_tables import PREFIX as LEASES
from collector.store.migrate import RECORD_TABLE, fill_new
from fleetprof.errors import InputError, UnavailableError

_COPY_BYTES = 1 << 20


def check_backup(folder: Path) -> Manifest:
    """The manifest of a backup whose files are all as they were written; raises InputError."""
    manifest = read_manifest(folder)
    verify(folder, manifest)
    return manifest


def refuse_over_data(store: Store, data: Path) -> None:
    """Raise InputError where the store has tables, or the data folder files of a backup or batches.

    What an interrupted restore has left there is no data.
    """
    found = [] if is_half_filled(store) else [f"table {name}" for name in _tables(store)]
    found += [] if is_marked(data) else map(str, files_there(data))
    found += [str(path) for path in data.glob("journal*/*.batch")]
    if found:
        raise InputError(
            f"There is something already ({found[0]}): a backup is never restored over data.",
            "Name an empty data folder (--data), and with --store an empty database.",
        )


def ended_already(store: Store, data: Path) -> bool:
    """Whether an interrupted restore had all in its place: then its mark goes, and nothing is left to do."""
    if not is_marked(data) or not is_filled(store):
        return False
    unmark(data)
    return True


def restore(store: Store, data: Path, folder: Path, manifest: Manifest) -> None:
    """Fill an empty store and data folder, or one that an earlier call was interrupted with.

    Interrupted itself, it leaves what no collector starts with (half_restored.py). Raises StoreError, InputError,
    UnavailableError.
    """

    def fill() -> None:
        for file in manifest.files:
            for number, rows in enumerate(read_rows(folder, file) if file.table else ()):
                store.insert(file.table, rows, f"restore-{file.sha256}-{number}")
        for file in manifest.files:
            if not file.table:
                _put(inside(folder, file.path), data, file)
        os.sync()  # what says that all is there must not reach the disk before it

    try:
        data.mkdir(parents=True, exist_ok=True)
        again = is_marked(data)
        mark(data, folder)
        if again:
            remove_files(data)
        if is_half_filled(store):
            clear_half_filled(store)
        fill_new(store, manifest.schema, fill)
        unmark(data)
    except OSError as error:
        raise UnavailableError(
            f"Cannot write to {data}: {error.strerror or error}.", "Let this user write there."
        ) from error


def give_to_owner(data: Path) -> None:
    """Where root does this for the collector's user, who owns the data folder: give it all that is in there."""
    owner = data.stat()
    if os.geteuid() or not owner.st_uid:
        return
    for path in data.rglob("*"):
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _tables(store: Store) -> list[str]:
    """The store's tables, but for those of leases and an empty record of migrations."""
    statement: Statement = (
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND name NOT LIKE %(leases)s",
        {"leases": f"{LEASES}%"},
    )
    names: list[str] = store.query(statement)["name"].tolist()
    if names == [RECORD_TABLE]:
        rows = store.query((f"SELECT count() AS n FROM {RECORD_TABLE}", {}))  # noqa: S608 (own name)
        return names if rows["n"][0] else []
    return names


def _put(source: Path, data: Path, file: BackupFile) -> None:
    """Copy a file into the data folder, for its owner alone; raises OSError."""
    if not is_kept(file.name):
        raise InputError(f"The backup has a file that is none of a collector's: {file.path}.", "Use another.")
    target = data / file.name
    target.parent.mkdir(mode=0o700, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    part.unlink(missing_ok=True)
    with source.open("rb") as content, forced(part) as out:
        while piece := content.read(_COPY_BYTES):
            write_with_holes(out, piece)
        end_with_hole(out)
    if file.modified_ns:
        os.utime(part, ns=(file.modified_ns, file.modified_ns))
    part.rename(target)
    force_folder(target.parent)
