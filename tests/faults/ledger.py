"""What agents did, line by line on disk: written before it counts, so that it survives SIGKILL.

Lines are JSON lists. `["in", agent, run, sequence, second, {type: [rows, value, captures]}, {loss: count}]` is a
window handed to the shipper; `["ack", agent, run, sequence]` one that the collector said is stored;
`["drop", agent, run, {reason: count}]` windows that the shipper counted as dropped;
`["left", agent, run, windows]` a clean end.
"""

import json
import os
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from agent.aggregate import ClosedWindow
from fleetprof.losses import Losses
from fleetprof.profile_types import ProfileType

Key = tuple[str, int, int]
"""Agent, run, sequence."""

TypeSums = dict[str, tuple[int, int, int]]
"""Profile type → rows, value, captures."""


def type_sums(window: ClosedWindow) -> TypeSums:
    """The window's sums by profile type; exact."""
    rows, found = window.rows, {}
    for kind in ProfileType:
        chosen = np.flatnonzero(rows.type == kind)
        if len(chosen):
            value, captures = rows.value[chosen].sum(), rows.captures[chosen].sum()
            found[kind.label] = (len(chosen), int(value), int(captures))
    return found


class LedgerWriter:
    """Appends lines, each with one write. Safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._lock = threading.Lock()

    def window(self, key: Key, second: int, window: ClosedWindow) -> None:
        self._write("in", *key, second, type_sums(window), _labelled(window.losses))

    def acknowledged(self, key: Key) -> None:
        self._write("ack", *key)

    def dropped(self, agent: str, run: int, losses: Losses) -> None:
        if losses:
            self._write("drop", agent, run, _labelled(losses))

    def left(self, agent: str, run: int, windows: int) -> None:
        self._write("left", agent, run, windows)

    def _write(self, *line: Any) -> None:
        with self._lock:
            os.write(self._file, json.dumps(line).encode() + b"\n")


def _labelled(losses: Losses) -> dict[str, int]:
    return {reason.label: count for reason, count in losses.items() if count}


@dataclass
class Offered:
    """One window that an agent handed to its shipper."""

    second: int
    types: TypeSums
    losses: dict[str, int]

    @property
    def rows(self) -> int:
        """Rows of samples."""
        return sum(rows for rows, *_ in self.types.values())


@dataclass
class Ledger:
    """All that the agents wrote."""

    windows: dict[Key, Offered] = field(default_factory=dict)
    acknowledged: set[Key] = field(default_factory=set)
    dropped: Counter[str] = field(default_factory=Counter)
    """Windows that were counted as dropped, by agent."""
    reasons: Counter[str] = field(default_factory=Counter)
    """The same by reason."""
    ended: set[tuple[str, int]] = field(default_factory=set)
    """Runs that ended cleanly, with nothing left in memory."""

    @classmethod
    def read(cls, folder: Path) -> "Ledger":
        """From all ledgers of a folder."""
        ledger = cls()
        for path in sorted(folder.glob("*.ledger")):
            for line in _whole_lines(path):
                ledger._take(*line)
        return ledger

    def _take(self, what: str, agent: str, run: int, *rest: Any) -> None:
        if what == "in":
            sequence, second, types, losses = rest
            sums = {kind: tuple(each) for kind, each in types.items()}
            self.windows[agent, run, sequence] = Offered(second, sums, losses)
        elif what == "ack":
            self.acknowledged.add((agent, run, rest[0]))
        elif what == "drop":
            self.dropped[agent] += sum(rest[0].values())
            self.reasons.update(rest[0])
        elif not rest[0]:
            self.ended.add((agent, run))

    def runs(self, agent: str) -> set[int]:
        """The agent's runs."""
        return {run for name, run, _ in self.windows if name == agent}


def _whole_lines(path: Path) -> Iterator[list[Any]]:
    for line in path.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):  # else SIGKILL cut it, and nothing followed from it
            yield json.loads(line)
