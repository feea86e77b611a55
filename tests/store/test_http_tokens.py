"""Tokens over HTTP: programs by header, people by a session, nobody else; refused in one sentence."""

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from flask.testing import FlaskClient

from collector.query.querier import Querier
from collector.store.chdb import ChdbStore
from collector.tokens import book as booking
from collector.tokens.book import TokenBook
from collector.tokens.gate import Gate, Reason
from collector.tokens.token import Scope
from fleetprof.errors import InputError
from query_ui import guard
from query_ui.app import UiConfig, create_app
from query_ui.cli import run
from query_ui.server import serve
from query_ui.terminal.client import Client

pytestmark = pytest.mark.store
PAGE = {"Accept": "text/html,application/xhtml+xml"}


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gate:
    monkeypatch.setattr(booking, "LOOK_EVERY_S", 0.0)
    return Gate(TokenBook(tmp_path))


@pytest.fixture
def client(embedded: ChdbStore, gate: Gate) -> FlaskClient:
    return create_app(Querier(embedded), UiConfig(gate=gate)).test_client()


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def test_every_route_that_shows_or_changes_anything_wants_a_token(client: FlaskClient) -> None:
    rules = list(client.application.url_map.iter_rules())
    assert len(rules) > 20
    for rule in rules:
        address = re.sub(r"<[^>]+>", "x", rule.rule)
        for method in rule.methods - {"OPTIONS", "HEAD"}:
            status = client.open(address, method=method).status_code
            if rule.endpoint != "log_in":  # which says 401 itself: no token was given
                assert (status != 401) == (rule.endpoint in guard.OPEN), (method, address, status)
    assert client.get("/api/v1/nothing-like-it").status_code == 401


def test_scopes(client: FlaskClient, gate: Gate) -> None:
    text = {scope: gate.book.create(str(scope), [scope]) for scope in Scope}
    assert client.get("/api/v1/labels", headers=bearer(text[Scope.READ])).status_code == 200
    assert client.get("/metrics", headers=bearer(text[Scope.READ])).status_code == 200
    refused = client.get("/api/v1/labels", headers=bearer(text[Scope.INGEST]))
    assert refused.status_code == 403
    assert refused.json["error"] == 'The token "ingest" is for ingest; this needs one for read.'
    silence = {"selector": 'service="x"', "duration": "1h", "comment": "x", "author": "x"}
    meant = {"X-Fleetprof": "1"}
    for scope, status in ((Scope.READ, 403), (Scope.ADMIN, 400)):  # 400: no rules here, so past the gate
        answer = client.post("/api/v1/silences", json=silence, headers=bearer(text[scope]) | meant)
        assert answer.status_code == status, answer.text
    answer = client.get("/api/v1/labels")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert "asks for a token" in answer.json["error"]
    assert gate.refused == {Reason.SCOPE: 2, Reason.NONE: 1}


def test_other_profilers_push_with_scope_ingest(client: FlaskClient, gate: Gate) -> None:
    text = {scope: gate.book.create(str(scope), [scope]) for scope in Scope}
    for path in ("/api/v1/ingest", "/ingest", "/v1/traces", "/push.v1.PusherService/Push"):
        assert client.post(path).status_code == 401
        assert client.post(path, headers=bearer(text[Scope.READ])).status_code == 403
        passed = client.post(path, headers=bearer(text[Scope.INGEST])).status_code
        assert passed not in (401, 403), "no collector runs in this process, but the gate is open"


def test_people_sign_in_stay_and_are_out_when_their_token_is(client: FlaskClient, gate: Gate) -> None:
    text = gate.book.create("ann", [Scope.READ])
    sent = client.get("/compare?a=x%3D1&b=y", headers=PAGE)
    assert sent.status_code == 303
    assert sent.location == "/login?next=%2Fcompare%3Fa%3Dx%253D1%26b%3Dy"
    page = client.get(sent.location, headers=PAGE)
    assert page.status_code == 200
    assert 'value="/compare?a=x%3D1&amp;b=y"' in page.text
    wrong = client.post("/login", data={"token": "fpt_1", "next": "/compare"})
    assert wrong.status_code == 401
    assert "not one of this collector" in wrong.text
    assert not client.get_cookie(guard.COOKIE)
    good = client.post("/login", data={"token": f" {text} ", "next": "/compare?a=1"})
    assert (good.status_code, good.location) == (303, "/compare?a=1")
    cookie = good.headers["Set-Cookie"]
    for word in ("HttpOnly", "SameSite=Lax", "Path=/", f"Max-Age={guard.SESSION_S}"):
        assert word in cookie
    assert text[13:] not in cookie
    shown = client.get("/", headers=PAGE)
    assert shown.status_code == 200
    assert "Sign out" in shown.text
    assert client.get("/api/v1/labels").status_code == 200
    gate.book.revoke("ann")
    assert client.get("/api/v1/labels").status_code == 401
    assert client.get("/", headers=PAGE).status_code == 303


def test_signing_out(client: FlaskClient, gate: Gate) -> None:
    client.post("/login", data={"token": gate.book.create("bob", [Scope.READ])})
    assert client.get("/api/v1/labels").status_code == 200
    assert client.post("/logout").status_code == 303
    assert client.get("/api/v1/labels").status_code == 401


def test_an_ingest_token_opens_no_page(client: FlaskClient, gate: Gate) -> None:
    answer = client.post("/login", data={"token": gate.book.create("agents", [Scope.INGEST])})
    assert answer.status_code == 403
    assert "is for ingest" in answer.text


@pytest.mark.parametrize(
    "cookie",
    ["", "x", "ImFiYyI.x.y", "' OR 1=1", "a" * 4000, "ImRlYWRiZWVmIg.aR8yJA.AAAAAAAAAAAAAAAAAAAAAAAAAAA"],
)
def test_made_up_sessions(client: FlaskClient, cookie: str) -> None:
    client.set_cookie(guard.COOKIE, cookie)
    assert client.get("/api/v1/labels").status_code == 401


def test_a_session_of_another_collectors_key_is_none(
    client: FlaskClient, embedded: ChdbStore, tmp_path: Path
) -> None:
    other = Gate(TokenBook(tmp_path / "other"))
    theirs = create_app(Querier(embedded), UiConfig(gate=other)).test_client()
    theirs.post("/login", data={"token": other.book.create("eve", [Scope.ADMIN])})
    stolen = theirs.get_cookie(guard.COOKIE)
    assert stolen
    client.set_cookie(guard.COOKIE, stolen.value)
    assert client.get("/api/v1/labels").status_code == 401


ELSEWHERE = (
    "//evil.example/",
    "/\\evil.example",
    "https://evil.example",
    "javascript:alert(1)",
    "/x\r\ny: a",
)


@pytest.mark.parametrize("address", ELSEWHERE)
def test_signing_in_leads_to_no_other_place(client: FlaskClient, gate: Gate, address: str) -> None:
    text = gate.book.create("ann", [Scope.READ])
    answer = client.post("/login", data={"token": text, "next": address})
    assert answer.location == "/"
    assert answer.headers.get_all("Set-Cookie") == [answer.headers["Set-Cookie"]]


@pytest.fixture
def server(embedded: ChdbStore, gate: Gate) -> Iterator[str]:
    running = serve(create_app(Querier(embedded), UiConfig(gate=gate)), "127.0.0.1", 0)
    yield running.url
    running.stop()


def test_the_terminal_client(
    server: str,
    gate: Gate,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = gate.book.create("cli", [Scope.READ])
    path = tmp_path / "token"
    path.write_text(text + "\n")
    command = ["labels", "--server", server]
    for variable in ("FLEETPROF_TOKEN", "FLEETPROF_TOKEN_FILE"):
        monkeypatch.delenv(variable, raising=False)
    assert run(command) == 2
    said = capsys.readouterr().err
    assert "asks for a token" in said
    assert "--token-file FILE, or in FLEETPROF_TOKEN" in said
    assert run([*command, "--token-file", str(path)]) == 0
    assert run([*command, "--token", text]) == 0
    monkeypatch.setenv("FLEETPROF_TOKEN_FILE", str(path))
    assert run(command) == 0
    monkeypatch.setenv("FLEETPROF_TOKEN", text)
    assert run(command) == 0
    assert run([*command, "--token-file", str(tmp_path / "none")]) == 2
    assert text[13:] not in capsys.readouterr().err


def test_a_token_does_not_stick_to_the_servers_threads(server: str, gate: Gate) -> None:
    """Requests with and without a token, mixed over the same threads: none borrows another's."""
    good = bearer(gate.book.create("one", [Scope.READ]))
    wrong: list[int] = []

    def ask() -> None:
        with requests.Session() as session:
            for n in range(10):
                headers, expected = (good, 200) if n % 2 else ({}, 401)
                if (
                    session.get(f"{server}/api/v1/labels", headers=headers, timeout=30).status_code
                    != expected
                ):
                    wrong.append(n)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    with pytest.raises(InputError, match="asks for a token"):
        Client(server).json("labels", {})
