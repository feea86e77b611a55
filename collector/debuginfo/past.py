"""Remembers debug files that are gone, so that agents are not asked for them again at once.

One small file `ID.past` for each, beside the debug files, since any process may remove one there; its time says
when.
"""

import contextlib
import time
from enum import StrEnum
from pathlib import Path

ENDING = ".past"
MAX_REMEMBERED = 10_000


class Gone(StrEnum):
    """Why a file is gone."""

    REMOVED = "removed"
    """By hand: somebody does not want it."""
    EVICTED = "evicted"
    """It gave way: it would only push out others."""


DAYS = {Gone.REMOVED: 30, Gone.EVICTED: 1}
"""For so long it is not asked for."""


class Past:
    """What is remembered, in one folder; safe to use from several threads and processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def remember(self, build_id: str, why: Gone) -> None:
        """A file is gone now."""
        self._path(build_id).write_text(why, "ascii")

    def forget(self, build_id: str) -> None:
        """It is there again."""
        self._path(build_id).unlink(missing_ok=True)

    def has(self, build_id: str) -> bool:
        """Whether a file went too lately to be asked for."""
        return self._counts(self._path(build_id))

    def sweep(self) -> None:
        """Forget what is over, and the oldest of too many."""
        paths = [path for path in self._folder.glob(f"*{ENDING}") if not self._unlinked(path)]
        if len(paths) > MAX_REMEMBERED:
            paths.sort(key=lambda path: path.stat().st_mtime)
            for path in paths[:-MAX_REMEMBERED]:
                path.unlink(missing_ok=True)

    def _unlinked(self, path: Path) -> bool:
        if self._counts(path):
            return False
        path.unlink(missing_ok=True)
        return True

    def _counts(self, path: Path) -> bool:
        with contextlib.suppress(OSError, ValueError):
            why = Gone(path.read_text("ascii"))
            return time.time() - path.stat().st_mtime < DAYS[why] * 86400
        return False

    def _path(self, build_id: str) -> Path:
        return self._folder / f"{build_id}{ENDING}"
