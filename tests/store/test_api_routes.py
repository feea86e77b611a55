"""Each route of the API against a store: figures, refusals, formats, and the document that describes it."""

import gzip
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from collector.query.querier import Querier
from collector.sources.assemble import sources_of
from collector.store.chdb import ChdbStore
from fleetprof.formats import pprof
from query_ui.api.openapi import PREFIX
from query_ui.api.routes import ROUTES
from query_ui.app import UiConfig, create_app
from tests.store.generate import Fleet, Rows, insert, make_rows

START_S = 1_790_000_000
WINDOWS = 12
NOW_S = START_S + WINDOWS * 10


@pytest.fixture(scope="module")
def rows(store: ChdbStore) -> Rows:
    made = make_rows(Fleet(START_S, WINDOWS, ("api-shop",), hosts=6, seed=5))
    insert(store, made)
    return made


@pytest.fixture(scope="module")
def client(store: ChdbStore, rows: Rows, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlaskClient]:
    config = UiConfig(now=lambda: NOW_S, sources=sources_of(tmp_path_factory.mktemp("data")))
    return create_app(Querier(store), config).test_client()


ASK = {"query": 'service="api-shop"', "from": str(START_S), "to": str(NOW_S)}


def get(client: FlaskClient, route: str, **parameters: str) -> Any:
    answer = client.get(f"{PREFIX}/{route}", query_string={**ASK, **parameters})
    assert answer.status_code == 200, answer.text
    return answer.json


def cpu_total(rows: Rows) -> int:
    return int(rows.value[rows.type == 0].sum())


def test_profile_adds_up_to_the_rows(client: FlaskClient, rows: Rows) -> None:
    answer = get(client, "profile", min_share="0")
    flame = answer["flame"]
    assert sum(flame["self"]) == flame["total"] == flame["whole"] == cpu_total(rows)
    assert len(flame["name"]) == len(flame["self"]) == len(flame["depth"])
    assert answer["range"] == {"start_s": START_S, "end_s": NOW_S}
    assert answer["explanation"] == ""
    assert answer["completeness"]["windows_received"] == len(rows.reported)


def test_root_keeps_only_stacks_through_the_frame(client: FlaskClient) -> None:
    whole = get(client, "profile", min_share="0")["flame"]
    child = next(i for i, depth in enumerate(whole["depth"]) if depth == 1 and whole["self"][i] == 0)
    end = next(
        (i for i in range(child + 1, len(whole["depth"])) if whole["depth"][i] <= 1), len(whole["depth"])
    )
    name = whole["names"][whole["name"][child]]
    same = [i for i, d in enumerate(whole["depth"]) if d == 1 and whole["names"][whole["name"][i]] == name]
    part = get(client, "profile", min_share="0", root=name.replace("\\", "\\\\").replace(";", "\\;"))["flame"]
    assert part["whole"] == whole["whole"]
    if same == [child]:
        assert part["total"] == sum(whole["self"][child:end])
    assert part["total"] < whole["total"]


def test_top_and_profile_agree(client: FlaskClient, rows: Rows) -> None:
    top = get(client, "top", limit="10000")
    assert top["total"] == cpu_total(rows) == sum(row["self"] for row in top["rows"])
    selves = [row["self"] for row in top["rows"]]
    assert selves == sorted(selves, reverse=True)
    by_total = get(client, "top", limit="3", sort="total")["rows"]
    assert [row["total"] for row in by_total] == sorted((row["total"] for row in top["rows"]), reverse=True)[
        :3
    ]


def test_series_integrates_to_the_total(client: FlaskClient, rows: Rows) -> None:
    for group in ("", "version", "host"):
        answer = get(client, "series", group_by=group)
        assert answer["step_s"] == 10
        seconds = sum(
            value * 10 for line in answer["series"] for value in line["values"] if value is not None
        )
        assert seconds == pytest.approx(cpu_total(rows) / 1e9, rel=1e-4)
        assert answer["covered_s"] == WINDOWS * 10


def test_series_divides_a_cut_step_by_what_lies_inside(client: FlaskClient) -> None:
    """Steps of 20 s over a range that starts in the middle of one."""
    first = START_S + 10
    answer = get(client, "series", **{"from": str(first), "points": "6"})
    assert answer["step_s"] == 20
    fine = get(client, "series", **{"from": str(first), "to": str(first + 10)})
    assert answer["start_s"][0] == START_S
    assert answer["series"][0]["values"][0] == pytest.approx(fine["series"][0]["values"][0], rel=1e-4)


def test_summary_counts_hosts_and_share(client: FlaskClient, rows: Rows) -> None:
    answer = get(client, "summary")
    assert answer["seconds"] == pytest.approx(cpu_total(rows) / 1e9)
    assert answer["average"] == pytest.approx(cpu_total(rows) / 1e9 / (WINDOWS * 10))
    assert answer["hosts"] == len({host for host, _ in rows.reported})
    assert 0 < answer["share"] <= 1


def test_labels_values_and_completion(client: FlaskClient, rows: Rows) -> None:
    versions = sorted({labels["version"] for labels in rows.labels})
    assert {"host", "service", "version", "tier"} <= set(get(client, "labels")["labels"])
    assert get(client, "labels/version/values")["values"] == versions
    assert get(client, "labels/version/values", prefix="1.1")["values"] == ["1.1"]
    found = get(client, "complete", query='service="api-shop",version="1')
    assert found["kind"] == "value"
    assert found["candidates"] == [f'"{version}"' for version in versions]


@pytest.mark.parametrize("format", ["folded", "pprof", "speedscope"])
def test_files_hold_every_stack(client: FlaskClient, rows: Rows, format: str) -> None:
    answer = client.get(f"{PREFIX}/profile", query_string={**ASK, "format": format})
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="cpu-')
    if format == "folded":
        total = sum(int(line.rsplit(" ", 1)[1]) for line in answer.text.splitlines())
    elif format == "pprof":
        total = int(pprof.decode(answer.data).values[:, -1].sum())
    else:
        total = sum(json.loads(answer.data)["profiles"][-1]["weights"])
    assert total == cpu_total(rows)


@pytest.mark.parametrize(
    ("route", "parameters", "error", "hint"),
    [
        ("profile", {"query": "service=x"}, "Selector not understood at character 9", "Example"),
        ("profile", {"from": "yesterday"}, "start of the time range is not understood", "now-1h"),
        ("profile", {"from": str(NOW_S), "to": str(START_S)}, "before it starts", "Swap"),
        ("profile", {"type": "heap"}, 'Unknown profile type "heap"', "cpu, runq, offcpu, wall"),
        ("profile", {"format": "svg"}, 'Unknown format "svg"', "speedscope"),
        ("profile", {"min_share": "2"}, "min_share", "0 to 1"),
        ("profile", {"min_share": "nan"}, "min_share", "0 to 1"),
        ("top", {"limit": "0"}, "limit", "whole number from 1"),
        ("top", {"limit": "1e3"}, "limit", "whole number"),
        ("top", {"limit": "²"}, "limit", "whole number"),
        ("top", {"colour": "red"}, 'Unknown parameter "colour"', "Known parameters: query, type, from, to"),
        ("series", {"group_by": "a-b"}, "not a label name", "letters"),
        ("labels/a-b/values", {}, "not a label name", "letters"),
        ("complete", {"cursor": "-1"}, "cursor", "whole number"),
    ],
)
def test_what_is_not_understood_is_refused_with_words(
    client: FlaskClient, route: str, parameters: dict[str, str], error: str, hint: str
) -> None:
    known = {k: v for k, v in ASK.items() if k not in parameters}
    answer = client.get(f"{PREFIX}/{route}", query_string={**known, **parameters})
    assert answer.status_code == 400
    assert error in answer.json["error"]
    assert hint in answer.json["hint"]


def test_repeated_parameter_is_refused(client: FlaskClient) -> None:
    answer = client.get(f"{PREFIX}/top?type=cpu&type=runq")
    assert answer.status_code == 400
    assert "2 times" in answer.json["error"]


def test_empty_answer_explains_itself(client: FlaskClient) -> None:
    answer = get(client, "profile", query='service="api-shoq"')
    assert answer["flame"]["whole"] == 0
    assert "Did you mean api-shop?" in answer["explanation"]


def test_large_answers_are_compressed_for_who_asks(client: FlaskClient) -> None:
    address = f"{PREFIX}/openapi.json"
    packed = client.get(address, headers={"Accept-Encoding": "gzip"})
    plain = client.get(address)
    refused = client.get(address, headers={"Accept-Encoding": "gzip;q=0"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.data) == plain.data == refused.data
    assert len(packed.data) < len(plain.data) / 3


def conforms(value: object, schema: dict[str, Any], where: str) -> None:
    """Fails where a JSON value is not what its schema says."""
    if value is None:
        assert schema.get("nullable"), where
        return
    kinds = {
        "object": dict,
        "array": list,
        "string": str,
        "integer": int,
        "number": (int, float),
        "boolean": bool,
    }
    assert isinstance(value, kinds[schema["type"]]), where
    if isinstance(value, dict) and "properties" in schema:
        assert set(value) == set(schema["properties"]) == set(schema["required"]), where
        for name, part in value.items():
            conforms(part, schema["properties"][name], f"{where}.{name}")
    elif isinstance(value, dict):
        for name, part in value.items():
            conforms(part, schema["additionalProperties"], f"{where}.{name}")
    elif isinstance(value, list):
        for part in value[:50]:
            conforms(part, schema["items"], f"{where}[]")


SIDES = {f"{side}_query": f'service="api-shop",version="{v}"' for side, v in (("a", "1.0"), ("b", "1.1"))}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)
def test_answers_are_as_documented(client: FlaskClient, route: Any) -> None:
    document = client.get(f"{PREFIX}/openapi.json").json
    operation = document["paths"][PREFIX + route.path]["get"]
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    names = {each["name"] for each in operation["parameters"] if each["in"] == "query"}
    address = f"{PREFIX}{route.path.replace('{name}', 'host')}"
    of_route = {"function": "function_0"} if route.path == "/source" else {}
    asked = {name: text for name, text in {**ASK, **SIDES, **of_route}.items() if name in names}
    answer = client.get(address, query_string=asked)
    assert answer.status_code == 200, answer.text
    conforms(answer.json, schema, route.path)
    necessary = {*SIDES, *of_route}
    needed = {name: text for name, text in asked.items() if name in necessary or "a_query" in names}
    for name in names - set(needed):
        sent = client.get(address, query_string={**needed, name: ""})
        assert sent.status_code == 200, f"{route.path} documents {name} but refuses it: {sent.text}"


def test_every_served_api_address_is_documented(client: FlaskClient) -> None:
    document = client.get(f"{PREFIX}/openapi.json").json
    rules = {
        rule.rule.replace("<", "{").replace(">", "}")
        for rule in client.application.url_map.iter_rules()
        if rule.rule.startswith(PREFIX)
    }
    assert rules - {f"{PREFIX}/openapi.json"} == set(document["paths"])


def test_health(client: FlaskClient) -> None:
    assert client.get("/healthz").json == {"status": "ok"}
    assert client.get("/readyz").json == {"status": "ready"}


def test_values_fit_into_json_numbers(client: FlaskClient) -> None:
    flame = get(client, "profile")["flame"]
    assert max(flame["self"]) < 2**53
    assert not any(isinstance(value, np.generic) for value in flame["self"])
