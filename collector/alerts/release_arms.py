"""Which two selections a release is judged by: the new version, and its predecessor beside or before it."""

from dataclasses import dataclass, replace

from collector.alerts.judgement import with_service
from collector.alerts.rules import ReleaseRule
from collector.query.asking import Asking
from collector.query.model import Matcher, Query, TimeRange
from collector.query.segments import total_segments
from collector.query.sources import Binds, series_sql, union_sql
from collector.releases.model import Release
from fleetprof.profile_types import selection

MIN_CONTROLS = 5
"""Hosts that must run the predecessor at the same time; with fewer, the time before is compared with."""

HISTORIES = 8
"""The history of the hosts is this many times as long as what is judged: as that is taken out, its own noise
comes in, and of a longer one that is less. Of functions of 1 % that grew by 20 % on 10 of 20 simulated hosts
one period of history found 24 %, four 52 % and eight 78 %."""
LONGEST_HISTORY_S = 6 * 3600
"""Unless the look itself is longer: comparisons read samples."""

Activity = dict[str, dict[str, int]]
"""Version → host → nanoseconds of CPU."""


@dataclass(frozen=True, slots=True)
class Arms:
    """A is the predecessor, B the new version."""

    a: Query
    b: Query
    concurrent: bool
    before: Query | None = None
    """What the hosts of both ran before the release, where A and B run side by side."""

    @property
    def whole(self) -> TimeRange:
        """From the earlier start to the later end."""
        return TimeRange(min(self.a.range.start_s, self.b.range.start_s), self.b.range.end_s)

    def last(self, seconds: int) -> "Arms":
        """Only the end of B's range, and of A's where it is the same range."""
        end_s = self.b.range.end_s
        part = TimeRange(max(end_s - seconds, self.b.range.start_s), end_s)
        a = replace(self.a, range=part) if self.concurrent else self.a
        return Arms(a, replace(self.b, range=part), self.concurrent, self.before)


def of_service(rule: ReleaseRule, service: str, range: TimeRange) -> Query:
    """CPU of one service in the rule's scope."""
    return Query(selection("cpu"), with_service(rule.scope, service), range)


def of_version(query: Query, version: str) -> Query:
    """The same of one version."""
    return replace(query, matchers=(*query.matchers, Matcher("version", "=", version)))


def arms_at(asking: Asking, rule: ReleaseRule, seen: Release, first_s: int, end_s: int) -> Arms:
    """The arms when the version is judged over first_s..end_s."""
    service = of_service(rule, seen.service, TimeRange(first_s, end_s))
    old, new = (of_version(service, version) for version in (seen.predecessor, seen.version))
    if has_controls(asking, service, seen.predecessor):
        return Arms(old, new, True, history(old, first_s, end_s - first_s))
    before = TimeRange(first_s - (end_s - first_s), first_s)
    return Arms(replace(old, range=before), new, concurrent=False)


def history(old: Query, first_s: int, seconds: int) -> Query:
    """What ran on all hosts before `first_s`, to judge `seconds` by."""
    length_s = max(min(HISTORIES * seconds, LONGEST_HISTORY_S), seconds)
    return replace(old, range=TimeRange(first_s - length_s, first_s))


def has_controls(asking: Asking, service: Query, predecessor: str) -> bool:
    """True when the predecessor runs on enough hosts also in the later half of the range."""
    start_s, end_s = service.range.start_s, service.range.end_s
    later = TimeRange(start_s + (end_s - start_s) // 20 * 10, end_s)
    return len(load_activity(asking, replace(service, range=later)).get(predecessor, {})) >= MIN_CONTROLS


def load_activity(asking: Asking, query: Query) -> Activity:
    """Which versions ran on which hosts, and how much CPU they used there."""
    binds = Binds()
    union = union_sql(query, total_segments(asking, query), ("series",), binds)
    labels = (
        "(SELECT series, any(version) AS version, any(host) AS host "
        f"{series_sql(query.matchers, query.range, binds)} GROUP BY series)"
    )
    found = asking.ask(
        f"SELECT version, host, sum(v) AS value FROM {union} AS x ANY LEFT JOIN {labels} AS y USING series "
        "GROUP BY version, host HAVING value > 0 ORDER BY version, host",
        binds,
    )
    activity: Activity = {}
    for version, host, value in zip(found["version"], found["host"], found["value"].tolist(), strict=True):
        activity.setdefault(str(version), {})[str(host)] = value
    return activity
