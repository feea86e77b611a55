"""Time ranges: all the ways to write them, and each mistake in plain words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.query.model import TimeRange
from collector.query.time_range import STEPS_S, choose_step, parse_duration, parse_range
from fleetprof.errors import InputError

NOW_S = 1_795_240_000  # 2026-11-21 05:46:40 UTC


@pytest.mark.parametrize(
    ("frm", "to", "start_s", "end_s"),
    [
        ("now-1h", "now", NOW_S - 3600, NOW_S),
        ("1h", "now", NOW_S - 3600, NOW_S),
        ("", "", NOW_S - 3600, NOW_S),
        ("now-1h30m", "now-30m", NOW_S - 5400, NOW_S - 1800),
        (" now - 2d ", "1w", None, None),
        ("2w", "1w", NOW_S - 14 * 86400, NOW_S - 7 * 86400),
        ("2026-11-21T05:00:00Z", "2026-11-21T05:30:00+00:00", NOW_S - 2800, NOW_S - 1000),
        ("2026-11-21T06:00:00+01:00", "now", NOW_S - 2800, NOW_S),
        ("2026-11-21 05:00", "now", NOW_S - 2800, NOW_S),
        ("2026-11-21", "now", 1_795_219_200, NOW_S),
        ("1795230000", "1795240000", 1_795_230_000, 1_795_240_000),
        ("1795230000.5", "1795240000000", 1_795_230_000, 1_795_240_000),
        ("now-10m", "now+5m", NOW_S - 600, NOW_S + 300),
    ],
)
def test_what_is_understood(frm: str, to: str, start_s: int | None, end_s: int | None) -> None:
    if start_s is None or end_s is None:
        with pytest.raises(InputError, match=r"ends .* before it starts"):
            parse_range(frm, to, NOW_S)
    else:
        assert parse_range(frm, to, NOW_S) == TimeRange(start_s, end_s)


@pytest.mark.parametrize(
    ("frm", "to", "message"),
    [
        ("now", "now-1h", "The time range ends (2026-11-21 04:46:40 UTC) before it starts"),
        ("now", "now", "The time range has no length: it starts and ends at 2026-11-21 05:46:40 UTC."),
        ("500 d", "now", 'The start of the time range is not understood: "500 d".'),
        ("500d", "now", "The time range is 500 days long; at most 400 are allowed."),
        ("1999-12-31", "now", "The start of the time range, 1999-12-31 00:00:00 UTC, is before 2000."),
        ("17952400", "now", "is before 2000."),
        ("now+1h", "now+2h", "The time range starts in the future"),
        ("yesterday", "now", 'The start of the time range is not understood: "yesterday".'),
        ("now-1h", "2026-13-01", 'The end of the time range is not understood: "2026-13-01".'),
        ("now-1h", "99999999999", "far in the future"),
        ("now-999999999w", "now", "is before 2000."),
        ("9" * 30, "now", "is not understood"),
        ("9" * 19, "now", "far in the future"),
    ],
)
def test_mistakes(frm: str, to: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        parse_range(frm, to, NOW_S)
    assert message in error.value.message


@given(st.text(max_size=20), st.text(max_size=20))
def test_any_text_is_read_or_refused(frm: str, to: str) -> None:
    try:
        found = parse_range(frm, to, NOW_S)
    except InputError:
        return
    assert found.start_s < found.end_s


@given(st.integers(1, 10_000))
def test_a_unix_time_is_itself_in_seconds_and_milliseconds(ago_s: int) -> None:
    start_s = NOW_S - ago_s
    assert parse_range(str(start_s), "now", NOW_S) == parse_range(str(start_s * 1000), "now", NOW_S)


@given(st.integers(1, 400 * 86400), st.integers(1, 2000))
def test_step_gives_at_most_the_points_asked_for(seconds: int, points: int) -> None:
    step_s = choose_step(TimeRange(NOW_S, NOW_S + seconds), points)
    assert step_s in STEPS_S
    assert step_s * points >= seconds or step_s == STEPS_S[-1]
    shorter = [each for each in STEPS_S if each < step_s]
    assert not shorter or shorter[-1] * points < seconds


def test_durations() -> None:
    assert parse_duration("1h30m") == 5400
    for text in ("", "1", "h", "1y", "-1h", "1h 30m"):
        with pytest.raises(InputError):
            parse_duration(text)
