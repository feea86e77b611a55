"""Notices parts of the embedded store that a full disk cut short, while what they were made of is still there.

chDB (4.4, ClickHouse 26.9) ignores that a write failed for want of space. A merge then ends with files that are
empty or cut off, and takes the place of what it merged; with chDB's defaults, that is removed at once (reproduced:
strace shows write → ENOSPC, then the rename). An insert may end likewise. So sources stay for a while (chdb.xml),
new parts are measured, and a table with a part that lacks bytes is loaded anew: ClickHouse sets such a part aside
and takes its sources again.
"""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from collector.store.interface import Columns, Statement

log = logging.getLogger("fleetprof.store")

_PARTS = (
    "SELECT table, name, path, bytes_on_disk, max_block_number AS newest FROM system.parts"
    " WHERE active AND database = currentDatabase() AND (table = %(table)s OR %(table)s = '')"
)
_ROWS = (
    "SELECT sum(rows) AS rows FROM system.parts"
    " WHERE active AND database = currentDatabase() AND table = %(table)s"
)
_SET_ASIDE = (
    "SELECT table, name FROM system.detached_parts"
    " WHERE database = currentDatabase() AND (table = %(table)s OR %(table)s = '') AND reason LIKE 'broken%%'"
)
_UNCOUNTED = {"checksums.txt", "columns.txt", "columns_substreams.txt", "default_compression_codec.txt"}
"""Files that `bytes_on_disk` leaves out."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a table."""

    table: str
    name: str


@dataclass(frozen=True, slots=True)
class Looked:
    """What was found."""

    cut: list[Part]
    """Parts that lack bytes."""
    newest: int
    """Number of the newest block."""


class WholeParts:
    """Measures each part once. Not thread-safe."""

    def __init__(self, query: Callable[[Statement], Columns], execute: Callable[[Statement], None]) -> None:
        self._query, self._execute = query, execute
        self._measured: set[Part] = set()

    def look(self, table: str = "") -> Looked:
        """Measure the new parts, of all tables or of one."""
        found = self._query((_PARTS, {"table": table}))
        there, cut = set(), []
        rows = zip(found["table"], found["name"], found["path"], found["bytes_on_disk"], strict=True)
        for owner, name, path, size in rows:
            part = Part(str(owner), str(name))
            there.add(part)
            if part not in self._measured and not _is_whole(Path(str(path)), int(size)):
                cut.append(part)
        gone = {part for part in self._measured if part.table == table or not table} - there
        self._measured = (self._measured - gone) | (there - set(cut))
        return Looked(cut, int(found["newest"].max(initial=0)))

    def reload(self, table: str) -> None:
        """Have ClickHouse look again at what is on the disk; nobody may insert into the table meanwhile."""
        before, aside = self._rows(table), self.set_aside(table)
        self._execute((f"DETACH TABLE {table} SYNC", {}))
        self._execute((f"ATTACH TABLE {table}", {}))
        # What ClickHouse takes for whole is not loaded again and again.
        self._measured.update(self.look(table).cut)
        if (lost := before - self._rows(table)) > 0:
            log.error("The disk was full: %d rows of %s are gone, but for those inserted again.", lost, table)
            return
        log.warning("The disk was full while rows of %s were written anew; nothing is lost.", table)
        for part in [part for part in self.set_aside(table) if part not in aside]:
            drop = f"ALTER TABLE {table} DROP DETACHED PART '{part.name}' SETTINGS allow_drop_detached = 1"
            self._execute((drop.replace("%", "%%"), {}))

    def set_aside(self, table: str = "") -> list[Part]:
        """The parts, of all tables or of one, that ClickHouse could not read and put into the folder `detached`."""
        found = self._query((_SET_ASIDE, {"table": table}))
        return [Part(str(owner), str(name)) for owner, name in zip(*found.values(), strict=True)]

    def _rows(self, table: str) -> int:
        return int(self._query((_ROWS, {"table": table}))["rows"].sum())


def _is_whole(folder: Path, size: int) -> bool:
    """Whether a part's folder has the bytes that it should; one that is gone was merged."""
    try:
        sizes = {entry.name: entry.stat().st_size for entry in os.scandir(folder)}
    except FileNotFoundError:
        return True
    counted = sum(each for name, each in sizes.items() if name not in _UNCOUNTED)
    return counted >= size and all(sizes.get(name, 1) for name in _UNCOUNTED)
