"""Serves the table of routes under /api/v1."""

import json
from collections.abc import Callable

from flask import Blueprint, Response, request

from collector.query.querier import Querier
from collector.sources.listing import Sources
from query_ui.api.openapi import PREFIX, document
from query_ui.api.parameters import Given
from query_ui.api.routes import ROUTES, Answer, Api, Download, Route
from query_ui.api.status import DiskOf


def create_api(
    querier: Querier,
    now: Callable[[], float],
    disk: DiskOf = lambda: None,
    sources: Sources | None = None,
) -> Blueprint:
    """The API as a blueprint; `now` gives Unix seconds."""
    blueprint = Blueprint("api", __name__, url_prefix=PREFIX)
    api = Api(querier, disk, sources)
    for route in ROUTES:
        blueprint.add_url_rule(route.rule, endpoint=route.path, view_func=_view(route, api, now))
    blueprint.add_url_rule("/openapi.json", endpoint="openapi", view_func=lambda: json_response(document()))
    return blueprint


def _view(route: Route, api: Api, now: Callable[[], float]) -> Callable[..., Response]:
    def view(**path: str) -> Response:
        given = Given(route.parameters, request.args, int(now()), path)
        return _respond(route.answer(api, given))

    return view


def _respond(answer: Answer) -> Response:
    if not isinstance(answer, Download):
        return json_response(answer)
    response = Response(answer.data, content_type=answer.content_type)
    response.headers["Content-Disposition"] = f'attachment; filename="{answer.name}"'
    response.headers["Cache-Control"] = "no-store"
    return response


def json_response(value: object, status: int = 200) -> Response:
    """`value` as compact JSON that no cache keeps."""
    # Names may hold lone surrogates (bytes that were not UTF-8); ASCII escapes carry them unharmed.
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    response = Response(text, status=status, content_type="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response
