"""Silences: matchers under which nobody is notified for a time, with Alertmanager's meaning.

All matchers must match an alert's labels, an absent label counting as "", and at least one must not match the
empty text, so that a silence cannot silence everything by mistake
(https://prometheus.io/docs/alerting/latest/configuration/#matcher).
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

import re2

from collector.alerts.database import Database
from collector.query.model import Matcher
from collector.query.selector import anchored, format_selector, parse_selector
from fleetprof.errors import InputError

MAX_SILENCE_S = 366 * 86400
_TEXT_CHARS = 2000


@dataclass(frozen=True, slots=True)
class Silence:
    """Who keeps what quiet, from when until when (Unix seconds), and why."""

    id: str
    matchers: tuple[Matcher, ...]
    starts_at: int
    ends_at: int
    author: str
    comment: str
    created_at: int

    def state(self, now_s: float) -> str:
        """pending, active or expired."""
        if now_s >= self.ends_at:
            return "expired"
        return "active" if now_s >= self.starts_at else "pending"

    def matches(self, labels: Mapping[str, str]) -> bool:
        """True when all matchers hold for `labels`."""
        return all(matches(matcher, labels.get(matcher.label, "")) for matcher in self.matchers)


def matches(matcher: Matcher, value: str) -> bool:
    """True when `value` fulfils the matcher; regular expressions are RE2, anchored."""
    if matcher.op in ("=", "!="):
        return (value == matcher.value) == (matcher.op == "=")
    found = re2.fullmatch(anchored(matcher.value), value) is not None
    return found == (matcher.op == "=~")


class Silences:
    """The silences in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> list[Silence]:
        """Every silence that is kept, latest end first."""
        rows = self._database.rows("SELECT * FROM silences ORDER BY ends_at DESC, id")
        return [
            Silence(
                id=row["id"],
                matchers=parse_selector(row["matchers"]),
                **{name: row[name] for name in ("starts_at", "ends_at", "author", "comment", "created_at")},
            )
            for row in rows
        ]

    def active(self, now_s: float) -> list[Silence]:
        """Those in force now."""
        return [silence for silence in self.all() if silence.state(now_s) == "active"]

    def add(
        self,
        matchers: tuple[Matcher, ...],
        starts_at: int,
        ends_at: int,
        author: str,
        comment: str,
        now_s: int,
    ) -> Silence:
        """Keep a silence; raises InputError for one that would silence everything, or that makes no sense."""
        _check(matchers, starts_at, ends_at, author, comment, now_s)
        silence = Silence(secrets.token_hex(8), matchers, starts_at, ends_at, author, comment, now_s)
        self._database.insert(
            "silences",
            {
                "id": silence.id,
                "matchers": format_selector(matchers),
                "starts_at": starts_at,
                "ends_at": ends_at,
                "author": author,
                "comment": comment,
                "created_at": now_s,
            },
        )
        return silence

    def expire(self, id: str, now_s: int) -> Silence:
        """End a silence now; raises InputError when there is none of that id or it has ended."""
        found = next((silence for silence in self.all() if silence.id == id), None)
        if found is None:
            raise InputError(f'There is no silence "{id}".', "See: fleetprof alerts silence list.")
        if found.state(now_s) == "expired":
            raise InputError(f'The silence "{id}" has ended already.', "There is nothing to do.")
        self._database.run(
            "UPDATE silences SET ends_at = ?, starts_at = min(starts_at, ?) WHERE id = ?", now_s, now_s, id
        )
        return found


def _check(
    matchers: tuple[Matcher, ...], starts_at: int, ends_at: int, author: str, comment: str, now_s: int
) -> None:
    if not any(not matches(matcher, "") for matcher in matchers):
        raise InputError(
            "These matchers would silence alerts that have none of the labels named.",
            'Add one that needs a value, e.g. service="checkout".',
        )
    if ends_at <= max(starts_at, now_s):
        raise InputError("The silence would end before it begins.", "Give an end in the future.")
    if ends_at - starts_at > MAX_SILENCE_S:
        raise InputError("The silence would last for more than a year.", "Give a nearer end.")
    for name, text in (("author", author), ("comment", comment)):
        if not text.strip():
            raise InputError(f"The silence's {name} is missing.", "Say who silences, and why.")
        if len(text) > _TEXT_CHARS:
            raise InputError(f"The silence's {name} is longer than {_TEXT_CHARS} characters.", "Shorten it.")
