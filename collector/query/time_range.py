"""Time ranges as people write them, and steps for charts."""

import re
from datetime import UTC, datetime

from collector.query.model import TimeRange
from fleetprof.errors import InputError

MAX_RANGE_S = 400 * 86400
EARLIEST_S = 946_684_800
"""2000-01-01: nothing was profiled before, so an earlier time is a mistake (often of units)."""

STEPS_S = (
    *(10, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200),
    *(86400, 2 * 86400, 7 * 86400),
)

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_DURATION = re.compile(r"(?:\d{1,9}[smhdw])+")
_RELATIVE = re.compile(r"(?:now)?\s*(?P<sign>[-+])?\s*(?P<duration>(?:\d{1,9}[smhdw])+)")
_DIGITS = re.compile(r"\d{1,19}(?:\.\d{1,9})?")
_HINT = 'Use "now-1h", "30m", "2026-11-19T09:00:00Z", or Unix seconds.'


def parse_range(frm: str, to: str, now_s: int) -> TimeRange:
    """The range from `frm` to `to`, each relative to `now_s` ("now", "now-1h", "1h" = an hour ago), RFC 3339
    (UTC where no offset is given), or Unix seconds or milliseconds. Empty: the last hour, and now.

    Raises InputError for what cannot be read, an end before or at the start, a start before 2000 or in the
    future, and more than 400 days.
    """
    end_s = _parse_time(to or "now", now_s, "end")
    start_s = _parse_time(frm, now_s, "start") if frm else end_s - 3600
    for name, seconds in (("start", start_s), ("end", end_s)):
        if seconds < EARLIEST_S:
            raise InputError(f"The {name} of the time range, {_show(seconds)}, is before 2000.", _HINT)
        if seconds > now_s + 366 * 86400:
            raise InputError(f"The {name} of the time range, {_show(seconds)}, is far in the future.", _HINT)
    _check(start_s, end_s, now_s)
    return TimeRange(start_s, end_s)


def _check(start_s: int, end_s: int, now_s: int) -> None:
    if end_s < start_s:
        raise InputError(
            f"The time range ends ({_show(end_s)}) before it starts ({_show(start_s)}).", "Swap its two ends."
        )
    if end_s == start_s:
        raise InputError(
            f"The time range has no length: it starts and ends at {_show(start_s)}.",
            "Give it at least one window of 10 s.",
        )
    if start_s > now_s:
        raise InputError(
            f"The time range starts in the future, at {_show(start_s)}.",
            f"It is {_show(now_s)} now. {_HINT}",
        )
    if end_s - start_s > MAX_RANGE_S:
        days = (end_s - start_s) / 86400
        raise InputError(f"The time range is {days:.0f} days long; at most 400 are allowed.", "Shorten it.")


def parse_duration(text: str) -> int:
    """Seconds of a duration such as "90s", "1h30m" or "2w"; raises InputError."""
    if not _DURATION.fullmatch(text):
        raise InputError(
            f'Duration not understood: "{text}".', 'Use for example "30s", "15m", "1h30m", "7d".'
        )
    return sum(int(part[:-1]) * _UNITS_S[part[-1]] for part in re.findall(r"\d+[smhdw]", text))


def choose_step(range: TimeRange, points: int) -> int:
    """The smallest usual step, in seconds, that cuts `range` into at most `points` steps."""
    for step_s in STEPS_S:
        if range.seconds <= step_s * max(points, 1):
            return step_s
    return STEPS_S[-1]


def _parse_time(text: str, now_s: int, name: str) -> int:
    text = text.strip()
    if text == "now":
        return now_s
    if relative := _RELATIVE.fullmatch(text):
        seconds = parse_duration(relative["duration"])
        return now_s + seconds if relative["sign"] == "+" else now_s - seconds
    if _DIGITS.fullmatch(text):
        seconds_or_ms = float(text)
        return int(seconds_or_ms / 1000 if seconds_or_ms >= 1e11 else seconds_or_ms)
    try:
        moment = datetime.fromisoformat(text)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        raise InputError(f'The {name} of the time range is not understood: "{text}".', _HINT) from None


def _show(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"{seconds} s"
