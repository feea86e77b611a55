"""Notifications that have still to be delivered, and to whom they were.

A row of `outbox` comes into being in the transaction of the state change that it tells of (book.py). A target
is one URL of a receiver; each has its own attempts, so that one that fails keeps no other waiting. A row is
done with once every present target of its receiver has taken it.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from collector.alerts.book import AlertBook
from collector.alerts.model import Alert, State

FIRST_DELAY_S, LONGEST_DELAY_S = 1.0, 300.0
ORPHANED_S = 86400
"""A notification whose receiver was taken from the rules is given up after this time."""

_WAITING = (
    "FROM outbox AS o LEFT JOIN deliveries AS d ON d.notification = o.number AND d.target = ?1 "
    "WHERE o.receiver = ?2 AND o.done_at = 0 AND coalesce(d.done_at, 0) = 0 "
    "AND NOT EXISTS (SELECT 1 FROM outbox AS e "
    "LEFT JOIN deliveries AS f ON f.notification = e.number AND f.target = ?1 "
    "WHERE e.receiver = ?2 AND e.alert = o.alert AND e.number < o.number "
    "AND e.done_at = 0 AND coalesce(f.done_at, 0) = 0)"
)
"""What target ?1 of receiver ?2 has not taken, without what must wait for an earlier notification."""


@dataclass(frozen=True, slots=True)
class Notification:
    """One thing to tell: that an alert fires, or that it is over."""

    number: int
    alert: Alert
    status: str
    """firing or resolved."""
    attempts: int

    @property
    def key(self) -> str:
        """The idempotency key: an alert fires once and is resolved once, so that a receiver that has seen
        this key can throw the notification away."""
        return f"{self.alert.id}-{self.status}"


def backoff_s(attempts: int) -> float:
    """How long to wait after that many failed attempts: doubled each time, with jitter so that those which
    failed together do not come back together."""
    delay_s: float = min(FIRST_DELAY_S * 2.0 ** min(attempts - 1, 30), LONGEST_DELAY_S)
    return delay_s * random.uniform(0.5, 1.0)


class Outbox:
    """The outbox as one receiver's targets see it."""

    def __init__(self, book: AlertBook) -> None:
        self._book = book
        self._database = book.database

    def due(self, receiver: str, target: str, now_s: float, limit: int = 100) -> list[Notification]:
        """What to send to `target` now. An alert's end is not due before its firing was delivered."""
        rows = self._database.rows(
            f"SELECT o.number, o.alert, o.status, coalesce(d.attempts, 0) AS attempts {_WAITING} "
            "AND coalesce(d.next_at, 0) <= ?3 ORDER BY o.number LIMIT ?4",
            target, receiver, now_s, limit,
        )  # fmt: skip
        return [
            Notification(row["number"], self._book.alert(row["alert"]), row["status"], row["attempts"])
            for row in rows
        ]

    def next_due(self, receiver: str, target: str) -> float | None:
        """When the next waiting notification of `target` is due; None when there is none."""
        sql = f"SELECT min(coalesce(d.next_at, 0)) AS next_at {_WAITING}"
        row = self._database.rows(sql, target, receiver)[0]
        return None if row["next_at"] is None else float(row["next_at"])

    def done(
        self, sent: Notification, target: str, targets: Sequence[str], outcome: str, now_s: float
    ) -> None:
        """`target` has taken the notification, or need not (`outcome` says which)."""
        with self._database.transaction():
            self._note(sent, target, sent.attempts + 1, 0.0, now_s, outcome)
            rows = self._database.rows(
                "SELECT target FROM deliveries WHERE notification = ? AND done_at > 0", sent.number
            )
            if {row["target"] for row in rows} >= set(targets):
                self._database.run("UPDATE outbox SET done_at = ? WHERE number = ?", int(now_s), sent.number)

    def failed(self, sent: Notification, target: str, reason: str, now_s: float) -> float:
        """`target` did not take it; the seconds until it is tried again."""
        delay_s = backoff_s(sent.attempts + 1)
        self._note(sent, target, sent.attempts + 1, now_s + delay_s, 0.0, reason)
        return delay_s

    def hold(self, waiting: Notification, target: str, until_s: float, reason: str) -> None:
        """Look at it again at `until_s`; that is no failure."""
        self._note(waiting, target, waiting.attempts, until_s, 0.0, reason)

    def outcome(self, alert: str, receiver: str, target: str) -> str:
        """What became of the notification that `alert` fires; "" when nothing yet."""
        rows = self._database.rows(
            "SELECT d.outcome FROM outbox AS o JOIN deliveries AS d ON d.notification = o.number "
            "WHERE o.alert = ? AND o.receiver = ? AND o.status = 'firing' AND d.target = ? AND d.done_at > 0",
            alert, receiver, target,
        )  # fmt: skip
        return str(rows[0]["outcome"]) if rows else ""

    def told_firing(self, receiver: str) -> list[Alert]:
        """Firing alerts of which `receiver` was told, whichever of its targets took it."""
        rows = self._database.rows(
            "SELECT DISTINCT a.id FROM alerts AS a JOIN outbox AS o ON o.alert = a.id "
            "JOIN deliveries AS d ON d.notification = o.number WHERE a.state = ? AND o.receiver = ? "
            "AND o.status = 'firing' AND d.done_at > 0 ORDER BY a.id",
            State.FIRING.value, receiver,
        )  # fmt: skip
        return [self._book.alert(row["id"]) for row in rows]

    def give_up_orphans(self, receivers: Sequence[str], now_s: float) -> int:
        """Give up what waits for receivers that are no more; how many."""
        marks = ", ".join("?" * len(receivers))
        sql = (
            f"UPDATE outbox SET done_at = ? WHERE done_at = 0 AND queued_at < ? AND receiver NOT IN ({marks})"
        )
        return self._database.run(sql, int(now_s), int(now_s) - ORPHANED_S, *receivers)

    def waiting(self) -> list[dict[str, object]]:
        """What could not be delivered yet, with the last reason, oldest first."""
        rows = self._database.rows(
            "SELECT o.alert, o.status, o.receiver, o.queued_at, d.target, d.attempts, d.next_at, d.outcome "
            "FROM outbox AS o LEFT JOIN deliveries AS d ON d.notification = o.number "
            "WHERE o.done_at = 0 AND coalesce(d.done_at, 0) = 0 ORDER BY o.number LIMIT 1000"
        )
        return [dict(row) for row in rows]

    def of_alert(self, alert: str) -> list[dict[str, object]]:
        """All notifications of one alert with what became of them."""
        rows = self._database.rows(
            "SELECT o.status, o.receiver, o.queued_at, d.target, d.attempts, d.next_at, d.done_at, d.outcome "
            "FROM outbox AS o LEFT JOIN deliveries AS d ON d.notification = o.number "
            "WHERE o.alert = ? ORDER BY o.number, d.target",
            alert,
        )
        return [dict(row) for row in rows]

    def _note(
        self, sent: Notification, target: str, attempts: int, next_at: float, done_at: float, outcome: str
    ) -> None:
        self._database.run(
            "INSERT OR REPLACE INTO deliveries VALUES (?, ?, ?, ?, ?, ?)",
            sent.number, target, attempts, float(next_at), float(done_at), outcome,
        )  # fmt: skip
