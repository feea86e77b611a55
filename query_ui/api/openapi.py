"""The OpenAPI 3.0 document of the API, made from the tables of routes and of actions."""

from collector.query.model import Json
from fleetprof import __version__
from query_ui.api import schemas
from query_ui.api.alerts import ACTIONS, Action
from query_ui.api.receivers import UPLOAD, upload_operation
from query_ui.api.routes import ROUTES, Route

PREFIX = "/api/v1"

_ERRORS = {
    "400": "A parameter is unknown or not understood.",
    "401": "No token, or none that is good, where auth is on: give `Authorization: Bearer TOKEN`.",
    "500": "A fault in fleetprof; its log says more.",
    "503": "The store does not answer or has no room for the question.",
    "504": "The question took too long.",
}


def document() -> Json:
    """The whole document."""
    return {
        "openapi": "3.0.3",
        "info": {
            "title": "fleetprof",
            "version": __version__,
            "description": "Profiles of a fleet. Values are nanoseconds unless a field says otherwise; "
            "times are Unix seconds in UTC.",
        },
        "paths": _paths(),
    }


def _paths() -> Json:
    paths: Json = {PREFIX + route.path: {"get": _operation(route)} for route in ROUTES}
    paths[PREFIX + UPLOAD] = {"post": upload_operation(_error_responses())}
    for action in ACTIONS:
        paths.setdefault(PREFIX + action.path, {})[action.method.lower()] = _changing(action)
    return paths


def _changing(action: Action) -> Json:
    """The operation of an action, with its body where it takes one."""
    operation = _operation(action)
    if action.body:
        content = {"application/json": {"schema": action.body}}
        operation["requestBody"] = {"required": True, "content": content}
    if action.method != "GET":
        refused = "The request does not say that it was meant, or comes from another site."
        operation["responses"]["403"] = {**operation["responses"]["400"], "description": refused}
    return operation


def _operation(route: Route | Action) -> Json:
    inside = [
        {"name": name, "in": "path", "required": True, "description": text, "schema": {"type": "string"}}
        for name, text in route.path_parameters
    ]
    query = [
        {
            "name": parameter.name,
            "in": "query",
            "description": parameter.description,
            "schema": {**parameter.schema, **({"default": parameter.default} if parameter.default else {})},
        }
        for parameter in route.parameters
    ]
    content: Json = {"application/json": {"schema": route.schema}}
    if isinstance(route, Route) and route.formats:
        binary = {"schema": {"type": "string", "format": "binary"}}
        content |= {"application/octet-stream": binary, "text/plain": binary}
    return {
        "summary": route.summary,
        "parameters": inside + query,
        "responses": {
            "200": {"description": route.schema["description"] or route.summary, "content": content},
            **_error_responses(),
        },
    }


def _error_responses() -> Json:
    error = {"application/json": {"schema": schemas.ERROR}}
    return {code: {"description": text, "content": error} for code, text in _ERRORS.items()}
