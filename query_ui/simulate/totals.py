"""What was sent and how it was answered, so that the sums in the store can be checked against it."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from agent.aggregate import ClosedWindow
from fleetprof.profile_types import ProfileType

_KINDS = max(ProfileType) + 1


@dataclass(frozen=True, slots=True)
class Sums:
    """One window's rows and, by profile type, its nanoseconds and captures."""

    rows: int
    values: tuple[int, ...]
    captures: tuple[int, ...]
    losses: int

    @classmethod
    def of(cls, window: ClosedWindow) -> "Sums":
        """The sums of a window; exact."""
        rows = window.rows
        values, captures = np.zeros(_KINDS, np.int64), np.zeros(_KINDS, np.int64)
        np.add.at(values, rows.type, rows.value.astype(np.int64))
        np.add.at(captures, rows.type, rows.captures.astype(np.int64))
        return cls(len(rows), tuple(values.tolist()), tuple(captures.tolist()), window.losses.total())


@dataclass(slots=True)
class Totals:
    """Sums over all windows that were acknowledged, and counts of answers."""

    windows: int = 0
    rows: int = 0
    bytes_sent: int = 0
    losses: int = 0
    values: list[int] = field(default_factory=lambda: [0] * _KINDS)
    captures: list[int] = field(default_factory=lambda: [0] * _KINDS)
    windows_of_host: Counter[int] = field(default_factory=Counter)
    lacking: int = 0
    duplicates: int = 0
    repeats: int = 0
    """Windows that were sent again although they were acknowledged; each must have been a duplicate."""
    again: int = 0
    """Pushes that failed and were made again."""
    refused: Counter[str] = field(default_factory=Counter)
    late: int = 0
    """Windows that were sent after their host's network had been away."""

    def acknowledged(self, host: int, sums: Sums) -> None:
        """Count a window that the collector says is stored."""
        self.windows += 1
        self.windows_of_host[host] += 1
        self.rows += sums.rows
        self.losses += sums.losses
        for kind in range(_KINDS):
            self.values[kind] += sums.values[kind]
            self.captures[kind] += sums.captures[kind]

    def as_json(self) -> dict[str, Any]:
        """For `--json`: values in nanoseconds."""
        return {
            "windows": self.windows,
            "rows": self.rows,
            "types": {
                kind.label: {"value_ns": self.values[kind], "captures": self.captures[kind]}
                for kind in ProfileType
            },
            "losses": self.losses,
            "bytes_sent": self.bytes_sent,
            "late_windows": self.late,
            "repeated_windows": self.repeats,
            "duplicate_answers": self.duplicates,
            "lacking_answers": self.lacking,
            "failed_pushes": self.again,
            "refused_windows": dict(self.refused),
        }
