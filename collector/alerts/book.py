"""The book of alerts: open ones, ended ones, and each change of state with the notifications it brings."""

import sqlite3
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from json import loads
from typing import Any

from collector.alerts.database import Database, to_text
from collector.alerts.lifecycle import Step, next_step
from collector.alerts.model import Alert, Look, Sight, State, Subject
from collector.alerts.rule_file import RESERVED_LABELS
from collector.alerts.rules import AnyRule
from collector.alerts.silences import Silences
from fleetprof.errors import InputError

OPEN = "state IN ('pending', 'firing')"


class AlertBook:
    """Alerts in the database. Safe to use from several threads; each method is one transaction."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.silences = Silences(database)

    def open_alerts(self, rule: str | None = None) -> list[Alert]:
        """Pending and firing alerts (of one rule), oldest first."""
        found = self._alerts(f"{OPEN} ORDER BY active_at, id")
        return [alert for alert in found if rule is None or alert.subject.rule == rule]

    def recent(self, limit: int) -> list[Alert]:
        """Ended alerts, last ended first."""
        return self._alerts(f"NOT {OPEN} ORDER BY ended_at DESC, id LIMIT ?", limit)

    def alert(self, id: str) -> Alert:
        """One alert; raises InputError when there is none of that id."""
        found = self._alerts("id = ?", id)
        if not found:
            raise InputError(f'There is no alert "{id}".', "See: fleetprof alerts.")
        return found[0]

    def events(self, id: str) -> list[dict[str, Any]]:
        """An alert's changes of state, oldest first."""
        sql = "SELECT at, state, reason, author FROM events WHERE alert = ? ORDER BY number"
        return [dict(row) for row in self.database.rows(sql, id)]

    def apply(self, rule: AnyRule, sights: Sequence[Sight], looks: Sequence[Look], now_s: int) -> list[Alert]:
        """Take what one evaluation of `rule` saw; the alerts whose state changed, as they are now.

        All of it is one transaction: sights, the looks that are done with, and notifications.
        """
        changed: list[Alert] = []
        with self.database.transaction():
            touched: set[str] = set()
            found = {sight.subject for sight in sights if sight.verdict == "active" and sight.evidence}
            for sight in sights:
                alert = self._open_alert_of(sight, found)
                # Of two sights of the same alert the first counts; a second must not open it again.
                if touched & {sight.subject.fingerprint, alert.subject.fingerprint if alert else ""}:
                    continue
                now = self._take(rule, alert, sight, now_s)
                if now:
                    touched |= {sight.subject.fingerprint, now.subject.fingerprint}
                    if alert is None or now.state is not alert.state:
                        changed.append(now)
            for look in looks:
                self._note_look(look, now_s)
        return changed

    def looks(self, rule: str) -> dict[tuple[str, str, int], int]:
        """(service, version, seconds) of each look that is done with → when it was."""
        rows = self.database.rows("SELECT service, version, look_s, at FROM looks WHERE rule = ?", rule)
        return {(row["service"], row["version"], row["look_s"]): row["at"] for row in rows}

    def end_orphans(self, rules: Sequence[str], now_s: int) -> list[Alert]:
        """Resolve open alerts of rules that are no more; nobody would ever judge them again."""
        ended = []
        with self.database.transaction():
            for alert in self.open_alerts():
                if alert.subject.rule not in rules:
                    state = State.RESOLVED if alert.state is State.FIRING else State.INACTIVE
                    ended.append(self._end(alert, state, "its rule was removed", "", now_s))
        return ended

    def accept(self, id: str, author: str, comment: str, now_s: int) -> Alert:
        """A person takes the new cost as the baseline: the alert ends, and its subject raises none again.

        A threshold's baseline is forgotten once the figure is back within its bounds. Raises InputError for
        an alert that has ended, and without an author.
        """
        if not author.strip():
            raise InputError("The author is missing.", "Say who accepts.")
        with self.database.transaction():
            alert = self.alert(id)
            if not alert.state.is_open:
                raise InputError(
                    f'The alert "{id}" has ended already: {alert.state}.', "There is nothing to do."
                )
            for node in dict.fromkeys((alert.subject.node, *alert.group)):
                self.database.run(
                    "INSERT OR REPLACE INTO baselines VALUES (?, ?, ?, ?)",
                    replace(alert.subject, node=node).fingerprint, now_s, author, comment,
                )  # fmt: skip
            return self._end(alert, State.ACCEPTED, comment or "accepted", author, now_s)

    def prune(self, before_s: int) -> None:
        """Forget what ended before that time. Baselines and looks are kept as long."""
        with self.database.transaction():
            self.database.run(f"DELETE FROM alerts WHERE NOT {OPEN} AND ended_at < ?", before_s)
            self.database.run("DELETE FROM silences WHERE ends_at < ?", before_s)
            self.database.run("DELETE FROM baselines WHERE at < ?", before_s)
            self.database.run("DELETE FROM looks WHERE at < ?", before_s)

    def _alerts(self, condition: str, *values: Any) -> list[Alert]:
        sql = f"SELECT * FROM alerts WHERE {condition}"
        return [_alert(row) for row in self.database.rows(sql, *values)]

    def _open_alert_of(self, sight: Sight, found: AbstractSet[Subject]) -> Alert | None:
        """The open alert of the sight's subject, or of another function of the same cause.

        A later look may name a caller of what an earlier one found, or the other way round; then the alert's
        own function is not among those `found` now. Where it is, the sight is a cause of its own.
        """
        subject = sight.subject
        same = self._alerts(f"fingerprint = ? AND {OPEN}", subject.fingerprint)
        if same:
            return same[0]
        condition = (
            f"rule = ? AND scope = ? AND service = ? AND version = ? AND {OPEN} ORDER BY active_at, id"
        )
        near = self._alerts(condition, subject.rule, subject.scope, subject.service, subject.version)
        for alert in near:
            related = subject.node in alert.group or alert.subject.node in sight.group
            if related and alert.subject not in found:
                return alert
        return None

    def _take(self, rule: AnyRule, alert: Alert | None, sight: Sight, now_s: int) -> Alert | None:
        if alert is None and self._has_baseline(rule, sight):
            return None
        step = next_step(alert, sight, rule, now_s)
        if step is None:
            return None
        if alert is None:
            return self._open(rule, sight, step, now_s)
        return self._go_on(alert, sight, step, now_s)

    def _has_baseline(self, rule: AnyRule, sight: Sight) -> bool:
        fingerprint = sight.subject.fingerprint
        if rule.kind == "threshold" and sight.verdict == "inactive":
            self.database.run("DELETE FROM baselines WHERE fingerprint = ?", fingerprint)
        return bool(self.database.rows("SELECT 1 FROM baselines WHERE fingerprint = ?", fingerprint))

    def _open(self, rule: AnyRule, sight: Sight, step: Step, now_s: int) -> Alert:
        subject = sight.subject
        alert = Alert(
            id=f"{subject.fingerprint}-{now_s}",
            subject=subject,
            state=step.state,
            kind=rule.kind,
            function=sight.function,
            reason=step.reason,
            value=sight.value,
            labels=_labels(rule, sight),
            annotations=_annotations(rule, sight),
            evidence=sight.evidence,
            receivers=rule.receivers,
            group=sight.group,
            active_at=now_s,
            fired_at=now_s if step.state is State.FIRING else 0,
            ended_at=0,
            seen_at=now_s,
            judged_at=now_s,
        )
        self.database.insert("alerts", _row(alert))
        self._note_event(alert, "", now_s)
        return alert

    def _go_on(self, alert: Alert, sight: Sight, step: Step, now_s: int) -> Alert:
        """Write a step of an open alert. Labels and receivers stay as they were when it was opened: they are
        its identity, and who was told that it fires must be told of its end."""
        active = sight.verdict == "active"
        if not step.state.is_open:
            return self._end(alert, step.state, step.reason, "", now_s)
        now = replace(
            alert,
            state=step.state,
            reason=step.reason,
            value=alert.value if sight.value is None else sight.value,
            evidence=sight.evidence or alert.evidence,
            annotations={**alert.annotations, **_said(sight)} if active else alert.annotations,
            group=tuple(dict.fromkeys((*alert.group, *sight.group))),
            fired_at=now_s if step.state is State.FIRING and not alert.fired_at else alert.fired_at,
            seen_at=now_s if active else alert.seen_at,
            judged_at=now_s,
        )
        self._write(now)
        if now.state is not alert.state:
            self._note_event(now, "", now_s)
        return now

    def _end(self, alert: Alert, state: State, reason: str, author: str, now_s: int) -> Alert:
        ended = replace(alert, state=state, reason=reason, ended_at=now_s, judged_at=now_s)
        self._write(ended)
        self._note_event(ended, author, now_s)
        return ended

    def _write(self, alert: Alert) -> None:
        row = _row(alert)
        changes = ", ".join(f"{name} = ?" for name in row)
        self.database.run(f"UPDATE alerts SET {changes} WHERE id = ?", *row.values(), alert.id)

    def _note_event(self, alert: Alert, author: str, now_s: int) -> None:
        """The event of a change of state, and the notifications that it causes."""
        event = {"alert": alert.id, "at": now_s, "state": alert.state, "reason": alert.reason}
        self.database.insert("events", {**event, "author": author})
        if not alert.fired_at:
            return
        status = "firing" if alert.state is State.FIRING else "resolved"
        for receiver in dict.fromkeys(alert.receivers):
            notification = {"alert": alert.id, "status": status, "receiver": receiver, "queued_at": now_s}
            self.database.insert("outbox", notification)

    def _note_look(self, look: Look, now_s: int) -> None:
        self.database.run(
            "INSERT OR REPLACE INTO looks VALUES (?, ?, ?, ?, ?, ?, ?)",
            look.rule, look.service, look.version, look.look_s, now_s, look.verdict, to_text(look.funnel),
        )  # fmt: skip


def _labels(rule: AnyRule, sight: Sight) -> dict[str, str]:
    """Identity only: no figure stands in a label, since another figure would make it another alert."""
    own = ("alertname", "service", "version", "function", "fingerprint")
    assert own == RESERVED_LABELS
    subject = sight.subject
    values = (rule.name, subject.service, subject.version, sight.function, subject.fingerprint)
    return {**rule.labels, **{name: value for name, value in zip(own, values, strict=True) if value}}


def _annotations(rule: AnyRule, sight: Sight) -> dict[str, str]:
    values = {**dict.fromkeys(("service", "version", "baseline", "function", "value", "effect"), ""),
              **dict.fromkeys(("interval", "hosts", "link"), ""), **sight.values}  # fmt: skip
    given = {name: text.format(**values) for name, text in rule.annotations.items()}
    return {**_said(sight), **given}


def _said(sight: Sight) -> dict[str, str]:
    said = {"summary": sight.reason, "link": sight.values.get("link", "")}
    return {name: text for name, text in said.items() if text}


def _row(alert: Alert) -> dict[str, Any]:
    subject = alert.subject
    return {
        "id": alert.id,
        "fingerprint": subject.fingerprint,
        **{name: getattr(subject, name) for name in ("rule", "scope", "service", "node", "version")},
        "kind": alert.kind,
        "function": alert.function,
        "state": alert.state.value,
        "reason": alert.reason,
        "value": alert.value,
        "labels": to_text(alert.labels),
        "annotations": to_text(alert.annotations),
        "evidence": to_text(alert.evidence),
        "receivers": to_text(alert.receivers),
        "related": to_text(alert.group),
        **{n: getattr(alert, n) for n in ("active_at", "fired_at", "ended_at", "seen_at", "judged_at")},
    }


def _alert(row: sqlite3.Row) -> Alert:
    plain = ("id", "kind", "function", "reason", "value")
    times = ("active_at", "fired_at", "ended_at", "seen_at", "judged_at")
    return Alert(
        subject=Subject(row["rule"], row["scope"], row["service"], row["node"], row["version"]),
        state=State(row["state"]),
        labels=loads(row["labels"]),
        annotations=loads(row["annotations"]),
        evidence=loads(row["evidence"]),
        receivers=tuple(loads(row["receivers"])),
        group=tuple(loads(row["related"])),
        **{name: row[name] for name in (*plain, *times)},
    )
