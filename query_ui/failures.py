"""How errors become answers: one JSON shape under /api, a plain page elsewhere, never a traceback."""

import logging

from flask import Flask, Response, render_template, request
from werkzeug.exceptions import HTTPException, InternalServerError

from collector.store.errors import QueryTooLong
from fleetprof.errors import FleetprofError, InputError
from query_ui.api.blueprint import json_response
from query_ui.api.openapi import PREFIX
from query_ui.api.routes import ROUTES

log = logging.getLogger(__name__)


def handle_failures(app: Flask) -> None:
    """Register the handlers."""
    app.register_error_handler(FleetprofError, _known)
    app.register_error_handler(HTTPException, _http)


def _known(error: FleetprofError) -> Response:
    status = 400 if isinstance(error, InputError) else 504 if isinstance(error, QueryTooLong) else 503
    if status != 400:
        log.warning("%s %s: %s", request.method, request.full_path, error.message)
    return respond(status, error.message, error.hint)


def _http(error: HTTPException) -> Response:
    status = error.code or 500
    if isinstance(error, InternalServerError):
        cause = error.original_exception
        log.error("%s %s failed", request.method, request.full_path, exc_info=cause or error)
        return respond(
            500, "fleetprof could not answer this because of a fault of its own.", "Its log says more."
        )
    if status == 404:
        routes = ", ".join(PREFIX + route.path for route in ROUTES)
        hint = f"Routes: {routes}." if request.path.startswith("/api") else "Go to /."
        return respond(404, f"There is nothing at {request.path}.", hint)
    return respond(status, error.description or error.name, "")


def respond(status: int, message: str, hint: str) -> Response:
    """An error as JSON for programs, as a page for people."""
    if request.path.startswith("/api/") or "text/html" not in request.headers.get("Accept", ""):
        return json_response({"error": message, "hint": hint}, status)
    page = render_template("failure.html", message=message, hint=hint)
    return Response(page, status=status, content_type="text/html; charset=utf-8")
