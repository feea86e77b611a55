"""Why a question had no answer, in plain words."""

import difflib
from datetime import UTC, datetime

import re2

from collector.query.asking import Asking
from collector.query.labels import load_label_names, load_label_values
from collector.query.model import Matcher, Query
from collector.query.selector import anchored, quote
from collector.query.sources import Binds, series_sql
from fleetprof.profile_types import ProfileType

_MAX_VALUES = 10_000
_FIRST_AND_LAST = "toUInt32(min(ts)) AS first_s, toUInt32(max(ts)) AS last_s, count() AS n"


def explain_empty(asking: Asking, query: Query) -> str:
    """One or two sentences for a query without samples: what does not exist, or when it did."""
    found = asking.ask(f"SELECT {_FIRST_AND_LAST} FROM windows", Binds())
    if not found["n"].sum():
        return "No data yet. The first window arrives about 10 s after an agent starts."
    for matcher in query.matchers:
        if reason := _never_seen(asking, matcher):
            return f"No samples match. {reason}"
    if reason := _outside(query, int(found["first_s"][0]), int(found["last_s"][0])):
        return reason
    if reason := _service_outside(asking, query):
        return reason
    if reason := _other_type(asking, query):
        return f"No samples match. {reason}"
    if len(query.matchers) > 1:
        return (
            "No samples match. Each matcher has data by itself, but not all of them together in this range."
        )
    return "No samples match in this range."


def _never_seen(asking: Asking, matcher: Matcher) -> str:
    """What is wrong with a matcher that no series has ever satisfied; "" when nothing is."""
    if matcher.op in ("!=", "!~") or not matcher.value or _matches_absent(matcher):
        return ""
    names = load_label_names(asking, None, ())
    if matcher.label not in names:
        return f"No series has a label {matcher.label}.{_guess(matcher.label, names)}"
    values = load_label_values(asking, matcher.label, None, (), "", _MAX_VALUES)
    if matcher.op == "=~":
        if load_label_values(asking, matcher.label, None, (matcher,), "", 1):
            return ""
        return f"No {matcher.label} has ever matched {quote(matcher.value)}."
    if matcher.value in values or len(values) == _MAX_VALUES:
        return ""
    return f"{matcher.label} {quote(matcher.value)} has never sent data.{_guess(matcher.value, values)}"


def _matches_absent(matcher: Matcher) -> bool:
    return matcher.op == "=~" and re2.match(anchored(matcher.value), "") is not None


def _guess(given: str, known: list[str]) -> str:
    lowered = {name.lower(): name for name in known}
    close = difflib.get_close_matches(given.lower(), lowered, n=1, cutoff=0.6)
    return f" Did you mean {lowered[close[0]]}?" if close else ""


def _outside(query: Query, first_s: int, last_s: int) -> str:
    if query.range.end_s <= first_s:
        return f"No data before {_show(first_s)}; the first window is from then."
    if query.range.start_s > last_s:
        return f"No data after {_show(last_s)}; no host has reported since."
    return ""


def _service_outside(asking: Asking, query: Query) -> str:
    """When the selection as a whole first and last sent data, if that was outside the range."""
    if not query.matchers:
        return ""
    binds = Binds()
    found = asking.ask(
        f"SELECT {_FIRST_AND_LAST} FROM series_1m "
        f"WHERE series GLOBAL IN (SELECT series {series_sql(query.matchers, None, binds)})",
        binds,
    )
    if not found["n"].sum():
        return ""
    first_s, last_s = int(found["first_s"][0]), int(found["last_s"][0])
    what = "this service" if _is_one_service(query) else "this selection"
    if query.range.end_s <= first_s:
        return f"No data before {_show(first_s)}; {what} appeared then."
    if query.range.start_s >= last_s + 60:
        return f"No data after {_show(last_s + 60)}; {what} was last seen then."
    return ""


def _is_one_service(query: Query) -> bool:
    return any(matcher.label == "service" and matcher.op == "=" for matcher in query.matchers)


def _other_type(asking: Asking, query: Query) -> str:
    """Which profile types the selection does have."""
    binds = Binds()
    found = asking.ask(
        "SELECT DISTINCT type FROM series_1m "
        f"WHERE series GLOBAL IN (SELECT series {series_sql(query.matchers, query.range, binds)}) "
        f"AND ts >= toDateTime({binds.add(query.range.start_s - 60)}) "
        f"AND ts < toDateTime({binds.add(query.range.end_s)}) ORDER BY type",
        binds,
    )
    titles = {kind.label: title for kind, title in _TITLES.items()}
    has = [titles[str(label)] for label in found["type"] if str(label) in titles]
    wanted = {kind.label for kind in query.selection.types}
    if not has or wanted & {str(label) for label in found["type"]}:
        return ""
    return f"There is no {query.selection.title.lower()} here, but there is {' and '.join(has)}."


_TITLES = {
    ProfileType.CPU: "CPU time",
    ProfileType.RUNQ: "run-queue wait",
    ProfileType.OFFCPU: "off-CPU time",
}


def _show(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%-d %b %Y, %H:%M UTC")
