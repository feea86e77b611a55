"""What this collector refused, by time, host and reason, until it is stored with the next batch."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from fleetprof.losses import DropReason
from fleetprof.profile_types import WINDOW_NS

_WINDOW_S = WINDOW_NS // 10**9
_MAX_HOSTS = 1000
"""Distinct hosts kept between two batches: a host's name in a refused request may be anything."""


class LossKey(NamedTuple):
    """One row of table losses; `ts` is the start of a window, `host` "" when unknown."""

    ts: int
    host: str
    reason: DropReason


class LossLedger:
    """Counts losses. Safe to use from several threads."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: Counter[LossKey] = Counter()
        self.total: Counter[DropReason] = Counter()
        """All since start, by reason."""

    def count(self, reason: DropReason, host: str = "", losses: int = 1) -> None:
        """Count `losses` of what `host` sent."""
        ts = int(self._clock()) // _WINDOW_S * _WINDOW_S
        with self._lock:
            self.total[reason] += losses
            key = LossKey(ts, host, reason)
            if key not in self._counts and len(self._counts) >= _MAX_HOSTS:
                key = LossKey(ts, "", reason)
            self._counts[key] += losses

    def take(self) -> Counter[LossKey]:
        """All counts since the last call."""
        with self._lock:
            taken, self._counts = self._counts, Counter()
            return taken

    def give_back(self, counts: Counter[LossKey]) -> None:
        """Count again what was taken but could not be stored."""
        with self._lock:
            self._counts.update(counts)
