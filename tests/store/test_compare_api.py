"""/api/v1/diff, /api/v1/releases and `fleetprof diff` over a store with two versions of a service."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from collector.query.querier import Querier
from collector.store.chdb import ChdbStore
from fleetprof.formats import pprof
from query_ui.api.openapi import PREFIX
from query_ui.app import UiConfig, create_app
from query_ui.cli import run
from query_ui.server import serve
from tests.store.rollout import Spell, insert_spells
from tests.store.test_compare_answers import SECONDS, START_S, stacks

NOW_S = START_S + SECONDS
SERVICE = "compare-api-shop"
A, B = (f'service="{SERVICE}",version="{version}"' for version in "12")
ASK = {"a_query": A, "b_query": B, "from": str(START_S), "to": str(NOW_S)}


@pytest.fixture(scope="module")
def app(store: ChdbStore) -> Any:
    random = np.random.default_rng(21)
    spells = [
        Spell(f"h{v}{i}", v, START_S, NOW_S, stacks(random, **({"leaf3": 1.5} if v == "2" else {})))
        for v in "12"
        for i in range(6)
    ]
    insert_spells(store, SERVICE, spells)
    return create_app(Querier(store), UiConfig(now=lambda: NOW_S))


@pytest.fixture(scope="module")
def client(app: Any) -> FlaskClient:
    return app.test_client()


@pytest.fixture(scope="module")
def server(app: Any) -> Iterator[str]:
    running = serve(app, "127.0.0.1", 0)
    yield running.url
    running.stop()


def get(client: FlaskClient, route: str, **parameters: str) -> Any:
    answer = client.get(f"{PREFIX}/{route}", query_string={**ASK, **parameters})
    assert answer.status_code == 200, answer.text
    return answer


def test_the_tree_adds_up_to_both_profiles(client: FlaskClient) -> None:
    diff = get(client, "diff").json
    flame = diff["flame"]
    for side, query in (("a", A), ("b", B)):
        profile = client.get(
            f"{PREFIX}/profile", query_string={"query": query, "from": ASK["from"], "to": ASK["to"]}
        ).json
        assert sum(flame[f"self_{side}"]) == flame[f"total_{side}"] == profile["flame"]["whole"]
        assert diff[side]["total"] == profile["flame"]["whole"]
        assert diff[side]["hosts"] == 6


def test_movers_come_first_and_noise_last(client: FlaskClient) -> None:
    diff = get(client, "diff").json
    names = [mover["name"] for mover in diff["movers"]]
    assert names[0] in ("leaf3", "handler1")
    flags = [mover["significant"] for mover in diff["movers"]]
    assert flags == sorted(flags, reverse=True)
    leaf = diff["movers"][names.index("leaf3")]["self"]
    assert leaf["low"] < 1.5 / 10.5 - 0.1 < leaf["high"]
    # Of the common factor's uncertainty net has a part of its own; ten equal functions leave it near to delta.
    assert leaf["net_low"] < leaf["net"] < leaf["net_high"]
    assert leaf["net_low"] < 0.05 * 1.05 < leaf["net_high"]
    assert diff["functions"] == diff["moved"] + diff["noise"] == len(names)


def test_cost_that_moved_is_told(store: ChdbStore) -> None:
    """As by a rename: what one function lost another gained."""
    service = f"{SERVICE}-moved"
    random = np.random.default_rng(22)
    spells = []
    for version in "12":
        for number in range(6):
            found = stacks(random)
            if version == "2":
                found["leaf1_fast;handler1;main"] = found.pop("leaf1;handler1;main")
            spells.append(Spell(f"h{version}{number}", version, START_S, NOW_S, found))
    insert_spells(store, service, spells)
    client = create_app(Querier(store), UiConfig(now=lambda: NOW_S)).test_client()
    sides = {f"{side}_query": f'service="{service}",version="{v}"' for side, v in (("a", "1"), ("b", "2"))}
    (shift,) = get(client, "diff", **sides).json["shifts"]
    assert (shift["source"]["name"], shift["target"]["name"]) == ("leaf1", "leaf1_fast")
    assert shift["amount"] == pytest.approx(0.1, abs=0.01)
    assert abs(shift["net"]) < 0.01


def test_files_for_other_tools(client: FlaskClient) -> None:
    diff = get(client, "diff").json
    lines = get(client, "diff", format="folded").text.splitlines()
    columns = np.array([line.rsplit(" ", 2)[1:] for line in lines], np.int64)
    assert columns.sum(axis=0).tolist() == [diff["a"]["total"], diff["b"]["total"]]
    made = pprof.decode(get(client, "diff", format="pprof").data)
    assert made.values[:, :2].sum(axis=0).tolist() == [diff["a"]["total"], diff["b"]["total"]]


def test_sides_can_have_ranges_of_their_own(client: FlaskClient) -> None:
    half = START_S + SECONDS // 2
    diff = get(client, "diff", b_query=A, a_to=str(half), b_from=str(half)).json
    assert diff["a"]["range"] == {"start_s": START_S, "end_s": half}
    assert diff["b"]["range"] == {"start_s": half, "end_s": NOW_S}
    assert diff["method"]["paired"]


def test_what_cannot_be_compared_is_refused_in_words(client: FlaskClient) -> None:
    unknown = f'service="{SERVICE}",version="9"'
    for parameters, what in (
        ({"b_query": A}, "the same selection"),
        ({"b_query": unknown}, "B has nothing to compare"),
        ({"unit": "apples"}, "Unknown unit"),
        ({"b_query": "service="}, "not understood"),
    ):
        answer = client.get(f"{PREFIX}/diff", query_string={**ASK, **parameters})
        assert answer.status_code == 400
        assert what in answer.json["error"]


def test_releases(client: FlaskClient) -> None:
    answer = client.get(
        f"{PREFIX}/releases",
        query_string={"query": f'service="{SERVICE}"', "from": ASK["from"], "to": ASK["to"]},
    ).json
    found = {release["version"]: release for release in answer["releases"]}
    assert set(found) == {"1", "2"}
    assert found["2"]["hosts_now"] == 6
    assert abs(found["2"]["host_share"] - 0.5) < 1e-9
    assert len(found["2"]["runs"]) == 6


def diff(server: str, *more: str) -> int:
    given = ["diff", A, B, "--server", server, "--from", str(START_S), "--to", str(NOW_S)]
    return run([*given, *more])


def test_command_prints_movers_with_intervals(server: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert diff(server) == 0
    shown = capsys.readouterr().out
    line = next(line for line in shown.splitlines() if "leaf3" in line)
    assert "pp" in line
    assert " to " in line
    assert "leaf1 " not in shown, "noise is not listed"
    assert "functions are within noise" in shown


@pytest.mark.parametrize(
    ("condition", "code"),
    [
        ("share>3", 1),
        ("share>6", 0),
        ("self>3pp", 1),
        ("relative>40%", 1),
        ("relative>60", 0),
        ("share<-5", 0),
    ],
)
def test_command_fails_a_build_on_a_regression_beyond_the_threshold(
    server: str, condition: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert diff(server, "--fail-on", condition) == code
    assert ("leaf3" in capsys.readouterr().err) == bool(code)


def test_command_judges_cpu_per_host(server: str) -> None:
    assert diff(server, "--fail-on", "total>3") == 1
    assert diff(server, "--fail-on", "cores>0.04") == 1
    assert diff(server, "--fail-on", "cores>0.2") == 0


@pytest.mark.parametrize(
    "condition", ["", "share", "share>0", "share>-1", "speed>3", "share<1", "share>1e9x"]
)
def test_command_refuses_conditions_that_make_no_sense(
    server: str, condition: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert diff(server, "--fail-on", condition) == 2
    assert "--fail-on" in capsys.readouterr().err


def test_command_refuses_two_units_at_once(server: str) -> None:
    assert diff(server, "--fail-on", "share>1", "--fail-on", "cores>1") == 2
