"""Drops partitions that are older than a table keeps (DROP PARTITION works at once and everywhere)."""

import logging
import threading
import time
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

from collector.store.errors import StoreError
from collector.store.interface import Store

log = logging.getLogger("fleetprof.store")

SAMPLES = ("samples", "spans", "rollups_pending")
ROLLUPS = ("stack_1h", "func_1h", "series_1m", "windows", "losses", "series", "heartbeats")
"""What answers about long ranges; stacks and frames outlive them."""

_INTERVAL_S = 3600.0


def retention_days(samples: int, rollups: int) -> dict[str, int]:
    """Table → days kept. Roll-ups are kept at least as long as samples, whose labels are among them."""
    return dict.fromkeys(SAMPLES, samples) | dict.fromkeys(ROLLUPS, max(samples, rollups))


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
    """Drops what has expired, at start and every hour, on a thread of its own."""

    def __init__(self, store: Store, days: Mapping[str, int]) -> None:
        self._store = store
        self._days = days
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End; waits for a drop under way."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                dropped = drop_expired(
                    self._store, self._days, datetime.fromtimestamp(time.time(), UTC).date()
                )
                if dropped:
                    log.info("Dropped what is past its retention: %s.", ", ".join(dropped))
            except StoreError as error:
                log.error("Cannot drop what is past its retention, trying again in an hour: %s", error)
            if self._stopping.wait(_INTERVAL_S):
                return
