"""Answers about the collector itself: how full its disk is, what was dropped, what people should know of it."""

from collections.abc import Callable, Iterator
from dataclasses import asdict

from collector.keeping.disk_guard import DiskStatus
from collector.query.model import Json
from fleetprof.setting_kinds import about_bytes
from query_ui.api.schemas import INTEGER, TEXT, described, many, record

DiskOf = Callable[[], DiskStatus | None]
"""How full the embedded store's disk is; None where this process has none."""

NEWS_S = 7 * 86400
"""For so long a notice tells of days that were dropped; the list of them stays."""
_DAYS_NAMED = 4

CRITICAL, WARNING = "critical", "warning"

STATUS = record(
    "How the collector fares that keeps what the pages show.",
    notices=many(
        record(
            "What people should know, worst first.",
            severity={"type": "string", "enum": [CRITICAL, WARNING]},
            title=TEXT,
            text=TEXT,
        )
    ),
    disk={
        **record(
            "The embedded store's disk; null where a ClickHouse server keeps the profiles.",
            free_bytes=INTEGER,
            total_bytes=INTEGER,
            reserve_bytes=described(
                INTEGER, "Below it the oldest days are dropped, below half of it no windows are taken."
            ),
            refusal=described(TEXT, "Why no windows are taken now; empty while they are."),
            dropped=many(
                record(
                    "A day whose profiles were dropped for want of room, oldest first.",
                    day=described(TEXT, "Such as 2026-11-03, in UTC."),
                    at_s=described(INTEGER, "When it was dropped, Unix seconds."),
                )
            ),
        ),
        "nullable": True,
    },
)


def status_json(disk: DiskStatus | None, now_s: int) -> Json:
    """The answer."""
    return {"notices": list(_notices(disk, now_s)) if disk else [], "disk": asdict(disk) if disk else None}


def _notices(disk: DiskStatus, now_s: int) -> Iterator[Json]:
    free, total, reserve = map(about_bytes, (disk.free_bytes, disk.total_bytes, disk.reserve_bytes))
    left = f"{free} of {total} are free, {reserve} are to be kept free."
    if disk.refusal:
        yield {
            "severity": CRITICAL,
            "title": "No windows are taken: the collector's disk is nearly full.",
            "text": f"{left} Agents keep their windows and send them once there is room.",
        }
    if lately := [each.day for each in disk.dropped if each.at_s > now_s - NEWS_S]:
        yield {
            "severity": WARNING,
            "title": f"{_days(lately)} dropped for want of room on the collector's disk.",
            "text": f"{'' if disk.refusal else left + ' '}A larger disk or a shorter retention prevents this.",
        }


def _days(days: list[str]) -> str:
    """Such as "2026-11-03 was", "2026-11-03 and 2026-11-04 were", "The 6 days from … to … were"."""
    if len(days) == 1:
        return f"{days[0]} was"
    if len(days) <= _DAYS_NAMED:
        return f"{', '.join(days[:-1])} and {days[-1]} were"
    return f"{len(days)} days from {min(days)} to {max(days)} were"
