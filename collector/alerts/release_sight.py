"""A finding of a release as an alert says it: subject, sentence, evidence."""

import numpy as np

from collector.alerts.evidence import callers_of, function_name, node_key
from collector.alerts.links import compare_link
from collector.alerts.model import Json, Sight, Subject
from collector.alerts.release_arms import Arms
from collector.alerts.rules import ReleaseRule
from collector.compare.model import Arm, Comparison, Finding, Regressions
from collector.query.querier import Querier
from collector.query.selector import format_selector
from collector.releases.model import Release

STAYS = 0.5
"""Part of the growth that must be left for it not to have gone away."""
MIN_CAPTURES = 100
"""With fewer samples on a side, whether growth is still there cannot be told."""
WHOLE = ""
"""The node of an alert about a service's CPU as a whole."""


def subject_of(rule: ReleaseRule, seen: Release, finding: Finding) -> Subject:
    """What the alert is about; the function by name."""
    node = WHOLE if finding.kind == "cpu" else node_key(finding.frame)
    return Subject(rule.name, rule.scope_text, seen.service, node, seen.version)


def fold_whole(comparison: Comparison, found: Regressions) -> list[Finding]:
    """The findings without the one about all CPU where functions explain at least half of that: one fault,
    one alert. Where only the whole passed, the suspect takes its place if it explains as much.

    Also where nothing ran beside the new version: then a rise of everything may be traffic or the machine as
    well, and next to a function that grew by itself it is no second fault.
    """
    whole = [finding for finding in found.findings if finding.kind == "cpu"]
    functions = [finding for finding in found.findings if finding.kind != "cpu"]
    suspects = functions or ([found.suspect] if found.suspect else [])
    explained = sum(finding.net for finding in suspects) * comparison.b.cores_per_host
    left = [f for f in whole if explained < STAYS * f.delta]
    if not functions:
        return left or suspects
    return functions + (left if comparison.method.concurrent else [])


def growth(comparison: Comparison, node: str, kind: str) -> float | None:
    """How much the node grew in another comparison; None where there is too little data to tell."""
    if min(comparison.a.captures, comparison.b.captures) < MIN_CAPTURES:
        return None
    if kind == "cpu":
        return comparison.cpu.delta
    effects = comparison.total if kind == "total" else comparison.own
    rows = [row for row, frame in enumerate(comparison.frames) if node_key(frame) == node]
    return float(sum(effects.net[row] for row in rows))


def describe(
    querier: Querier,
    rule: ReleaseRule,
    seen: Release,
    arms: Arms,
    comparison: Comparison,
    finding: Finding,
    funnel: Json,
    ui_url: str,
) -> Sight:
    """The sight of a finding, with everything that the alert's page shows."""
    subject = subject_of(rule, seen, finding)
    function = "" if finding.kind == "cpu" else function_name(finding.frame)
    link = compare_link(ui_url, arms.a, arms.b, function)
    evidence: Json = {
        "kind": finding.kind,
        "unit": "cores_per_host" if finding.kind == "cpu" else comparison.unit,
        **{name: float(getattr(finding, name)) for name in ("delta", "net", "p", "q")},
        "before": finding.a,
        "after": finding.b,
        "interval": _interval(finding),
        "baseline": seen.predecessor,
        "a": _arm_json(comparison.a),
        "b": _arm_json(comparison.b),
        "concurrent": comparison.method.concurrent,
        "adjusted": comparison.method.adjusted,
        "method": comparison.method.sentence,
        "detectable": _detectable(comparison, finding),
        "per_host": _per_host(comparison, finding),
        "grown_callers": [frame.name for frame in finding.callers],
        "moved_from": [frame.name for frame in finding.moved_from],
        "callers": _callers(querier, arms, finding),
        "cpu_per_host": {
            "before": comparison.cpu.a,
            "after": comparison.cpu.b,
            "delta": comparison.cpu.delta,
        },
        "funnel": funnel,
        "first_seen_s": seen.first_seen_s,
        "link": link,
    }
    reason = _sentence(seen, comparison, finding)
    values = {
        "service": seen.service,
        "version": seen.version,
        "baseline": seen.predecessor,
        "function": function,
        "value": _amount(finding, finding.b),
        "effect": _change(finding, finding.delta),
        "interval": _shown_interval(finding),
        "hosts": str(comparison.b.hosts),
        "link": link,
    }
    group = tuple(node_key(frame) for frame in finding.callers)
    return Sight(subject, "active", reason, function, finding.b, values, evidence, group)


def _sentence(seen: Release, comparison: Comparison, finding: Finding) -> str:
    what = f"{seen.service} {seen.version}"
    hosts = f"{comparison.b.hosts} host" + ("s" if comparison.b.hosts != 1 else "")
    change = f"{_change(finding, finding.delta)} ({_shown_interval(finding)}), on {hosts}"
    before = f"{_amount(finding, finding.a)} in {seen.predecessor}"
    if finding.kind == "cpu":
        return f"{what} uses {_amount(finding, finding.b)} per host, {before}: {change}"
    function = function_name(finding.frame) + " itself" * (finding.kind == "self")
    return f"{function} uses {_amount(finding, finding.b)} of the CPU of {what}, {before}: {change}"


def _amount(finding: Finding, value: float) -> str:
    return f"{value:.3f} cores" if finding.kind == "cpu" else f"{100 * value:.2f} %"


def _change(finding: Finding, value: float) -> str:
    shown = f"{value:+.3f} cores" if finding.kind == "cpu" else f"{100 * value:+.2f} pp"
    return shown.replace("-", "−")


def _shown_interval(finding: Finding) -> str:
    if not np.isfinite([finding.low, finding.high]).all():
        return "no interval: too few hosts"
    low, high = (_change(finding, value).split(" ")[0] for value in (finding.low, finding.high))
    return f"95 % interval {low} to {high}"


def _interval(finding: Finding) -> list[float] | None:
    bounds = [float(finding.low), float(finding.high)]
    return bounds if np.isfinite(bounds).all() else None


def _detectable(comparison: Comparison, finding: Finding) -> float | None:
    if finding.kind == "cpu":
        value = comparison.cpu.detectable
    else:
        effects = comparison.total if finding.kind == "total" else comparison.own
        value = float(effects.detectable[finding.row])
    return value if np.isfinite(value) else None


def _arm_json(arm: Arm) -> Json:
    query = arm.query
    return {
        "query": format_selector(query.matchers),
        "start_s": query.range.start_s,
        "end_s": query.range.end_s,
        "hosts": arm.hosts,
        "samples": arm.captures,
        "cores_per_host": arm.cores_per_host,
        "completeness": arm.completeness.share,
    }


def _per_host(comparison: Comparison, finding: Finding) -> list[Json]:
    """Shares (or CPU-seconds) of each host before and after; null where the host has no such side."""
    if finding.kind == "cpu":
        return _cores_by_host(comparison)
    by_host = comparison.evidence.by_host(finding.row, own=finding.kind == "self")
    return [
        {"host": host, "before": _ratio(a, a_all), "after": _ratio(b, b_all)}
        for host, (a, a_all, b, b_all) in sorted(by_host.items())
    ]


def _cores_by_host(comparison: Comparison) -> list[Json]:
    evidence = comparison.evidence
    sums: dict[str, list[float]] = {}
    columns = (evidence.a.time, evidence.a.seconds, evidence.b.time, evidence.b.seconds)
    for (host, _), *values in zip(evidence.clusters, *(column.tolist() for column in columns), strict=True):
        kept = sums.setdefault(host, [0.0] * 4)
        for place, value in enumerate(values):
            kept[place] += value
    return [
        {"host": host, "before": _ratio(a, a_s * 1e9), "after": _ratio(b, b_s * 1e9)}
        for host, (a, a_s, b, b_s) in sorted(sums.items())
    ]


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _callers(querier: Querier, arms: Arms, finding: Finding) -> Json:
    """Direct callers before and after, with their parts of the service's CPU."""
    if finding.kind == "cpu":
        return {"before": [], "after": []}
    profiles = {"before": querier.profile(arms.a), "after": querier.profile(arms.b)}
    return {name: callers_of(profile, finding.frame) for name, profile in profiles.items()}
