"""Retention drops whole partitions that are past it, and nothing else."""

from datetime import UTC, date, datetime

import pytest

from collector.store.chdb import ChdbStore
from collector.store.retention import Retention, drop_expired

pytestmark = pytest.mark.store

TODAY = date(1971, 6, 20)  # long before all rows of other tests, which must stay


def seconds(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, 23, 59, 50, tzinfo=UTC).timestamp())


def insert(store: ChdbStore, table: str, service: str, day: date, **columns: list[object]) -> None:
    values = {"service": [service], "type": ["cpu"], "series": [1], "value": [1], "captures": [1]}
    store.insert(table, {"ts": [seconds(day)], **values, **columns}, "")


def days_left(store: ChdbStore, table: str, column: str, service: str) -> list[int]:
    statement = f"SELECT toYYYYMMDD({column}) AS d FROM {table} WHERE service = %(service)s ORDER BY d"
    return store.query((statement, {"service": service}))["d"].tolist()


def test_partitions_past_their_retention_are_dropped(store: ChdbStore, service: str) -> None:
    for day in (date(1971, 6, 12), date(1971, 6, 13), date(1971, 6, 20)):
        insert(store, "samples", service, day, stack=[1], offsets=[[]])
        insert(store, "series_1m", service, day)
    insert(store, "series_1m", service, date(1971, 3, 21))
    empty = ("host", "version", "environment", "region", "namespace", "pod", "container", "process", "thread")
    for day in (date(1971, 2, 28), date(1971, 3, 1)):
        row = {"day": [(day - date(1970, 1, 1)).days], "service": [service], "series": [1], "wait": [""]}
        lists = {"free_names": [[]], "free_values": [[]]}
        store.insert("series", row | {name: [""] for name in empty} | lists, "")
    assert drop_expired(store, Retention(7, 90).days(), TODAY) == [
        "samples 19710612",
        "series 197102",
        "series_1m 19710321",
    ]
    assert days_left(store, "samples", "ts", service) == [19710613, 19710620]
    assert days_left(store, "series_1m", "ts", service) == [19710612, 19710613, 19710620]
    assert days_left(store, "series", "day", service) == [19710301]
    assert drop_expired(store, Retention(7, 90).days(), TODAY) == []
