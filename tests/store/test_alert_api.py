"""Alerts over HTTP and in the terminal: what is told, what may be changed, and who may change it."""

import io
import json
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from collector.alerts.service import AlertService
from collector.query.querier import Querier
from collector.store.chdb import ChdbStore
from query_ui.api.alerts import ACTIONS, PREFIX
from query_ui.app import UiConfig, create_app
from query_ui.cli import run
from query_ui.server import serve
from tests.unit.alert_data import T, release, sight, threshold
from tests.unit.alert_receiver import Receiver, receiving

RULES = """
[[receiver]]
name = "ops"
kind = "webhook"
url = "{url}"
[[rule]]
name = "hot"
kind = "threshold"
metric = "cores"
above = 1e6
receivers = ["ops"]
"""


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def alerts(store: ChdbStore, tmp_path: Path, hook: Receiver) -> Iterator[AlertService]:
    path = tmp_path / "rules.toml"
    path.write_text(RULES.format(url=hook.url))
    service = AlertService(tmp_path, path, store, 60, 86400, "http://ui", clock=lambda: T + 100)
    yield service
    service.stop()


@pytest.fixture
def client(store: ChdbStore, alerts: AlertService) -> FlaskClient:
    return create_app(Querier(store), UiConfig(now=lambda: T + 100, alerts=alerts)).test_client()


def fire(alerts: AlertService) -> str:
    return alerts.book.apply(threshold(), [sight("active")], [], T)[0].id


def fits(value: Any, schema: dict[str, Any]) -> None:
    """`value` has the schema's shape: its properties and no other, of the right kinds."""
    if value is None:
        assert schema.get("nullable")
        return
    kinds = {
        "object": dict,
        "array": list,
        "string": str,
        "integer": int,
        "number": (int, float),
        "boolean": bool,
    }
    assert isinstance(value, kinds[schema["type"]]), (value, schema)
    if "properties" in schema:
        assert set(value) == set(schema["properties"])
        for name, inner in schema["properties"].items():
            fits(value[name], inner)
    if "items" in schema:
        for item in value:
            fits(item, schema["items"])
    assert value in schema.get("enum", [value])


def test_answers_are_as_documented(client: FlaskClient, alerts: AlertService) -> None:
    id = fire(alerts)
    made = client.post(
        f"{PREFIX}/silences", json={"matchers": 'service="shop"', "author": "ann", "comment": "deploy"}
    ).json
    document = client.get(f"{PREFIX}/openapi.json").json
    for action in ACTIONS:
        operation = document["paths"][PREFIX + action.path][action.method.lower()]
        path = action.path.replace("{id}", id if "alerts" in action.path else made["id"])
        body = {"author": "ann", "comment": "fine"} if action.path.endswith("accept") else None
        if action.method == "POST" and action.path == "/silences":
            body = {"matchers": 'service="x"', "for": "1h", "author": "ann", "comment": "why"}
        answer = client.open(f"{PREFIX}{path}", method=action.method, json=body, headers={"X-Fleetprof": "1"})
        assert answer.status_code == 200, answer.json
        fits(answer.json, operation["responses"]["200"]["content"]["application/json"]["schema"])
        assert ("requestBody" in operation) == (body is not None)


def test_a_server_without_rules_says_so(store: ChdbStore) -> None:
    client = create_app(Querier(store)).test_client()
    answer = client.get(f"{PREFIX}/alerts")
    fits(answer.json, next(action.schema for action in ACTIONS if action.path == "/alerts"))
    assert (answer.json["configured"], answer.json["alerts"]) == (False, [])
    refused = client.delete(f"{PREFIX}/silences/x", headers={"X-Fleetprof": "1"})
    assert refused.status_code == 400
    assert "judges no alerts" in refused.json["error"]


def test_lists_have_open_and_ended_alerts(client: FlaskClient, alerts: AlertService) -> None:
    id = fire(alerts)
    alerts.book.apply(release(), [sight("active", "slower", version="2")], [], T)
    alerts.book.apply(release(), [sight("superseded", "slower", version="2")], [], T + 5)

    def states(query: str) -> list[str]:
        return [each["state"] for each in client.get(f"{PREFIX}/alerts{query}").json["alerts"]]

    assert states("") == ["firing", "superseded"]
    assert states("?state=open") == ["firing"]
    assert states("?state=ended") == ["superseded"]
    assert states("?limit=1") == ["firing"]
    assert client.get(f"{PREFIX}/alerts?state=x").status_code == 400
    assert client.get(f"{PREFIX}/alerts?sate=open").status_code == 400
    page = client.get(f"{PREFIX}/alerts/{id}").json
    assert page["evidence"] == {"net": 0.1}
    assert [event["state"] for event in page["events"]] == ["firing"]
    assert [sent["status"] for sent in page["notifications"]] == ["firing"]
    assert client.get(f"{PREFIX}/alerts/none").status_code == 400


@pytest.mark.parametrize(
    ("headers", "data", "status"),
    [
        ({"X-Fleetprof": "1"}, '{"author": "ann"}', 200),
        ({"Content-Type": "application/json"}, '{"author": "ann"}', 200),
        ({"Content-Type": "application/json", "Origin": "http://localhost"}, '{"author": "ann"}', 200),
        ({"Content-Type": "text/plain"}, '{"author": "ann"}', 403),
        ({"Content-Type": "application/x-www-form-urlencoded"}, "author=ann", 403),
        ({"Content-Type": "application/json", "Origin": "http://evil.example"}, '{"author": "ann"}', 403),
        ({"X-Fleetprof": "1", "Origin": "null"}, '{"author": "ann"}', 403),
        ({"X-Fleetprof": "1"}, "no json", 400),
        ({"X-Fleetprof": "1"}, "[]", 400),
        ({"X-Fleetprof": "1"}, "{}", 400),
        ({"X-Fleetprof": "1"}, '{"author": "ann", "coment": "x"}', 400),
        ({"X-Fleetprof": "1"}, '{"author": "\\ud800"}', 400),
    ],
)
def test_changes_must_be_meant_and_understood(
    client: FlaskClient, alerts: AlertService, headers: dict[str, str], data: str, status: int
) -> None:
    id = fire(alerts)
    answer = client.post(f"{PREFIX}/alerts/{id}/accept", data=data, headers=headers)
    assert answer.status_code == status, answer.json
    assert alerts.book.alert(id).state == ("accepted" if status == 200 else "firing")
    if status != 200:
        assert answer.json["error"]


def test_get_changes_nothing(client: FlaskClient, alerts: AlertService) -> None:
    id = fire(alerts)
    assert client.get(f"{PREFIX}/alerts/{id}/accept", headers={"X-Fleetprof": "1"}).status_code == 405


def test_silences_over_http(client: FlaskClient, alerts: AlertService) -> None:
    fire(alerts)
    meant = {"X-Fleetprof": "1"}
    body = {"matchers": 'service=~"sh.*"', "for": "30m", "author": "ann", "comment": "deploy"}
    made = client.post(f"{PREFIX}/silences", json=body).json
    assert (made["state"], made["ends_at"]) == ("active", T + 100 + 1800)
    (listed,) = client.get(f"{PREFIX}/alerts").json["alerts"]
    assert listed["silenced_by"] == [made["id"]]
    assert client.delete(f"{PREFIX}/silences/{made['id']}").status_code == 403
    assert client.delete(f"{PREFIX}/silences/{made['id']}", headers=meant).json["state"] == "expired"
    assert not client.get(f"{PREFIX}/alerts").json["alerts"][0]["silenced_by"]
    for wrong in (
        {**body, "matchers": "service=~"},
        {**body, "matchers": 'service!="x"'},
        {**body, "for": "soon"},
        {**body, "ends_at": T},
        {**body, "comment": ""},
        {**body, "starts_at": "now"},
        {"matchers": body["matchers"], "author": "ann", "comment": "x", "ends_at": T},
    ):
        refused = client.post(f"{PREFIX}/silences", json=wrong)
        assert refused.status_code == 400, wrong
        assert refused.json["hint"]


def test_the_terminal_shows_and_changes(
    store: ChdbStore, alerts: AlertService, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = fire(alerts)
    server = serve(create_app(Querier(store), UiConfig(now=lambda: T + 100, alerts=alerts)), "127.0.0.1", 0)
    monkeypatch.setenv("FLEETPROF_SERVER", server.url)

    def said(*arguments: str, code: int = 0) -> str:
        out, error = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(error):
            assert run(["alerts", *arguments]) == code
        return out.getvalue() + error.getvalue()

    try:
        listed = said()
        assert id in listed
        assert "firing" in listed
        shown = said("show", id)
        for part in ("it does", "rule", "fingerprint=", "firing → ops"):
            assert part.lower() in shown.lower()
        silence = said("silence", "add", 'service="shop"', "--comment", "deploy", "--for", "1h").split()[0]
        assert "silenced" in said("list")
        assert silence in said("silence", "list")
        assert "has ended" in said("silence", "end", silence)
        assert "Accepted" in said("accept", id, "--author", "ann", "--comment", "wanted")
        assert "No open alerts. 1 rules watch" in said()
        assert json.loads(said("list", "--state", "ended", "--json").split("\nfleetprof:")[0])["alerts"]
        said("show", "../silences", code=2)
        assert "There is no alert" in said("show", "none", code=2)
    finally:
        server.stop()
