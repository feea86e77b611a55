"""Completion of a selector while it is typed: label names, operators, or values that the store has seen."""

import re
from dataclasses import dataclass
from typing import Protocol

from collector.query.model import Completion, Matcher, TimeRange
from collector.query.selector import OPERATORS, escape_regex, parse_selector, quote
from fleetprof.errors import InputError

MAX_CANDIDATES = 50

_DONE = re.compile(
    r"""\s*(?P<label>[a-zA-Z_]\w*)\s*(?P<op>=~|!~|!=|=)\s*(?P<value>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`)\s*,""",
    re.S | re.A,
)
_OPEN = re.compile(
    r"""\s*(?P<label>[a-zA-Z_]\w*)?(?P<gap>\s*)(?P<op>=~|!~|!=|=|!)?\s*"""
    r"""(?P<value>"(?:[^"\\]|\\.)*\\?"?|'(?:[^'\\]|\\.)*\\?'?|`[^`]*`?)?(?P<after>\s*)\Z""",
    re.S | re.A,
)
_NAME_REST = re.compile(r"\w*", re.A)
_VALUE_REST = {mark: re.compile(rf"(?:[^{mark}\\]|\\.)*{mark}?", re.S) for mark in "\"'`"}


class LabelSource(Protocol):
    """Where label names and values come from: a Querier."""

    def label_names(self, range: TimeRange, matchers: tuple[Matcher, ...] = ()) -> list[str]:
        """Names of labels that series in `range` have."""
        ...

    def label_values(
        self,
        name: str,
        range: TimeRange,
        matchers: tuple[Matcher, ...] = (),
        prefix: str = "",
        limit: int = 200,
    ) -> list[str]:
        """Values of the label `name`."""
        ...


@dataclass(frozen=True, slots=True)
class _Spot:
    """Where the cursor stands: the matcher being typed, in absolute positions."""

    done: tuple[Matcher, ...]
    open: re.Match[str]


def complete(text: str, cursor: int, querier: LabelSource, range: TimeRange) -> Completion:
    """Candidates for what stands at `cursor` (0..len) of `text`; the other finished matchers narrow values.

    A text that cannot be understood up to the cursor gives no candidates rather than an error: the person
    is still typing.
    """
    cursor = max(0, min(cursor, len(text)))
    spot = _spot(text, cursor)
    if spot is None:
        return Completion("separator", cursor, cursor, ())
    part = spot.open
    if part["value"] is not None:
        return _complete_value(text, cursor, spot, querier, range)
    if part["op"] in OPERATORS:
        return _offer_values(part, cursor, cursor, "", spot, querier, range)
    if part["op"] or (part["label"] and part["gap"]):
        start = part.start("op") if part["op"] else cursor
        typed = part["op"] or ""
        return Completion("operator", start, cursor, tuple(op for op in OPERATORS if op.startswith(typed)))
    return _complete_label(text, cursor, spot, querier, range)


def _spot(text: str, cursor: int) -> _Spot | None:
    at = len(text) - len(text.lstrip())
    at += text.startswith("{", at)
    start = min(at, cursor)
    while done := _DONE.match(text, at, cursor):
        at = done.end()
    part = _OPEN.match(text, min(at, cursor), cursor)
    if part is None or (part["value"] and not part["op"]) or (part["op"] == "!" and part["value"]):
        return None
    try:
        return _Spot(parse_selector(text[start:at].rstrip().removesuffix(",")), part)
    except InputError:
        return None


def _complete_label(
    text: str, cursor: int, spot: _Spot, querier: LabelSource, range: TimeRange
) -> Completion:
    typed = spot.open["label"] or ""
    rest = _NAME_REST.match(text, cursor)
    used = {matcher.label for matcher in spot.done}
    names = [name for name in querier.label_names(range, spot.done) if name.startswith(typed)]
    fresh = [name for name in names if name not in used] or names
    end = rest.end() if rest else cursor
    return Completion("label", cursor - len(typed), end, tuple(fresh[:MAX_CANDIDATES]))


def _complete_value(
    text: str, cursor: int, spot: _Spot, querier: LabelSource, range: TimeRange
) -> Completion:
    part = spot.open
    typed = part["value"]
    closed = len(typed) > 1 and typed[-1] == typed[0] and _parsed(typed) is not None
    if closed:
        return Completion("separator", cursor, cursor, (",",))
    rest = _VALUE_REST[typed[0]].match(text, cursor)
    prefix = _parsed(typed + typed[0])
    if prefix is None:
        return Completion("value", part.start("value"), cursor, ())
    end = rest.end() if rest else cursor
    return _offer_values(part, part.start("value"), end, prefix, spot, querier, range)


def _offer_values(
    part: re.Match[str],
    start: int,
    end: int,
    prefix: str,
    spot: _Spot,
    querier: LabelSource,
    range: TimeRange,
) -> Completion:
    others = tuple(matcher for matcher in spot.done if matcher.label != part["label"])
    found = querier.label_values(part["label"], range, others, prefix, MAX_CANDIDATES)
    is_regex = part["op"] in ("=~", "!~")
    quoted = tuple(quote(escape_regex(value) if is_regex else value) for value in found)
    return Completion("value", start, end, quoted)


def _parsed(value: str) -> str | None:
    try:
        return parse_selector(f"x={value}")[0].value
    except (InputError, IndexError):
        return None
