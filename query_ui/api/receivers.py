"""Hands other profilers' and tracers' pushes over HTTP to the collector's receivers.

Browsers of other sites must not push: what they send names its origin, which no profiler does.
"""

from collections.abc import Callable
from urllib.parse import urlsplit

from flask import Blueprint, Response, request
from werkzeug.exceptions import Forbidden

from collector.query.model import Json
from collector.receivers.http import PATHS, HttpReceivers, HttpRequest
from collector.receivers.unpack import BODY_BYTES
from collector.receivers.uploads import LABELS_HEADER, PARAMETERS
from fleetprof.errors import UnavailableError
from query_ui.api import schemas

NAME = "receivers"
UPLOAD = "/ingest"
"""Below the API's prefix: what is not another protocol's."""

_LABELS = "A label, as are version, host and every parameter that is not named here."
_TAKEN = schemas.record(
    "What was stored: windows of 10 s.",
    windows_stored=schemas.INTEGER,
    windows_known=schemas.described(schemas.INTEGER, "Windows that an earlier, equal request brought."),
    rejected=schemas.INTEGER,
    problems=schemas.many(schemas.TEXT),
)


def create_receivers(receivers: HttpReceivers | None) -> Blueprint:
    """All paths that are pushed to; without receivers (no collector in this process) they say so."""
    blueprint = Blueprint(NAME, __name__)
    for path in PATHS:
        endpoint = path.strip("/").replace(".", "_").replace("/", "_")
        blueprint.add_url_rule(path, endpoint=endpoint, view_func=_view(receivers), methods=["POST"])
    return blueprint


def _view(receivers: HttpReceivers | None) -> Callable[[], Response]:
    def view() -> Response:
        _refuse_browsers()
        if receivers is None:
            raise UnavailableError("This process has no collector.", "Push to one that has: fleetprof up.")
        too_large = (request.content_length or 0) > BODY_BYTES
        answer = receivers.too_large() if too_large else receivers.answer(_request())
        response = Response(answer.body, status=answer.status, content_type=answer.content_type)
        response.headers.extend(answer.headers)
        response.headers["Cache-Control"] = "no-store"
        return response

    return view


def _request() -> HttpRequest:
    """The request; of a body whose length is not told before, one byte more than its limit."""
    return HttpRequest(
        path=request.path,
        query=request.args.to_dict(),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=request.stream.read(BODY_BYTES + 1),
        peer=request.remote_addr or "",
    )


def _refuse_browsers() -> None:
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != request.host:
        raise Forbidden("Pages of other sites may not push profiles here.")


def upload_operation(errors: Json) -> Json:
    """The upload in the OpenAPI document; `errors` are the responses that all routes share."""
    text = {"type": "string"}
    given = [
        {"name": name, "in": "query", "description": about, "schema": text}
        for name, about in {"service": _LABELS, **PARAMETERS}.items()
    ]
    header = {"name": LABELS_HEADER, "in": "header", "description": "More labels: a=1, b=2.", "schema": text}
    binary = {"schema": {"type": "string", "format": "binary"}}
    return {
        "summary": "Takes a pprof file or folded stacks; the same request counts once",
        "parameters": [*given, header],
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": binary, "text/plain": binary},
        },
        "responses": {
            "200": {
                "description": _TAKEN["description"],
                "content": {"application/json": {"schema": _TAKEN}},
            },
            **errors,
        },
    }
