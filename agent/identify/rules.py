"""Rules of the configuration that set labels of processes, for what nobody declared or declared wrongly.

    [[rules]]
    match = { process = "java", command = "*billing*" }
    set = { service = "billing", team = "payments" }

All patterns of `match` must fit (`*`, `?` and `[…]` as in a shell, case matters, the whole text). Rules apply
in order; a label that one rule set is not changed by a later one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from agent.identify.label_value import clean
from fleetprof.series import LABEL_NAME
from fleetprof.setting_kinds import Kind, quote
from fleetprof.settings import did_you_mean

FACTS = ("process", "exe", "command", "unit", "container", "pod", "namespace", "service", "version")
"""What a rule can match: the executable's file name and path, the command line joined by blanks, and what
identity found without rules."""

_UNSETTABLE = ("host", "thread", "wait")


@dataclass(frozen=True, slots=True)
class Rule:
    """Sets `labels` on processes whose facts fit all `patterns`; both are (name, text) pairs."""

    patterns: tuple[tuple[str, str], ...]
    labels: tuple[tuple[str, str], ...]

    def fits(self, facts: Mapping[str, str]) -> bool:
        """Whether each pattern matches its fact (absent facts are "")."""
        return all(fnmatchcase(facts.get(name, ""), pattern) for name, pattern in self.patterns)


def apply_rules(rules: Sequence[Rule], facts: Mapping[str, str]) -> dict[str, str]:
    """The labels that the fitting rules set."""
    labels: dict[str, str] = {}
    for rule in rules:
        if rule.fits(facts):
            labels = {**dict(rule.labels), **labels}
    return labels


def _read(value: Any) -> tuple[Rule, ...]:
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise ValueError("is not a list of tables [[rules]]")
    return tuple(_read_rule(entry) for entry in value)


def _read_rule(entry: Mapping[str, Any]) -> Rule:
    for name in entry:
        if name not in ("match", "set"):
            raise ValueError(f"has an unknown key {quote(name)}{did_you_mean(name, ('match', 'set'))}")
    patterns, labels = _texts(entry, "match"), _texts(entry, "set")
    for name, _ in patterns:
        if name not in FACTS:
            raise ValueError(f"matches on an unknown {quote(name)}{did_you_mean(name, FACTS)}")
    for name, _ in labels:
        if name in _UNSETTABLE or not LABEL_NAME.match(name):
            raise ValueError(f"cannot set the label {quote(name)}")
    return Rule(patterns, tuple((name, clean(value)) for name, value in labels))


def _texts(entry: Mapping[str, Any], key: str) -> tuple[tuple[str, str], ...]:
    table = entry.get(key)
    if not isinstance(table, dict) or not table or not all(isinstance(text, str) for text in table.values()):
        raise ValueError(f'lacks {key} = {{ name = "text", … }}')
    return tuple(table.items())


def _write(rules: Sequence[Rule]) -> str:
    return f"[{', '.join(map(_write_rule, rules))}]"


def _write_rule(rule: Rule) -> str:
    match, labels = (
        ", ".join(f"{name} = {quote(text)}" for name, text in pairs) for pairs in (rule.patterns, rule.labels)
    )
    return f"{{ match = {{ {match} }}, set = {{ {labels} }} }}"


RULES = Kind(
    f'tables [[rules]] with match = {{ … }} (any of {", ".join(FACTS)}) and set = {{ label = "value" }}',
    None,
    _read,
    _write,
)
