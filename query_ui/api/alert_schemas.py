"""JSON schemas of alerts and silences, for the OpenAPI document."""

from query_ui.api.schemas import BOOLEAN, INTEGER, NUMBER, TEXT, Schema, described, many, record

_TIME = described(INTEGER, "Unix seconds.")
_MAYBE_TIME: Schema = {"type": "integer", "nullable": True, "description": "Unix seconds; null: not yet."}
_TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}
_OBJECT: Schema = {"type": "object"}

_ALERT = {
    "id": described(TEXT, "Key under which receivers know it: fingerprint and when it began."),
    "fingerprint": described(TEXT, "Of rule, scope, service, function by name, and version."),
    "state": {
        "type": "string",
        "enum": ["pending", "firing", "inactive", "resolved", "accepted", "superseded"],
    },
    "kind": {"type": "string", "enum": ["threshold", "release"]},
    "rule": TEXT,
    "scope": TEXT,
    "service": TEXT,
    "version": TEXT,
    "function": described(TEXT, "Empty: the service as a whole."),
    "summary": TEXT,
    "reason": described(TEXT, 'The last word on its state, e.g. "held: 12 % of windows missing".'),
    "value": {**NUMBER, "nullable": True},
    "labels": _TEXTS,
    "annotations": _TEXTS,
    "receivers": many(TEXT),
    "active_at": _TIME,
    "fired_at": _MAYBE_TIME,
    "ended_at": _MAYBE_TIME,
    "judged_at": _TIME,
    "silenced_by": many(TEXT, "Ids of silences in force that match."),
}

ALERTS = record(
    "Alerts: open ones oldest first, then ended ones, last ended first.",
    configured=described(BOOLEAN, "False: there are no alert rules."),
    problem=described(TEXT, "What is wrong with a newer rules file; the old rules are in force."),
    interval_s=described(NUMBER, "Time between two evaluations."),
    evaluated_at=_MAYBE_TIME,
    rules=many(
        record(
            "A rule in force.",
            name=TEXT,
            kind=TEXT,
            scope=TEXT,
            receivers=many(TEXT),
            place=described(TEXT, "file:line"),
            held=described(TEXT, "What could not be judged, and why."),
            seconds={**NUMBER, "nullable": True, "description": "How long the last evaluation took."},
        )
    ),
    waiting=described(INTEGER, "Notifications that could not be delivered yet."),
    alerts=many(record("An alert.", **_ALERT)),
)

ALERT_PAGE = record(
    "One alert.",
    **_ALERT,
    related=many(TEXT, "Other functions of the same cause."),
    evidence=described(
        _OBJECT, "Effect with interval, hosts, samples, callers, funnel, link; as its kind has."
    ),
    events=many(record("A change of state.", at=_TIME, state=TEXT, reason=TEXT, author=TEXT)),
    notifications=many(
        record(
            "One notification to one URL.",
            receiver=TEXT,
            target=TEXT,
            status={"type": "string", "enum": ["firing", "resolved"]},
            queued_at=_TIME,
            done_at=_MAYBE_TIME,
            attempts=INTEGER,
            outcome=described(TEXT, "sent, silenced, not wanted, or why the last attempt failed."),
        )
    ),
)

SILENCE = record(
    "A silence.",
    id=TEXT,
    state={"type": "string", "enum": ["pending", "active", "expired"]},
    matchers=TEXT,
    starts_at=_TIME,
    ends_at=_TIME,
    author=TEXT,
    comment=TEXT,
    created_at=_TIME,
)

SILENCES = record("Silences, latest end first.", silences=many(SILENCE))

NEW_SILENCE: Schema = {
    "matchers": described(TEXT, 'A selector over alerts\' labels, e.g. service="checkout".'),
    "for": described(TEXT, 'Its length, e.g. "2h", which is the default.'),
    "starts_at": described(INTEGER, "Unix seconds; now by default."),
    "ends_at": described(INTEGER, "Unix seconds; instead of for."),
}


def body(required: tuple[str, ...], **properties: Schema) -> Schema:
    """The schema of a request's body."""
    return {"type": "object", "required": list(required), "properties": properties}
