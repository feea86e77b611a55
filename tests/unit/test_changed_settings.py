"""Which settings a running collector takes into use, and what each kind of row is kept for."""

import logging
from pathlib import Path

import pytest

from collector.changed_settings import LIVE, reread
from collector.config import TABLE, CollectorConfig
from collector.store.retention import Retention
from fleetprof.errors import InputError
from fleetprof.settings import load_settings


def load(**values: str) -> CollectorConfig:
    return load_settings(TABLE, CollectorConfig, values, {}).config


def test_live_settings_are_settings() -> None:
    assert {setting.name for setting in TABLE} >= LIVE


def test_only_live_settings_change_and_all_changes_are_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    now = load()
    changed = load(retention_traces_days="3", disk_free="2 GiB", data="/elsewhere")
    in_force = reread(now, lambda: changed)
    assert (in_force.retention_traces_days, in_force.disk_free_bytes) == (3, 2 << 30)
    assert in_force.data == now.data == Path("data")
    assert caplog.messages == [
        "data has changed, which takes effect at the next start.",
        "retention_traces_days is 3 from now on.",
        'disk_free is "2 GiB" from now on.',
    ]


def test_a_mistake_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def mistaken() -> CollectorConfig:
        raise InputError("collector.toml:1: retention_samples_days = 0 is too small.")

    now = load(retention_samples_days="4")
    assert reread(now, mistaken) is now
    assert "stay as they are" in caplog.text


def test_sums_outlive_samples_and_labels_outlive_all() -> None:
    days = Retention(samples=7, hours=90, minutes=14, traces=2).days()
    kept = {"samples": 7, "series_1m": 14, "stack_1h": 90, "windows": 90, "spans": 2, "series": 90}
    assert days.items() >= kept.items()
    assert not {"stacks", "frames"} & days.keys()
    assert set(Retention(samples=100, hours=90).days().values()) == {100}
    assert Retention(samples=7, hours=30, minutes=60).days()["series"] == 60
    assert Retention(samples=7, hours=30).days()["series_1m"] == 30
