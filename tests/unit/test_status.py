"""What the API says of the collector's disk, in words and figures."""

import pytest

from collector.keeping.disk_guard import DiskStatus, DroppedDay
from fleetprof.setting_kinds import about_bytes
from query_ui.api.status import NEWS_S, status_json

NOW_S = 1_790_000_000
DAY_S = 86400


def disk(refusal: str = "", *days: str, ago_s: int = 60) -> DiskStatus:
    dropped = tuple(DroppedDay(day, NOW_S - ago_s) for day in days)
    return DiskStatus(900 << 20, 100 << 30, 2 << 30, refusal, dropped)


def notices(status: DiskStatus | None) -> list[tuple[str, str]]:
    return [(each["severity"], each["title"]) for each in status_json(status, NOW_S)["notices"]]


def test_all_is_well() -> None:
    assert status_json(None, NOW_S) == {"notices": [], "disk": None}
    assert notices(disk()) == []
    assert status_json(disk(), NOW_S)["disk"]["free_bytes"] == 900 << 20


def test_the_worst_comes_first_and_says_how_much_is_free() -> None:
    found = status_json(disk("full", "2026-11-03"), NOW_S)["notices"]
    assert [each["severity"] for each in found] == ["critical", "warning"]
    left = "900 MiB of 100 GiB are free, 2 GiB are to be kept free."
    assert [left in each["text"] for each in found] == [True, False]
    (alone,) = status_json(disk("", "2026-11-03"), NOW_S)["notices"]
    assert left in alone["text"]


@pytest.mark.parametrize(
    ("days", "title"),
    [
        (["2026-11-03"], "2026-11-03 was dropped for want of room on the collector's disk."),
        (["2026-11-03", "2026-11-04"], "2026-11-03 and 2026-11-04 were dropped"),
        (["2026-11-03", "2026-11-04", "2026-11-05"], "2026-11-03, 2026-11-04 and 2026-11-05 were dropped"),
        ([f"2026-11-0{n}" for n in range(1, 8)], "7 days from 2026-11-01 to 2026-11-07 were dropped"),
    ],
)
def test_dropped_days_are_named_for_a_week(days: list[str], title: str) -> None:
    ((severity, said),) = notices(disk("", *days))
    assert severity == "warning"
    assert said.startswith(title)
    assert notices(disk("", *days, ago_s=NEWS_S + 1)) == []
    assert len(status_json(disk("", *days, ago_s=NEWS_S + 1), NOW_S)["disk"]["dropped"]) == len(days)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "0.977 KiB"), (1 << 20, "1 MiB"), (1500 << 20, "1.46 GiB"),
     (900 << 20, "900 MiB"), (5000 << 40, "5000 TiB")],
)  # fmt: skip
def test_sizes_to_read(count: int, text: str) -> None:
    assert about_bytes(count) == text
