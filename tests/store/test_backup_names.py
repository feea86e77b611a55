"""With a backup come the names that debug files gave to frames, and the files, which go on naming new ones."""

from pathlib import Path

import pytest

from collector.debuginfo.files import FOLDER, DebugFiles
from collector.debuginfo.naming import Naming
from collector.debuginfo.workers import WorkerLimits, Workers
from collector.keeping.backup_pieces import BackupPieces
from collector.keeping.backup_writing import write_backup
from collector.keeping.restore import check_backup, restore
from collector.query.querier import Querier
from collector.store.interface import Store
from collector.store.migrate import migrate
from collector.store.open import open_store
from fleetprof.frames import Frame, FrameKind
from tests.store.test_debuginfo_names import Kept, ask, frames_of_an_agent, insert_stacks, stacks_of
from tests.workloads.stripped import build_stripped

pytestmark = pytest.mark.store


def named(store: Store) -> set[str]:
    return {name for stack in stacks_of(Querier(store).profile(ask("named"))) for name in stack}


def test_names_and_debug_files_are_restored(database: str, tmp_path: Path) -> None:
    built = build_stripped("cpp", tmp_path)
    start = Frame(FrameKind.NATIVE, "_start", "libc.so.6")
    nameless = frames_of_an_agent(built.stripped, "program", 64)
    early, late = nameless[::2], nameless[1::2]
    store = open_store(database)
    migrate(store)
    old, new, backup = tmp_path / "old", tmp_path / "new", tmp_path / "backup"
    kept = Kept(store, old / FOLDER)
    insert_stacks(store, "named", [(frame, start) for frame in early])
    kept.naming.name_all(kept.upload(built.debug))
    backup.mkdir()
    pieces = BackupPieces(store, old)
    write_backup(backup, pieces)
    pieces.close()
    fresh = open_store(database.replace("/test_", "/test_names_"))
    new.mkdir()
    restore(fresh, new, backup, check_backup(backup))
    before = named(store)
    assert any("add_up" in name for name in before)
    assert named(fresh) == before
    insert_stacks(fresh, "named", [(frame, start) for frame in late], versions="2")
    files = DebugFiles(new / FOLDER, 1 << 30)
    naming = Naming(fresh, files, workers := Workers(WorkerLimits(cpu_s=60, wall_s=300)))
    naming_all = list(naming.name_new(files.all()))
    for file, frames in naming_all:
        naming.name(file, frames)
    workers.close()
    kept.workers.close()
    assert {frame.id for _, frames in naming_all for frame in frames}
    still = {name for name in named(fresh) if name.startswith("program+0x")}
    assert len(still) < len(late) / 10
    for each in (store, fresh):
        each.close()
