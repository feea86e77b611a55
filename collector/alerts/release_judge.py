"""Judges release rules: new versions at their looks, and whether what was found is still there."""

from dataclasses import dataclass

from collector.alerts.coverage import load_coverage, settled_end
from collector.alerts.judgement import Docket, Judgement
from collector.alerts.model import Alert, Look, Sight
from collector.alerts.release_arms import (
    Arms,
    arms_at,
    has_controls,
    history,
    load_activity,
    of_service,
    of_version,
)
from collector.alerts.release_sight import STAYS, describe, fold_whole, growth, subject_of
from collector.alerts.rules import AnyRule, ReleaseRule
from collector.compare.compare import compare
from collector.compare.model import Comparison, Finding
from collector.compare.regressions import find_regressions
from collector.query.asking import Asking
from collector.query.model import Query, TimeRange
from collector.query.querier import Querier
from collector.releases.model import Release
from collector.releases.releases import Releases
from collector.store.interface import Store
from fleetprof.errors import InputError

LATE_S = 3600
"""A look that could not be taken for so long past its time is given up."""
WENT_AWAY_FROM_S = 1200
"""Looks over at least this long are checked for what went away within them."""
_WINDOW_S = 10
_BEFORE_S = 86400


class ReleaseJudge:
    """Asks a store; `ui_url` is where links lead."""

    def __init__(self, store: Store, ui_url: str) -> None:
        self._asking = Asking(store)
        self._querier = Querier(store)
        self._ui_url = ui_url
        self._releases = Releases(store)

    def judge(self, rule: AnyRule, docket: Docket) -> Judgement:
        """Sights of all open alerts that are due to be looked at, and what new looks found."""
        assert isinstance(rule, ReleaseRule)
        end_s = settled_end(docket.now_s)
        sights, looks, held = self._follow(rule, docket, end_s), [], []
        for seen in self._new_releases(rule, end_s):
            due = _due(rule, seen, docket, end_s)
            looks += due.given_up
            if due.look_s is None:
                continue
            case = _Case(self, rule, seen, due.look_s)
            found, look, problem = case.judge()
            sights += found
            looks += [look] if look else []
            held += [f"{seen.service} {seen.version}: held: {problem}"] if problem else []
        return Judgement(sights, looks, "; ".join(held))

    def _new_releases(self, rule: ReleaseRule, end_s: int) -> list[Release]:
        """Releases that still have a look before them. A day more is read, to know what ran before them."""
        since_s = end_s - rule.looks_s[-1] - 2 * LATE_S
        found = self._releases.rollouts(TimeRange(since_s - _BEFORE_S, end_s), rule.scope)
        return [seen for seen in found if seen.first_seen_s >= since_s and seen.predecessor]

    def _follow(self, rule: ReleaseRule, docket: Docket, end_s: int) -> list[Sight]:
        """Look again at open alerts, each release once."""
        by_release: dict[tuple[str, str], list[Alert]] = {}
        every_s = recheck_s(rule)
        for alert in docket.open_alerts:
            if docket.now_s - alert.judged_at >= min(every_s, docket.now_s):
                by_release.setdefault((alert.subject.service, alert.subject.version), []).append(alert)
        sights: list[Sight] = []
        for (service, version), alerts in by_release.items():
            sights += self._follow_release(rule, service, version, alerts, end_s)
        return sights

    def _follow_release(
        self, rule: ReleaseRule, service: str, version: str, alerts: list[Alert], end_s: int
    ) -> list[Sight]:
        recent = of_service(rule, service, TimeRange(end_s - recheck_s(rule), end_s))
        if problem := load_coverage(self._asking, recent).problem(rule.min_complete):
            return [Sight(alert.subject, "held", problem) for alert in alerts]
        versions = load_activity(self._asking, recent)
        if version not in versions:
            if not versions:
                return [Sight(alert.subject, "held", f"{service} uses no CPU") for alert in alerts]
            others = ", ".join(sorted(versions))
            return [Sight(a.subject, "superseded", f"{version} runs no more, {others} does") for a in alerts]
        return self._compare_again(alerts, recent)

    def _compare_again(self, alerts: list[Alert], recent: Query) -> list[Sight]:
        """Whether at least half of what was found is still there."""
        first = alerts[0]
        baseline = str(first.evidence["baseline"])
        new = of_version(recent, first.subject.version)
        old = of_version(recent, baseline)
        before = None
        if has_controls(self._asking, recent, baseline):
            before = history(old, int(first.evidence["first_seen_s"]), recent.range.seconds)
        else:
            start_s, before_end_s = first.evidence["a"]["start_s"], first.evidence["a"]["end_s"]
            old = Query(old.selection, old.matchers, TimeRange(start_s, before_end_s))
        try:
            comparison = compare(self._querier, old, new, before=before)
        except InputError as error:
            return [Sight(alert.subject, "held", error.message) for alert in alerts]
        return [_seen_again(alert, comparison) for alert in alerts]


def recheck_s(rule: ReleaseRule) -> int:
    """How often an open alert is looked at again, and over how long: a quarter of the first look."""
    return min(max(rule.looks_s[0] // 4 // _WINDOW_S * _WINDOW_S, 60), 1200)


def _seen_again(alert: Alert, comparison: Comparison) -> Sight:
    at_first = float(alert.evidence["net"])
    now = growth(comparison, alert.subject.node, str(alert.evidence["kind"]))
    if now is None:
        return Sight(alert.subject, "held", "too few samples to look again")
    part = now / at_first if at_first else 0.0
    if part < STAYS:
        return Sight(alert.subject, "inactive", f"the growth is gone: {part:.0%} of it is left")
    return Sight(alert.subject, "active", alert.annotations.get("summary", ""), alert.function)


@dataclass(frozen=True, slots=True)
class _Due:
    """Which look of a release is to be taken now (None: none), and which were missed."""

    look_s: int | None
    given_up: list[Look]


def _due(rule: ReleaseRule, seen: Release, docket: Docket, end_s: int) -> _Due:
    """The latest look whose time has come: it sees all that earlier ones would have.

    A look taken before its time is one of an earlier rollout of the same version.
    """
    passed = [look for look in rule.looks_s if seen.first_seen_s + look <= end_s]
    taken = {look: docket.looks.get((seen.service, seen.version, look), 0) for look in passed}
    missing = [look for look in passed if taken[look] < seen.first_seen_s + look]
    late = [look for look in missing if end_s - seen.first_seen_s - look > LATE_S or look != passed[-1]]
    skipped = [Look(rule.name, seen.service, seen.version, look, "skipped") for look in late]
    return _Due(next((look for look in missing if look not in late), None), skipped)


class _Case:
    """One release at one look."""

    def __init__(self, judge: ReleaseJudge, rule: ReleaseRule, seen: Release, look_s: int) -> None:
        self._asking = judge._asking
        self._querier = judge._querier
        self._ui_url = judge._ui_url
        self._rule = rule
        self._seen = seen
        self._look_s = look_s

    def judge(self) -> tuple[list[Sight], Look | None, str]:
        """(sights, the look when it is done with, why it is held)."""
        rule, seen = self._rule, self._seen
        first_s = seen.first_seen_s
        service = of_service(rule, seen.service, TimeRange(first_s, first_s + self._look_s))
        hosts = len(load_activity(self._asking, service).get(seen.version, {}))
        if hosts < rule.min_hosts:
            return [], self._look(f"on {hosts} hosts, {rule.min_hosts} are needed"), ""
        arms = arms_at(self._asking, rule, seen, first_s, first_s + self._look_s)
        whole = of_service(rule, seen.service, arms.whole)
        if problem := load_coverage(self._asking, whole).problem(rule.min_complete):
            return [], None, problem
        try:
            comparison = compare(
                self._querier, arms.a, arms.b, effect=rule.effect, q=rule.q_per_look, before=arms.before
            )
        except InputError as error:
            return [], self._look(error.message), ""
        return self._conclude(arms, comparison)

    def _conclude(self, arms: Arms, comparison: Comparison) -> tuple[list[Sight], Look | None, str]:
        found = find_regressions(comparison, self._rule.effect, self._rule.q_per_look)
        causes = fold_whole(comparison, found)
        stayed = self._stayed(arms, causes)
        funnel = {
            "functions": len(comparison.frames),
            "tested": found.tested,
            "passed": found.passed,
            "causes": len(causes) + len(found.shifts),
            "moved": len(found.shifts),
            "went_away": len(causes) - len(stayed),
            "alerts": len(stayed),
        }
        sights = [
            describe(self._querier, self._rule, self._seen, arms, comparison, finding, funnel, self._ui_url)
            for finding in stayed
        ]
        return sights, self._look(f"{len(sights)} regressions", funnel), ""

    def _stayed(self, arms: Arms, findings: list[Finding]) -> list[Finding]:
        """Findings of which at least half is there also in the last quarter of the range."""
        if not findings or arms.b.range.seconds < WENT_AWAY_FROM_S:
            return findings
        last = arms.last(arms.b.range.seconds // 40 * _WINDOW_S)
        try:
            comparison = compare(self._querier, last.a, last.b, before=last.before)
        except InputError:  # the version ran no more in that part: what it cost went away with it
            return []
        stayed = []
        for finding in findings:
            left = growth(comparison, subject_of(self._rule, self._seen, finding).node, finding.kind)
            if left is None or left >= STAYS * finding.net:
                stayed.append(finding)
        return stayed

    def _look(self, verdict: str, funnel: dict[str, int] | None = None) -> Look:
        seen = self._seen
        return Look(self._rule.name, seen.service, seen.version, self._look_s, verdict, dict(funnel or {}))
