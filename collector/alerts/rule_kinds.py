"""Kinds of value that only rules have: selectors, shares, regular expressions, lists of durations."""

import itertools
import math
import re
from collections.abc import Mapping
from typing import Any

from collector.query.model import Matcher
from collector.query.selector import anchored, check_regex, format_selector, parse_selector
from fleetprof.errors import InputError
from fleetprof.setting_kinds import Kind, format_duration_s, parse_duration_s, quote

_PERCENT = re.compile(r"([+-]?\d{1,9}(?:\.\d{1,9})?)\s*%", re.ASCII)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("is not a text")
    return value


def _selector(value: Any) -> tuple[Matcher, ...]:
    try:
        return parse_selector(_text(value))
    except InputError as error:
        raise ValueError(f"is not a selector: {error.message.rstrip('.')}") from None


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError("is not a number")
    return float(value)


def _amount(value: Any) -> float:
    """A number, or a percentage as its fraction."""
    if isinstance(value, str):
        match = _PERCENT.fullmatch(value.strip())
        if not match:
            raise ValueError("is neither a number nor a percentage")
        return float(match[1]) / 100
    return _number(value)


def _share_text(text: str) -> float:
    return _amount(text if "%" in text else float(text))


def _regex(value: Any) -> str:
    pattern = _text(value)
    reason = check_regex(pattern) or check_regex(anchored(pattern))
    if reason:
        raise ValueError(f"is not a regular expression ({reason})")
    return pattern


def _durations(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError("is not a list of durations")
    seconds = [parse_duration_s(_text(item)) for item in value]
    if any(each < 10 or each > 30 * 86400 for each in seconds):
        raise ValueError("holds a duration that is not from 10s to 30d")
    if any(later <= earlier for earlier, later in itertools.pairwise(seconds)):
        raise ValueError("is not in rising order")
    return tuple(int(each) for each in seconds)


def _table(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError("is not a table")
    return value


SELECTOR = Kind(
    'a selector such as {service="checkout"}',
    _selector,
    _selector,
    lambda matchers: quote(format_selector(matchers)),
)
AMOUNT = Kind('a number, or a percentage such as "5 %"', _share_text, _amount, repr)
SHARE = Kind('a share such as 0.05 or "5 %"', _share_text, _amount, repr)
REGEX = Kind("an RE2 regular expression", _regex, _regex, quote)
DURATIONS = Kind(
    'a rising list of durations such as ["20m", "1h"], each from 10s to 30d',
    lambda text: _durations(text.split(",")),
    _durations,
    lambda seconds: "[" + ", ".join(quote(format_duration_s(each)) for each in seconds) + "]",
    suffix="_s",
)
TABLE = Kind("a table of name = value", None, _table, repr)
