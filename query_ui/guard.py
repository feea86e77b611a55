"""Asks each request for a token: by header for programs, by a cookie for people, who get it on a small page.

The cookie holds the token's id, signed with a key of the tokens' file: a session ends with its token, and after
SESSION_S, and outlives a restart. Its SameSite=Lax keeps it from other sites' forms, and what changes anything
needs a header that those cannot send (query_ui/api/alerts.py).
"""

from collections.abc import Mapping
from urllib.parse import urlencode

from flask import Flask, Response, g, redirect, render_template, request
from itsdangerous import BadSignature, URLSafeTimedSerializer

from collector.tokens.gate import CURRENT, Gate, NotAllowed
from collector.tokens.token import Scope, Token
from query_ui.api.receivers import NAME as RECEIVERS
from query_ui.failures import respond

COOKIE = "fleetprof_session"
SESSION_S = 7 * 86400
LOGIN = "/login"
OPEN = frozenset({"assets.file", "healthz", "readyz", "login", "log_in", "log_out"})
"""Endpoints that need no token: they show nothing of what is stored."""
_READING = frozenset({"GET", "HEAD", "OPTIONS"})


def add_guard(app: Flask, gate: Gate) -> None:
    """Guard all routes of `app`. Call it after what counts requests, so that refused ones are counted."""
    guard = _Guard(gate)
    app.before_request(guard.check)
    app.teardown_request(lambda _: CURRENT.set(None) and None)
    app.context_processor(lambda: {"signed_in": g.get("session_name", "")})
    app.add_url_rule(LOGIN, endpoint="login", view_func=lambda: guard.page(), methods=["GET"])
    app.add_url_rule(LOGIN, endpoint="log_in", view_func=guard.log_in, methods=["POST"])
    app.add_url_rule("/logout", endpoint="log_out", view_func=guard.log_out, methods=["POST"])


class _Guard:
    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._signer = URLSafeTimedSerializer(gate.book.session_key(), salt="fleetprof session")

    def check(self) -> Response | None:
        """Let the request pass (None), or answer it."""
        CURRENT.set(None)
        if request.endpoint in OPEN:
            return None
        try:
            CURRENT.set(self._token(_scope()))
        except NotAllowed as refused:
            return self._refuse(refused)
        return None

    def page(self, problem: str = "", status: int = 200) -> Response:
        """The page that asks for a token."""
        text = render_template("login.html", problem=problem, next=_local(request.values.get("next", "")))
        response = Response(text, status=status, content_type="text/html; charset=utf-8")
        response.headers["Cache-Control"] = "no-store"
        return response

    def log_in(self) -> Response:
        """Take the form's token and begin a session."""
        try:
            token = self._gate.judge(f"Bearer {request.form.get('token', '').strip()}", Scope.READ)
        except NotAllowed as refused:
            self._gate.count(refused, _peer())
            return self.page(refused.message, 403 if refused.known else 401)
        response = _to(_local(request.form.get("next", "")))
        response.set_cookie(
            COOKIE, self._signer.dumps(token.id), SESSION_S,
            secure=request.is_secure, httponly=True, samesite="Lax",
        )  # fmt: skip
        return response

    def log_out(self) -> Response:
        """End the session."""
        response = _to(LOGIN)
        response.delete_cookie(COOKIE, httponly=True, samesite="Lax")
        return response

    def _token(self, scope: Scope) -> Token:
        header = request.headers.get("Authorization")
        number = self._session() if not header else ""
        if not number:
            return self._gate.judge(header, scope)
        token = self._gate.judge_session(number, scope)
        g.session_name = token.name
        return token

    def _session(self) -> str:
        """The id of the session's token; "" without a session that is good."""
        try:
            return str(self._signer.loads(request.cookies.get(COOKIE, ""), max_age=SESSION_S))
        except BadSignature:
            return ""

    def _refuse(self, refused: NotAllowed) -> Response:
        if _wants_page() and not refused.known:
            return _to(LOGIN, {"next": request.full_path.rstrip("?")})
        self._gate.count(refused, _peer())
        response = respond(403 if refused.known else 401, refused.message, "")
        if not refused.known:
            response.headers["WWW-Authenticate"] = "Bearer"
        return response


def _scope() -> Scope:
    if request.blueprint == RECEIVERS:
        return Scope.INGEST
    return Scope.READ if request.method in _READING else Scope.ADMIN


def _wants_page() -> bool:
    is_page = request.method == "GET" and not request.path.startswith("/api/")
    return is_page and "text/html" in request.headers.get("Accept", "")


def _peer() -> str:
    return request.remote_addr or "an unknown address"


def _to(path: str, query: Mapping[str, str] | None = None) -> Response:
    answer = redirect(path + (f"?{urlencode(query)}" if query else ""), 303)
    answer.headers["Cache-Control"] = "no-store"
    return Response(answer.get_data(), answer.status, answer.headers)


def _local(address: str) -> str:
    """`address` where it is a path of this server, else "/": a link here must not lead elsewhere."""
    plain = address.startswith("/") and not address.startswith(("//", "/\\"))
    return address if plain and address.isprintable() else "/"
