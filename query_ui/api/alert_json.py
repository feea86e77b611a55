"""Alerts, rules and silences as the API's JSON."""

from collector.alerts.model import Alert
from collector.alerts.service import AlertService
from collector.alerts.silences import Silence
from collector.query.model import Json
from collector.query.selector import format_selector


def alert_json(alert: Alert, silences: list[Silence]) -> Json:
    """An alert as a row of a list."""
    subject = alert.subject
    return {
        "id": alert.id,
        "fingerprint": subject.fingerprint,
        "state": alert.state.value,
        "kind": alert.kind,
        "rule": subject.rule,
        "scope": subject.scope,
        "service": subject.service,
        "version": subject.version,
        "function": alert.function,
        "summary": alert.annotations.get("summary", alert.reason),
        "reason": alert.reason,
        "value": alert.value,
        "labels": alert.labels,
        "annotations": alert.annotations,
        "receivers": list(alert.receivers),
        "active_at": alert.active_at,
        "fired_at": alert.fired_at or None,
        "ended_at": alert.ended_at or None,
        "judged_at": alert.judged_at,
        "silenced_by": [silence.id for silence in silences if silence.matches(alert.labels)],
    }


def alert_page_json(service: AlertService, id: str) -> Json:
    """Everything about one alert; raises InputError when there is none of that id."""
    book, now_s = service.book, service.now_s()
    alert = book.alert(id)
    notifications = [
        {
            "receiver": row["receiver"],
            "target": row["target"] or "",
            "status": row["status"],
            "queued_at": row["queued_at"],
            "done_at": row["done_at"] or None,
            "attempts": row["attempts"] or 0,
            "outcome": row["outcome"] or "",
        }
        for row in service.outbox.of_alert(id)
    ]
    return {
        **alert_json(alert, book.silences.active(now_s)),
        "related": list(alert.group),
        "evidence": alert.evidence,
        "events": book.events(id),
        "notifications": notifications,
    }


def silence_json(silence: Silence, now_s: int) -> Json:
    """A silence with its state."""
    return {
        "id": silence.id,
        "state": silence.state(now_s),
        "matchers": format_selector(silence.matchers),
        "starts_at": silence.starts_at,
        "ends_at": silence.ends_at,
        "author": silence.author,
        "comment": silence.comment,
        "created_at": silence.created_at,
    }


def health_json(service: AlertService | None) -> Json:
    """How alerts are judged; None where there are no rules."""
    if service is None:
        return {
            "configured": False,
            "problem": "",
            "interval_s": 0,
            "evaluated_at": None,
            "rules": [],
            "waiting": 0,
        }
    health, rules = service.health, service.watch.rules
    return {
        "configured": True,
        "problem": service.watch.problem,
        "interval_s": service.interval_s,
        "evaluated_at": health.evaluated_at or None,
        "rules": [
            {
                "name": rule.name,
                "kind": rule.kind,
                "scope": rule.scope_text,
                "receivers": list(rule.receivers),
                "place": rule.place,
                "held": seen.held if (seen := health.rules.get(rule.name)) else "not judged yet",
                "seconds": seen.seconds if seen else None,
            }
            for rule in rules.rules
        ],
        "waiting": len(service.outbox.waiting()),
    }
