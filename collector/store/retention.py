"""Drops partitions that are older than a table keeps (DROP PARTITION works at once and everywhere)."""

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from collector.store.errors import StoreError
from collector.store.interface import Store

log = logging.getLogger("fleetprof.store")

SAMPLES = ("samples", "rollups_pending", "places")
TRACES = ("spans",)
MINUTES = ("series_1m",)
HOURS = ("stack_1h", "func_1h", "windows", "losses", "heartbeats")
LABELS = ("series",)
"""What series are called, without which no other table of series can be asked."""

PARTITIONED = (*SAMPLES, *TRACES, *MINUTES, *HOURS, *LABELS)
"""All tables whose rows are dropped by day or month; stacks and frames stay."""

_INTERVAL_S = 3600.0


@dataclass(frozen=True, slots=True)
class Retention:
    """Days for which each kind of row is kept; 0 for minutes is as long as hours, for traces as samples."""

    samples: int
    hours: int
    minutes: int = 0
    traces: int = 0

    def days(self) -> dict[str, int]:
        """Table → days. Sums are kept at least as long as the samples they are sums of."""
        hours = max(self.samples, self.hours)
        minutes = max(self.samples, self.minutes) if self.minutes else hours
        kept = {SAMPLES: self.samples, TRACES: self.traces or self.samples, MINUTES: minutes, HOURS: hours}
        kept[LABELS] = max(hours, minutes)
        return {table: days for tables, days in kept.items() for table in tables}


def drop_expired(store: Store, days: Mapping[str, int], today: date) -> list[str]:
    """Drop partitions whose last day is more than `days` before today; returns "table partition" names."""
    dropped = []
    for table, partition in store.partitions(list(days)):
        if _last_day(partition) < today - timedelta(days=days[table]):
            store.drop_partition(table, partition)
            dropped.append(f"{table} {partition}")
    return dropped


def _last_day(partition: int) -> date:
    """The last day of a partition by day (YYYYMMDD) or by month (YYYYMM)."""
    if partition >= 10_000_000:
        return date(partition // 10_000, partition // 100 % 100, partition % 100)
    following = date(partition // 100 + partition % 100 // 12, partition % 100 % 12 + 1, 1)
    return following - timedelta(days=1)


class RetentionJob:
    """Drops what has expired, at start, every hour and after `change`, on a thread of its own."""

    def __init__(self, store: Store, days: Mapping[str, int]) -> None:
        self._store = store
        self._days = days
        self._stopping = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)
        self._thread.start()

    def change(self, days: Mapping[str, int]) -> None:
        """Keep rows for `days` (table → days) from now on; what has expired by that is dropped at once."""
        self._days = days
        self._wake.set()

    def stop(self) -> None:
        """End; waits for a drop under way."""
        self._stopping = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping:
            self._drop()
            self._wake.wait(_INTERVAL_S)
            self._wake.clear()

    def _drop(self) -> None:
        today = datetime.fromtimestamp(time.time(), UTC).date()
        try:
            if dropped := drop_expired(self._store, self._days, today):
                log.info("Dropped what is past its retention: %s.", ", ".join(dropped))
        except StoreError as error:
            log.error("Cannot drop what is past its retention, trying again in an hour: %s", error)
