"""Follows the rules' files: a changed file is read again without a restart; a bad one changes nothing."""

import logging
import threading
from pathlib import Path

from collector.alerts.rule_file import load_rules, rule_files
from collector.alerts.rules import RuleSet
from fleetprof.errors import InputError

log = logging.getLogger("fleetprof.alerts")

_Stamp = tuple[tuple[str, int, int, int], ...]
"""(path, inode, size, time of change) of each file: an editor that replaces a file changes its inode."""


class RuleWatch:
    """The rules in force, and what is wrong with a newer file. Safe to use from several threads."""

    def __init__(self, path: Path | None, interval_s: float) -> None:
        """Read the rules (none for None); raises InputError for a mistake: at start there are no old ones."""
        self._path = path
        self._interval_s = interval_s
        self._lock = threading.Lock()
        self._stamp = self._look()
        self.problem = ""
        """What is wrong with the files as they are now; "" when they are in force."""
        self.rules = load_rules(path, interval_s) if path else RuleSet()

    def poll(self, force: bool = False) -> bool:
        """Read the files again if they changed; True when other rules are now in force."""
        if self._path is None:
            return False
        with self._lock:
            stamp = self._look()
            if stamp == self._stamp and not force:
                return False
            self._stamp = stamp
            return self._read(self._path)

    def _read(self, path: Path) -> bool:
        try:
            rules = load_rules(path, self._interval_s)
        except InputError as error:
            self.problem = str(error)
            log.error("The new alert rules are not used, the old ones stay in force: %s", error)
            return False
        changed, self.problem, self.rules = rules != self.rules, "", rules
        log.info("Alert rules read again: %d rules, %d receivers.", len(rules.rules), len(rules.receivers))
        return changed

    def _look(self) -> _Stamp:
        if self._path is None:
            return ()
        try:
            stats = [(file, file.stat()) for file in rule_files(self._path)]
        except (OSError, InputError):
            return ()
        return tuple((str(file), stat.st_ino, stat.st_size, stat.st_mtime_ns) for file, stat in stats)
