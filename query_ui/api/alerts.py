"""The part of the API about alerts and silences; the only part that changes anything.

A request that changes something must say that it was meant: a JSON body, or the header X-Fleetprof. Neither
can be sent by a form or an image of another site, and browsers ask first (CORS preflight) and are refused.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Response, request
from werkzeug.exceptions import Forbidden

from collector.alerts.service import AlertService
from collector.alerts.silences import Silence
from collector.query.model import Json
from collector.query.selector import parse_selector
from collector.query.time_range import parse_duration
from fleetprof.errors import InputError
from fleetprof.settings import did_you_mean
from query_ui.api import alert_schemas
from query_ui.api.alert_json import alert_json, alert_page_json, health_json, silence_json
from query_ui.api.parameters import Given, Parameter, integer, one_of
from query_ui.api.schemas import TEXT, Schema

PREFIX = "/api/v1"
MEANT = "X-Fleetprof"
STATES = ("open", "ended", "all")
DEFAULT_SILENCE = "2h"

NO_RULES = InputError(
    "This server judges no alerts.",
    "Start the collector with alert_rules (--alert-rules FILE); see deploy/alerts/example.toml.",
)


@dataclass(frozen=True, slots=True)
class Action:
    """One method of one address under /api/v1. `answer` gets the service, the parameters and the body."""

    method: str
    path: str
    summary: str
    answer: Callable[["AlertsApi", Given, Json], Json]
    schema: Schema
    parameters: tuple[Parameter, ...] = ()
    path_parameters: tuple[tuple[str, str], ...] = ()
    body: Schema | None = None

    @property
    def rule(self) -> str:
        """The path in Flask's form."""
        return self.path.replace("{", "<").replace("}", ">")


class AlertsApi:
    """What the routes answer; without a service there are no alerts."""

    def __init__(self, service: AlertService | None) -> None:
        self._service = service

    @property
    def service(self) -> AlertService:
        """The service; raises InputError where there is none."""
        if self._service is None:
            raise NO_RULES
        return self._service

    def alerts(self, given: Given, body: Json) -> Json:
        """Alerts and how they are judged."""
        if self._service is None:
            return {**health_json(None), "alerts": []}
        book, now_s = self._service.book, self._service.now_s()
        silences = book.silences.active(now_s)
        state, limit = given.get("state"), given.get("limit")
        found = book.open_alerts() if state != "ended" else []
        found += book.recent(limit) if state != "open" else []
        return {
            **health_json(self._service),
            "alerts": [alert_json(alert, silences) for alert in found[:limit]],
        }

    def alert(self, given: Given, body: Json) -> Json:
        """One alert with its evidence."""
        return alert_page_json(self.service, given.path["id"])

    def accept(self, given: Given, body: Json) -> Json:
        """Take the new cost as the baseline."""
        author, comment = _text(body, "author"), _text(body, "comment", required=False)
        self.service.book.accept(given.path["id"], author, comment, self.service.now_s())
        self.service.deliver()
        return alert_page_json(self.service, given.path["id"])

    def silences(self, given: Given, body: Json) -> Json:
        """All silences that are kept."""
        if self._service is None:
            return {"silences": []}
        now_s = self._service.now_s()
        return {"silences": [silence_json(each, now_s) for each in self._service.book.silences.all()]}

    def silence(self, given: Given, body: Json) -> Json:
        """Begin a silence."""
        now_s = self.service.now_s()
        starts_at = _time(body, "starts_at", now_s)
        if "ends_at" in body and "for" in body:
            raise InputError('Both "for" and "ends_at" are given.', "Give one of them.")
        length_s = parse_duration(_text(body, "for") if "for" in body else DEFAULT_SILENCE)
        ends_at = _time(body, "ends_at", starts_at + length_s)
        made = self.service.book.silences.add(
            parse_selector(_text(body, "matchers")),
            starts_at,
            ends_at,
            _text(body, "author"),
            _text(body, "comment"),
            now_s,
        )
        return self._changed(made)

    def expire(self, given: Given, body: Json) -> Json:
        """End a silence now."""
        silences = self.service.book.silences
        silences.expire(given.path["id"], self.service.now_s())
        return self._changed(next(each for each in silences.all() if each.id == given.path["id"]))

    def _changed(self, silence: Silence) -> Json:
        self.service.deliver()
        return silence_json(silence, self.service.now_s())


_ID = (("id", "Its id."),)
_WHO: Schema = {"author": TEXT, "comment": TEXT}

ACTIONS = (
    Action(
        "GET",
        "/alerts",
        "Alerts, and how their rules are judged",
        AlertsApi.alerts,
        alert_schemas.ALERTS,
        (
            Parameter(
                "state",
                "open: pending and firing; ended: resolved, accepted, superseded and what never fired.",
                {"type": "string", "enum": list(STATES)},
                one_of("state", STATES),
                "all",
            ),
            Parameter(
                "limit",
                "At most so many.",
                {"type": "integer", "minimum": 1, "maximum": 10_000},
                integer("limit", 1, 10_000),
                "200",
            ),
        ),
    ),
    Action(
        "GET",
        "/alerts/{id}",
        "One alert with its evidence, events and notifications",
        AlertsApi.alert,
        alert_schemas.ALERT_PAGE,
        path_parameters=_ID,
    ),
    Action(
        "POST",
        "/alerts/{id}/accept",
        "Take an alert's cost as the new baseline: it ends and does not come back",
        AlertsApi.accept,
        alert_schemas.ALERT_PAGE,
        path_parameters=_ID,
        body=alert_schemas.body(("author",), **_WHO),
    ),
    Action("GET", "/silences", "All silences", AlertsApi.silences, alert_schemas.SILENCES),
    Action(
        "POST",
        "/silences",
        "Notify nobody of matching alerts for a time",
        AlertsApi.silence,
        alert_schemas.SILENCE,
        body=alert_schemas.body(("matchers", "author", "comment"), **alert_schemas.NEW_SILENCE, **_WHO),
    ),
    Action(
        "DELETE",
        "/silences/{id}",
        "End a silence now",
        AlertsApi.expire,
        alert_schemas.SILENCE,
        path_parameters=_ID,
    ),
)


def create_alerts_api(
    service: AlertService | None, now: Callable[[], float], respond: Callable[[Json], Response]
) -> Blueprint:
    """The actions as a blueprint; `respond` makes the response of an answer."""
    blueprint = Blueprint("alerts_api", __name__, url_prefix=PREFIX)
    api = AlertsApi(service)
    for action in ACTIONS:
        blueprint.add_url_rule(
            action.rule,
            endpoint=f"{action.method} {action.path}".replace(".", "_"),
            view_func=_view(action, api, now, respond),
            methods=[action.method],
        )
    return blueprint


def _view(
    action: Action, api: AlertsApi, now: Callable[[], float], respond: Callable[[Json], Response]
) -> Callable[..., Response]:
    def view(**path: str) -> Response:
        if action.method != "GET":
            _check_meant()
        given = Given(action.parameters, request.args, int(now()), path)
        return respond(action.answer(api, given, _body(action)))

    return view


def _check_meant() -> None:
    """Refuse what another site may have made a browser send."""
    origin = request.headers.get("Origin")
    foreign = origin is not None and urlsplit(origin).netloc != request.host
    if foreign or not (request.is_json or request.headers.get(MEANT)):
        raise Forbidden(f"Changes need a JSON body or the header {MEANT}: 1, from a page of this server.")


def _body(action: Action) -> Json:
    """The request's JSON object; empty where the action takes none. Refuses unknown fields."""
    if action.body is None:
        return {}
    given: Any = request.get_json(force=True, silent=True)
    if not isinstance(given, dict):
        raise InputError(
            "The request has no JSON object.", f"Fields: {', '.join(action.body['properties'])}."
        )
    known = list(action.body["properties"])
    for name in given:
        if name not in known:
            guess = did_you_mean(name, known) or "."
            raise InputError(f'Unknown field "{name}"{guess}', f"Known fields: {', '.join(known)}.")
    return given


def _text(body: Json, name: str, required: bool = True) -> str:
    value = body.get(name, "")
    if not isinstance(value, str) or (required and not value.strip()):
        raise InputError(f'The field "{name}" is missing or no text.', f'Give "{name}" as a text.')
    if any(0xD800 <= ord(character) < 0xE000 for character in value):
        raise InputError(f'The field "{name}" is not valid text.', "Send it as UTF-8.")
    return value


def _time(body: Json, name: str, default_s: int) -> int:
    value = body.get(name, default_s)
    if type(value) is not int or not 0 <= value < 1 << 40:
        raise InputError(f'The field "{name}" is no time.', "Give whole Unix seconds.")
    return value
