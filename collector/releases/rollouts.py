"""Rollouts of versions: a version that was rolled back and goes out again is rolled out anew.

A version was rolled back when it used no CPU for a while in which an older version ran on hosts of its own.
Going back to the older version is no rollout, and neither is the return of a service (or a host) that was
away as a whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from collector.query.asking import Asking
from collector.query.model import Matcher, TimeRange
from collector.query.sources import MINUTE_S, Binds, series_sql
from collector.releases.load import NOW_S, Key, Run, load_runs
from collector.releases.model import Release

I64 = npt.NDArray[np.int64]

AWAY_S = 600
"""A version without CPU for so long was away."""


def latest_rollouts(
    asking: Asking, releases: Sequence[Release], range: TimeRange, matchers: tuple[Matcher, ...]
) -> list[Release]:
    """`releases` of `range`, each as of its latest rollout: that is when it was first seen, and after what."""
    older = {id(release): _older(release, releases) for release in releases}
    services = sorted({release.service for release in releases if older[id(release)]})
    if not services:
        return list(releases)
    minutes = _load_minutes(asking, range, matchers, tuple(services))
    return [
        _Return(asking, range, matchers, release, older[id(release)]).latest(minutes) for release in releases
    ]


def _older(release: Release, releases: Sequence[Release]) -> dict[str, int]:
    """Older versions of the same service that still ran when this one did → when they were first seen."""
    return {
        other.version: other.first_seen_s
        for other in releases
        if other.service == release.service and other.first_seen_s < release.first_seen_s < other.last_seen_s
    }


def _load_minutes(
    asking: Asking, range: TimeRange, matchers: tuple[Matcher, ...], services: tuple[str, ...]
) -> dict[Key, I64]:
    """By service and version, the minutes with CPU, ascending."""
    binds = Binds()
    whole = TimeRange(range.start_s // MINUTE_S * MINUTE_S, range.end_s)
    chosen = series_sql(matchers, whole, binds)
    minutes = (
        "(SELECT series, groupUniqArray(toUInt32(ts)) AS minutes FROM series_1m WHERE type = 'cpu' "
        f"AND ts >= toDateTime({binds.add(whole.start_s)}) AND ts < toDateTime({binds.add(whole.end_s)}) "
        f"AND service IN {binds.add(services)} GROUP BY series)"
    )
    labels = (
        f"(SELECT series, any(service) AS of_service, any(version) AS of_version {chosen} GROUP BY series)"
    )
    found = asking.ask(
        "SELECT of_service, of_version, arraySort(groupUniqArrayArray(minutes)) AS ran "
        f"FROM {minutes} AS x ANY INNER JOIN {labels} AS y USING series GROUP BY of_service, of_version",
        binds,
    )
    columns = zip(found["of_service"], found["of_version"], found["ran"], strict=True)
    return {(str(name), str(version)): np.asarray(ran, np.int64) for name, version, ran in columns}


@dataclass(frozen=True, slots=True)
class _Return:
    """The search for a version's latest return."""

    asking: Asking
    range: TimeRange
    matchers: tuple[Matcher, ...]
    release: Release
    older: dict[str, int]

    def latest(self, minutes: dict[Key, I64]) -> Release:
        """The release from its latest return on, or as it is when it never was rolled back."""
        service = self.release.service
        ran = minutes.get((service, self.release.version), np.zeros(0, np.int64))
        if not self.older or not len(ran):
            return self.release
        for away in reversed(self._absences(ran)):
            between = [
                version
                for version in self.older
                if _any_within(minutes.get((service, version), np.zeros(0, np.int64)), away)
            ]
            predecessor = self._replaced_by(between, away) if between else ""
            if predecessor:
                return replace(self.release, first_seen_s=away.end_s, predecessor=predecessor)
        return self.release

    def _absences(self, ran: I64) -> list[TimeRange]:
        """When the version, known already, used no CPU for AWAY_S or more; in order."""
        ends = ran + MINUTE_S
        if self.release.first_seen_s < self.range.start_s:
            ends = np.append(self.range.start_s // MINUTE_S * MINUTE_S, ends)
            ran = np.append(ends[0] - MINUTE_S, ran)
        away = np.flatnonzero(ran[1:] - ends[:-1] >= AWAY_S)
        return [TimeRange(int(ends[place]), int(ran[place + 1])) for place in away.tolist()]

    def _replaced_by(self, versions: list[str], away: TimeRange) -> str:
        """The one of `versions` that ran last on this one's hosts while it was away; "" when none did."""
        chosen = (*self.matchers, Matcher("service", "=", self.release.service))
        runs = load_runs(self.asking, away, chosen)
        mine = {run.host for run in self.release.runs}
        scores = {}
        for version in versions:
            there = [run for run in runs.get((self.release.service, version), []) if run.host in mine]
            if there:
                scores[version] = (_last(there) // NOW_S, len(there), self.older[version])
        return max(scores, key=lambda version: scores[version], default="")


def _any_within(minutes: I64, range: TimeRange) -> bool:
    first = int(np.searchsorted(minutes, range.start_s))
    return first < len(minutes) and int(minutes[first]) < range.end_s


def _last(runs: list[Run]) -> int:
    return max(run.last_s for run in runs)
