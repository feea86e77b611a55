"""Judges threshold rules: a figure of each service in scope, over the last window, against a bound."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import re2

from collector.alerts.coverage import load_coverage, settled_end
from collector.alerts.evidence import callers_of, cores_by_host
from collector.alerts.judgement import Docket, Judgement, with_service
from collector.alerts.links import explore_link
from collector.alerts.model import Json, Sight, Subject
from collector.alerts.rules import AnyRule, ThresholdRule
from collector.compare.words import plain
from collector.query.asking import Asking
from collector.query.model import Profile, Query, TimeRange
from collector.query.querier import Querier
from collector.query.segments import total_segments
from collector.query.selector import anchored
from collector.query.sources import Binds, union_sql
from collector.store.interface import Store
from fleetprof.frames import Frame
from fleetprof.profile_types import selection


@dataclass(frozen=True, slots=True)
class _Figure:
    """A service's CPU in nanoseconds; of the rule's function where it names one."""

    value_ns: int
    whole_ns: int
    captures: int
    profile: Profile | None = None
    frames: tuple[Frame, ...] = ()


class ThresholdJudge:
    """Asks a store; `ui_url` is where links lead."""

    def __init__(self, store: Store, ui_url: str) -> None:
        self._asking = Asking(store)
        self._querier = Querier(store)
        self._ui_url = ui_url

    def judge(self, rule: AnyRule, docket: Docket) -> Judgement:
        """A sight of every service that has an open alert or is past the bound."""
        assert isinstance(rule, ThresholdRule)
        end_s = settled_end(docket.now_s)
        window = TimeRange(end_s - int(rule.window_s) // 10 * 10, end_s)
        query = Query(selection("cpu"), rule.scope, window)
        sums = self._sums(query)
        whole_ns = sum(value for value, _ in self._sums(replace(query, matchers=())).values())
        open_services = {alert.subject.service for alert in docket.open_alerts}
        sights = []
        for service in sorted(self._services(rule, query, sums) | open_services):
            of_service = replace(query, matchers=with_service(rule.scope, service))
            figure = self._figure(rule, of_service, sums.get(service, (0, 0)), whole_ns)
            if service in open_services or self._is_past(rule, figure, window):
                sights.append(self._sight(rule, of_service, service, figure))
        held = "; ".join(
            f"{sight.subject.service}: {sight.reason}" for sight in sights if sight.verdict == "held"
        )
        return Judgement(sights, held=held)

    def _services(self, rule: ThresholdRule, query: Query, sums: Iterable[str]) -> set[str]:
        """Services with CPU in the window; below a bound also those of the day that have none now."""
        found = set(sums)
        if rule.below is not None:
            found.update(self._querier.label_values("service", query.range, rule.scope, limit=10_000))
        return found

    def _sums(self, query: Query) -> dict[str, tuple[int, int]]:
        """Service → (nanoseconds, captures)."""
        binds = Binds()
        union = union_sql(query, total_segments(self._asking, query), ("service",), binds)
        found = self._asking.ask(
            f"SELECT service, sum(v) AS value, sum(c) AS captures FROM {union} GROUP BY service", binds
        )
        columns = (found["service"], found["value"].tolist(), found["captures"].tolist())
        return {str(name): (value, captures) for name, value, captures in zip(*columns, strict=True)}

    def _figure(
        self, rule: ThresholdRule, query: Query, sums: tuple[int, int], everything_ns: int
    ) -> _Figure:
        value_ns, captures = sums
        if not rule.function and not rule.function_regex:
            return _Figure(value_ns, everything_ns, captures)
        profile = self._querier.profile(query, max_stacks=None, split_services=False)
        codes = [code for code, frame in enumerate(profile.frames) if _is_meant(rule, frame)]
        rows = np.flatnonzero(np.isin(profile.frame_index, codes))
        stacks = np.unique(np.searchsorted(profile.starts, rows, side="right") - 1)
        taken = 0 if profile.stack_captures is None else int(profile.stack_captures[stacks].sum())
        frames = tuple(profile.frames[code] for code in codes)
        return _Figure(int(profile.values[stacks].sum()), value_ns, taken, profile, frames)

    def _is_past(self, rule: ThresholdRule, figure: _Figure, window: TimeRange) -> bool:
        value = _value(rule, figure, window)
        above = rule.above is not None and value > rule.above
        return above or (rule.below is not None and value < rule.below)

    def _sight(self, rule: ThresholdRule, query: Query, service: str, figure: _Figure) -> Sight:
        function = rule.function or rule.function_regex
        subject = Subject(rule.name, rule.scope_text, service, function)
        coverage = load_coverage(self._asking, query)
        if problem := coverage.problem(rule.min_complete):
            return Sight(subject, "held", problem)
        value = _value(rule, figure, query.range)
        reason = _sentence(rule, service, value)
        link = explore_link(self._ui_url, query, rule.function)
        shown = _shown(rule, value)
        values = {
            "service": service,
            "function": function,
            "value": shown,
            "hosts": str(coverage.hosts),
            "link": link,
        }
        if not self._is_past(rule, figure, query.range):
            return Sight(subject, "inactive", reason, function, value)
        evidence = {
            "value": value,
            "unit": rule.metric,
            "bounds": {"above": rule.above, "below": rule.below},
            "range": {"start_s": query.range.start_s, "end_s": query.range.end_s},
            "hosts": coverage.hosts,
            "samples": figure.captures,
            "per_host": self._per_host(query),
            "callers": _callers(figure),
            "link": link,
        }
        return Sight(subject, "active", reason, function, value, values, evidence)

    def _per_host(self, query: Query) -> list[Json]:
        cores = cores_by_host(self._querier, query)
        return [{"host": host, "cores": cores[host]} for host in sorted(cores)]


def _is_meant(rule: ThresholdRule, frame: Frame) -> bool:
    if rule.function:
        return frame.name == rule.function
    try:
        return re2.fullmatch(anchored(rule.function_regex), frame.name) is not None
    except UnicodeEncodeError:  # a name with bytes that were not UTF-8
        return False


def _value(rule: ThresholdRule, figure: _Figure, window: TimeRange) -> float:
    if rule.metric == "cores":
        return figure.value_ns / 1e9 / window.seconds
    return figure.value_ns / figure.whole_ns if figure.whole_ns else 0.0


def _shown(rule: ThresholdRule, value: float) -> str:
    if rule.metric == "cores":
        return f"{value:.2f} cores" if value >= 1 else f"{value:.3f} cores"
    return f"{100 * value:.2f} %"


def _sentence(rule: ThresholdRule, service: str, value: float) -> str:
    what = f"{rule.function or rule.function_regex} in {service}" if _has_function(rule) else service
    of = "" if rule.metric == "cores" else " of its CPU" if _has_function(rule) else " of all CPU"
    return f"{what} uses {_shown(rule, value)}{of} ({_bounds(rule)})"


def _has_function(rule: ThresholdRule) -> bool:
    return bool(rule.function or rule.function_regex)


def _bounds(rule: ThresholdRule) -> str:
    bounds = ((name, getattr(rule, name)) for name in ("above", "below"))
    return ", ".join(f"{name} {_bound(rule, bound)} alerts" for name, bound in bounds if bound is not None)


def _bound(rule: ThresholdRule, value: float) -> str:
    return f"{plain(value, 6)} cores" if rule.metric == "cores" else f"{plain(100 * value, 6)} %"


def _callers(figure: _Figure) -> list[Json]:
    if figure.profile is None or not figure.frames:
        return []
    return callers_of(figure.profile, figure.frames[0])
