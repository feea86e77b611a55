r"""Label selectors: `{service="x",version=~"1\\..*",thread!="a"}`, as in Prometheus; the braces are optional.

Values are quoted with " or ' (escapes \\ \" \' \n \r \t \xNN \uNNNN \UNNNNNNNN) or with ` (no escapes).
Regular expressions are RE2, fully anchored, and `.` matches a line break, as in ClickHouse's match().
"""

import re
from dataclasses import dataclass
from typing import NoReturn, cast

import re2

from collector.query.model import Matcher, MatchOp
from fleetprof.errors import InputError
from fleetprof.series import LABEL_NAME

OPERATORS: tuple[MatchOp, ...] = ("=", "!=", "=~", "!~")
MAX_SELECTOR_CHARS = 8192
MAX_MATCHERS = 32

_EXAMPLE = r'Example: {service="checkout",version=~"1\\..*",thread!="idle"}'
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_OPERATOR = re.compile(r"=~|!~|!=|=")
_ESCAPE = re.compile(r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[\\\"'nrt])")
_SIMPLE = {"\\": "\\", '"': '"', "'": "'", "n": "\n", "r": "\r", "t": "\t"}


def parse_selector(text: str) -> tuple[Matcher, ...]:
    """The matchers of `text` in order; none for "" and "{}".

    Raises InputError with the character (counted from 1) and what was expected there.
    """
    if len(text) > MAX_SELECTOR_CHARS:
        raise InputError(
            f"The selector is {len(text)} characters long; at most {MAX_SELECTOR_CHARS} are allowed.",
            "Use a regular expression instead of a long list.",
        )
    if not text.isascii() and any(0xD800 <= ord(character) < 0xE000 for character in text):
        raise InputError("The selector is not valid UTF-8 text.")
    matchers = tuple(_Scanner(text).matchers())
    if len(matchers) > MAX_MATCHERS:
        raise InputError(f"The selector has {len(matchers)} matchers; at most {MAX_MATCHERS} are allowed.")
    return matchers


def format_selector(matchers: tuple[Matcher, ...]) -> str:
    """The canonical text of `matchers`; parse_selector gives them back."""
    return "{" + ",".join(f"{m.label}{m.op}{quote(m.value)}" for m in matchers) + "}"


def quote(value: str) -> str:
    """`value` in double quotes, escaped."""
    return '"' + "".join(_escape(character) for character in value) + '"'


def _escape(character: str) -> str:
    if character in '\\"':
        return "\\" + character
    if character in "\n\r\t":
        return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}[character]
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x20 or code == 0x7F else character


def anchored(pattern: str) -> str:
    """The regular expression for ClickHouse's match() that stands for a matcher's `pattern`."""
    return f"^(?s:{pattern})$"


def escape_regex(value: str) -> str:
    """A regular expression that matches `value` only."""
    return re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", value)


def check_regex(pattern: str) -> str | None:
    """What RE2 has against `pattern`, in its own words; None when it is good."""
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else "not a regular expression"
        return reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
    except UnicodeEncodeError:
        return "not valid Unicode"
    return None


@dataclass(slots=True)
class _Scanner:
    """Reads a selector from left to right; `at` counts from 0."""

    text: str
    at: int = 0

    def matchers(self) -> list[Matcher]:
        self._space()
        braces = self._take("{")
        found: list[Matcher] = []
        self._space()
        while not self._at_end(braces):
            found.append(self._matcher())
            self._space()
            if not self._take(","):
                break
            self._space()
        if braces and not self._take("}"):
            self._fail('"," or "}"' if found else 'a label name or "}"')
        self._space()
        if self.at < len(self.text):
            self._fail('","' if not braces else "the end")
        return found

    def _at_end(self, braces: bool) -> bool:
        return self.at >= len(self.text) or (braces and self.text[self.at] == "}")

    def _matcher(self) -> Matcher:
        label = self._label()
        self._space()
        operator = _OPERATOR.match(self.text, self.at)
        if not operator:
            self._fail("an operator: =, !=, =~ or !~")
        self.at = operator.end()
        self._space()
        start = self.at
        value = self._value()
        if operator[0] in ("=~", "!~"):
            self._check(value, start)
        return Matcher(label, cast(MatchOp, operator[0]), value)

    def _label(self) -> str:
        name = _NAME.match(self.text, self.at)
        if not name:
            self._fail("a label name")
        if not LABEL_NAME.match(name[0]):
            self._fail("a label name of at most 64 characters")
        self.at = name.end()
        return name[0]

    def _value(self) -> str:
        mark = self.text[self.at : self.at + 1]
        if mark == "`":
            return self._raw()
        if mark not in ('"', "'") or not mark:
            self._fail("a quoted value")
        start = self.at
        self.at += 1
        parts: list[str] = []
        while True:
            character = self.text[self.at : self.at + 1]
            if not character:
                self.at = start
                self._fail("a closing quote for the value that starts here")
            if character == mark:
                self.at += 1
                return "".join(parts)
            parts.append(self._unescape() if character == "\\" else character)
            self.at += 0 if character == "\\" else 1

    def _raw(self) -> str:
        end = self.text.find("`", self.at + 1)
        if end < 0:
            self._fail("a closing quote for the value that starts here")
        value, self.at = self.text[self.at + 1 : end], end + 1
        return value

    def _unescape(self) -> str:
        escape = _ESCAPE.match(self.text, self.at)
        if not escape:
            self._fail(r"an escape: \\ \" \n \r \t \xNN or \uNNNN")
        body = escape[0][1:]
        code = int(body[1:], 16) if body[0] in "xuU" else 0
        if code > 0x10FFFF or 0xD800 <= code < 0xE000:
            self._fail("a Unicode character")
        self.at = escape.end()
        return chr(code) if body[0] in "xuU" else _SIMPLE[body]

    def _check(self, pattern: str, start: int) -> None:
        reason = check_regex(pattern) or check_regex(anchored(pattern))
        if reason:
            raise InputError(
                f"Selector not understood at character {start + 1}: "
                f"{quote(pattern)} is not a regular expression ({reason}).",
                "Regular expressions are RE2: https://github.com/google/re2/wiki/Syntax",
            )

    def _take(self, character: str) -> bool:
        found = self.text.startswith(character, self.at)
        self.at += found
        return found

    def _space(self) -> None:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1

    def _fail(self, expected: str) -> NoReturn:
        raise InputError(
            f"Selector not understood at character {self.at + 1}: expected {expected}.", _EXAMPLE
        )
