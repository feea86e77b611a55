"""How much may be pushed with one token: rows and bytes a minute, distinct series and stacks an hour.

Over a rate the sender is told to come later, and when; nothing is lost by that, so it is no loss but counted in
the metrics. A window whose series or stacks are too many is refused for good, and is a loss. Past such a limit
windows that bring nothing new still pass.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from collector.ingest.refusal import Later, Refused
from collector.tokens.distinct import Distinct
from collector.tokens.token import Token
from fleetprof.losses import DropReason

Ids = npt.NDArray[np.uint64]
MINUTE_S, HOUR_S = 60.0, 3600.0
LONGEST_PAUSE_S = 60.0


@dataclass(frozen=True, slots=True)
class Allowance:
    """The limits of each token."""

    rows_per_minute: int = 60_000_000
    bytes_per_minute: int = 4 << 30
    series_per_hour: int = 1_000_000
    stacks_per_hour: int = 10_000_000


class Limit(StrEnum):
    """What was broken: the label `limit` of the metric."""

    ROWS = "rows_per_minute"
    BYTES = "volume_per_minute"
    SERIES = "series_per_hour"
    STACKS = "stacks_per_hour"


@dataclass(slots=True)
class _Rate:
    """A bucket that holds a minute's worth and fills evenly."""

    per_minute: int
    left: float
    filled_s: float

    def wait_s(self, amount: int, now_s: float) -> float:
        """Seconds until `amount` may pass; more than a minute's worth passes where the bucket is full."""
        self.left = min(self.left + (now_s - self.filled_s) * self.per_minute / MINUTE_S, self.per_minute)
        self.filled_s = now_s
        missing = min(amount, self.per_minute) - self.left
        return max(missing, 0.0) * MINUTE_S / self.per_minute


class _Use:
    """What one token has used."""

    def __init__(self, allowance: Allowance, now_s: float) -> None:
        self.rows = _Rate(allowance.rows_per_minute, allowance.rows_per_minute, now_s)
        self.bytes = _Rate(allowance.bytes_per_minute, allowance.bytes_per_minute, now_s)
        self.hour_s = now_s
        self.series, self.stacks = Distinct(), Distinct()


class Allowances:
    """Keeps account of all tokens. Safe to use from several threads. `clock` is monotonic, in seconds."""

    def __init__(self, allowance: Allowance, clock: Callable[[], float] = time.monotonic) -> None:
        self._allowance, self._clock = allowance, clock
        self._lock = threading.Lock()
        self._uses: dict[str, _Use] = {}
        self.breaches: Counter[Limit] = Counter()
        """Since start."""

    def take(
        self,
        token: Token,
        size_bytes: int,
        rows: int,
        series: Ids,
        stacks: Ids,
    ) -> None:
        """Account for a window; raises Later or Refused, and then nothing is taken."""
        now_s = self._clock()
        with self._lock:
            use = self._uses.setdefault(token.id, _Use(self._allowance, now_s))
            if now_s - use.hour_s >= HOUR_S:
                use.hour_s, use.series, use.stacks = now_s, Distinct(), Distinct()
            self._check_rate(token, Limit.ROWS, use.rows, rows, now_s)
            self._check_rate(token, Limit.BYTES, use.bytes, size_bytes, now_s)
            more_series = self._more(token, Limit.SERIES, use.series, series)
            more_stacks = self._more(token, Limit.STACKS, use.stacks, stacks)
            use.series, use.stacks = more_series, more_stacks
            use.rows.left -= rows
            use.bytes.left -= size_bytes

    def _check_rate(self, token: Token, limit: Limit, rate: _Rate, amount: int, now_s: float) -> None:
        wait_s = rate.wait_s(amount, now_s)
        if wait_s > 0:
            self.breaches[limit] += 1
            what = "rows" if limit is Limit.ROWS else "bytes"
            # The same words each time, so that an agent says them once; the pause goes beside them.
            raise Later(
                f'The token "{token.name}" may push {rate.per_minute} {what} a minute (token_{limit}).',
                retry_ms=round(min(wait_s, LONGEST_PAUSE_S) * 1000) + 1,
                overloaded=True,
            )

    def _more(self, token: Token, limit: Limit, known: Distinct, ids: Ids) -> Distinct:
        most = self._allowance.series_per_hour if limit is Limit.SERIES else self._allowance.stacks_per_hour
        more = known.after(ids)
        if more is not known and round(more.count) > most:
            self.breaches[limit] += 1
            what = limit.split("_")[0]
            reason = DropReason.SERIES_LIMIT if limit is Limit.SERIES else DropReason.STACK_LIMIT
            raise Refused(
                reason, f'The token "{token.name}" may push {most} distinct {what} an hour (token_{limit}).'
            )
        return more
