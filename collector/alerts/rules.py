"""What a person writes: rules and receivers, and the tables of their fields."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from collector.alerts.rule_kinds import AMOUNT, DURATIONS, REGEX, SELECTOR, SHARE, TABLE
from collector.compare.smallest_effect import SmallestEffect
from collector.query.model import Matcher
from collector.query.selector import format_selector
from fleetprof.setting_kinds import BOOL, DURATION, INT, LIST, PAIRS, PATH, STR
from fleetprof.settings import Setting

RuleKind = Literal["threshold", "release"]
Metric = Literal["share", "cores"]

NO_VALUE = ""
"""Default of a field that may be left out and then has no value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What all rules have. Durations in seconds."""

    name: str
    scope: tuple[Matcher, ...]
    for_s: float
    keep_firing_for_s: float
    min_complete: float
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    receivers: tuple[str, ...]
    place: str
    """`file:line`."""

    @property
    def scope_text(self) -> str:
        """The scope in its canonical form."""
        return format_selector(self.scope)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdRule(Rule):
    """Fires for each service of the scope whose figure over the last `window_s` is past a bound.

    `share` (0..1) is of the service's CPU for a function, else of all CPU that was measured; `cores` is an
    average. A function counts with all that it calls, once a stack.
    """

    metric: Metric
    function: str
    function_regex: str
    above: float | None
    below: float | None
    window_s: float
    kind: Literal["threshold"] = "threshold"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseRule(Rule):
    """Fires where a new version of a service costs more CPU per host than the one beside or before it."""

    effect: SmallestEffect
    q: float
    looks_s: tuple[int, ...]
    """Ascending seconds after the version was first seen at which it is judged."""
    min_hosts: int
    kind: Literal["release"] = "release"

    @property
    def q_per_look(self) -> float:
        """Each look spends an equal part of the rule's error rate, so that all together keep to it whatever
        the looks have in common (Bonferroni)."""
        return self.q / len(self.looks_s)


AnyRule = ThresholdRule | ReleaseRule


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where notifications go. Each URL gets every notification, as the members of an Alertmanager cluster
    must (https://prometheus.io/docs/alerting/latest/alertmanager/#high-availability)."""

    name: str
    kind: Literal["alertmanager", "webhook"]
    urls: tuple[str, ...]
    bearer_token_file: Path | None
    timeout_s: float
    send_resolved: bool


@dataclass(frozen=True, slots=True)
class RuleSet:
    """All rules in force."""

    rules: tuple[AnyRule, ...] = ()
    receivers: tuple[Receiver, ...] = ()
    files: tuple[str, ...] = ()


RULE_KINDS: tuple[RuleKind, ...] = ("threshold", "release")

RULE_FIELDS = (
    Setting("name", STR, NO_VALUE, "Name of the rule: the label alertname."),
    Setting("kind", STR, NO_VALUE, "What the rule judges.", choices=RULE_KINDS),
    Setting("scope", SELECTOR, "{}", "Which series are judged; every service on its own."),
    Setting("for", DURATION, "0s", "How long it must hold before it fires.", maximum=7 * 86400),
    Setting("keep_firing_for", DURATION, "0s", "How long it fires on after it is over.", maximum=7 * 86400),
    Setting(
        "min_complete", SHARE, "0.95", "Least share of the scope's windows that must be there to judge.",
        minimum=0.5, maximum=1,
    ),
    Setting("labels", PAIRS, "", "More labels: part of the alert's identity."),
    Setting("annotations", PAIRS, "", "More texts; {service}, {version}, {function} … stand for values."),
    Setting("receivers", LIST, "", "Names of the receivers that are told."),
)  # fmt: skip

THRESHOLD_FIELDS = (
    Setting("metric", STR, NO_VALUE, "What is measured.", choices=("share", "cores")),
    Setting("function", STR, NO_VALUE, "Exact name of a function."),
    Setting("function_regex", REGEX, NO_VALUE, "Names of functions, RE2, fully anchored."),
    Setting("above", AMOUNT, NO_VALUE, "Fires above this.", minimum=0),
    Setting("below", AMOUNT, NO_VALUE, "Fires below this.", minimum=0),
    Setting("window", DURATION, "10m", "The time judged, up to now.", minimum=10, maximum=86400),
)

RELEASE_FIELDS = (
    Setting("smallest_effect", TABLE, NO_VALUE, "A smaller growth is of no interest."),
    Setting("q", SHARE, "0.01", "False discovery rate over all looks.", minimum=1e-6, maximum=0.5),
    Setting(
        "looks", DURATIONS, "20m,1h,2h,6h,24h", "When a version is judged, after it was first seen.",
    ),
    Setting("min_hosts", INT, "2", "Least hosts on which the new version must run.", minimum=1),
)  # fmt: skip

EFFECT_FIELDS = (
    Setting("share", SHARE, "0.00002", "Of the service's CPU.", minimum=0, maximum=1),
    Setting("relative", SHARE, "0.02", "Of what the function used before.", minimum=0, maximum=10),
    Setting("cores", AMOUNT, "0", "Per host.", minimum=0),
)

RECEIVER_FIELDS = (
    Setting("name", STR, NO_VALUE, "Name by which rules refer to it."),
    Setting("kind", STR, NO_VALUE, "What is spoken there.", choices=("alertmanager", "webhook")),
    Setting("url", LIST, NO_VALUE, "Where it listens; several for a cluster of Alertmanagers."),
    Setting("bearer_token_file", PATH, NO_VALUE, "File with a token for the Authorization header."),
    Setting("timeout", DURATION, "10s", "Longest wait for its answer.", minimum=1, maximum=60),
    Setting("send_resolved", BOOL, "true", "Tell it also when an alert is over."),
)

ANNOTATION_VALUES = (
    "service",
    "version",
    "baseline",
    "function",
    "value",
    "effect",
    "interval",
    "hosts",
    "link",
)
"""What may stand in braces in an annotation."""


def url_problem(url: str) -> str | None:
    """Why `url` cannot be posted to; None when it can."""
    try:
        parts = urlsplit(url)
        port_fits = parts.port is None or parts.port > 0
    except ValueError:
        return "is not a URL"
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_fits:
        return "is not a URL that starts with http:// or https:// and names a host"
    if parts.username or parts.password:
        return "holds a password: use bearer_token_file"
    return None
