"""Judges over a real store: what fires, what is held, what is over, from samples of known truth."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from collector.alerts.model import Alert, State
from collector.alerts.service import AlertService
from collector.store.chdb import ChdbStore
from tests.store.rollout import DAY_START_S, Spell, insert_spells

T = DAY_START_S + 12 * 3600
"""When the new version appears."""
BASE = {"parse;handle;main": 3e9, "hash_block;checksum;main": 2e9, "spin;main": 4e9, "gc;main": 1e9}
RELEASE = """
[[rule]]
name = "slower"
kind = "release"
scope = '{{service="{service}"}}'
smallest_effect = {{ share = "0.1 %", relative = "2 %" }}
[rule.annotations]
text = "{{service}} {{version}} {{baseline}} {{function}} {{effect}} {{interval}} {{hosts}} {{link}}"
"""
HOT = """
[[rule]]
name = "hot"
kind = "threshold"
scope = '{{service="{service}"}}'
metric = "{metric}"
{more}
"""

Serve = Callable[[str], AlertService]


@pytest.fixture
def serve(store: ChdbStore, tmp_path: Path) -> Iterator[Serve]:
    started: list[AlertService] = []

    def start(rules: str) -> AlertService:
        path = tmp_path / "rules.toml"
        path.write_text(rules)
        started.append(AlertService(tmp_path / "alerts", path, store, 60, 86400, "http://ui"))
        return started[-1]

    yield start
    for service in started:
        service.stop()


def stacks(random: np.random.Generator, **slower: float) -> dict[str, int]:
    """A host's stacks: each function varies by 2 % between hosts, and `slower` multiplies some."""
    factors = {name: slower.get(name.split(";")[0], 1.0) for name in BASE}
    return {name: int(value * factors[name] * random.normal(1, 0.02)) for name, value in BASE.items()}


def fleet(
    service: str, hosts: int, start_s: int, end_s: int, version: str, seed: int = 0, **slower: float
) -> list[Spell]:
    random = np.random.default_rng(seed)
    return [
        Spell(f"{service}-{number}", version, start_s, end_s, stacks(random, **slower))
        for number in range(hosts)
    ]


def run(service: AlertService, minutes: Iterable[int]) -> list[tuple[int, Alert]]:
    """(minute, alert) of each change of state."""
    return [(minute, alert) for minute in minutes for alert in service.evaluate(T + 60 * minute)]


def test_a_slower_function_of_a_release_fires_once_and_ends_when_rolled_back(
    store: ChdbStore, service: str, serve: Serve
) -> None:
    spells = fleet(service, 4, T - 3600, T, "1.0") + fleet(
        service, 4, T, T + 2400, "2.0", seed=1, hash_block=1.2
    )
    spells += fleet(service, 4, T + 2400, T + 4200, "1.0", seed=2)
    insert_spells(store, service, spells)
    alerts = serve(RELEASE.format(service=service))
    changes = run(alerts, [5, 15, *range(19, 24), 30, 40, *range(42, 53), 60, 69])
    (began, fired), (ended, over) = changes
    assert began == 21  # the first look is at 20 min, and its last window has 30 s to come
    assert (fired.state, fired.function, fired.subject.version) == (State.FIRING, "hash_block", "2.0")
    assert fired.subject.node == "native:hash_block@app"
    assert over.id == fired.id
    assert over.state is State.SUPERSEDED
    assert over.reason == "2.0 runs no more, 1.0 does"
    assert 41 < ended < 52

    evidence = fired.evidence
    true_change = 2.4 / 10.4 - 2 / 10
    assert evidence["interval"][0] < true_change < evidence["interval"][1]
    assert evidence["delta"] == pytest.approx(true_change, abs=0.006)
    assert (evidence["a"]["hosts"], evidence["b"]["hosts"]) == (4, 4)
    assert [row["host"] for row in evidence["per_host"]] == [f"{service}-{n}" for n in range(4)]
    assert all(row["before"] < row["after"] for row in evidence["per_host"])
    assert evidence["grown_callers"] == ["checksum"]
    assert evidence["callers"]["after"] == [
        {"function": "checksum", "share": pytest.approx(evidence["after"], abs=0.01)}
    ]
    assert evidence["funnel"]["alerts"] == 1
    assert evidence["funnel"]["tested"] >= evidence["funnel"]["passed"] >= evidence["funnel"]["causes"]
    assert fired.annotations["text"].startswith(f"{service} 2.0 1.0 hash_block +")
    for part in ("http://ui/compare?", "a_query=", "b_query=", f"b_from={T}", "focus=hash_block"):
        assert part in evidence["link"]
    assert "labels" not in evidence
    assert not any(character in str(fired.labels) for character in "%+")


def test_a_release_that_goes_out_again_is_judged_again(store: ChdbStore, service: str, serve: Serve) -> None:
    spells = fleet(service, 4, T - 3600, T, "1.0")
    spells += fleet(service, 4, T, T + 2400, "2.0", seed=1, hash_block=1.2)
    spells += fleet(service, 4, T + 2400, T + 4800, "1.0", seed=2)
    spells += fleet(service, 4, T + 4800, T + 7200, "2.0", seed=3, hash_block=1.2)
    insert_spells(store, service, spells)
    alerts = serve(RELEASE.format(service=service))
    (_, first), (_, over), (again, second) = run(alerts, range(15, 110, 5))
    assert (over.id, over.state) == (first.id, State.SUPERSEDED)
    assert again in range(101, 107)
    assert (second.state, second.function, second.evidence["baseline"]) == (State.FIRING, "hash_block", "1.0")
    assert second.subject == first.subject
    assert second.id != first.id
    assert second.evidence["a"]["start_s"] >= T + 2400


def test_a_release_that_costs_the_same_is_looked_at_and_does_not_fire(
    store: ChdbStore, service: str, serve: Serve
) -> None:
    spells = fleet(service, 4, T - 3600, T, "1.0") + fleet(service, 4, T, T + 3660, "2.0", seed=1)
    insert_spells(store, service, spells)
    alerts = serve(RELEASE.format(service=service))
    assert not run(alerts, [*range(19, 23), 40, *range(59, 63)])
    assert set(alerts.book.looks("slower")) == {(service, "2.0", 1200), (service, "2.0", 3600)}


def test_a_canary_is_judged_against_the_hosts_beside_it(store: ChdbStore, service: str, serve: Serve) -> None:
    old = fleet(service, 12, T - 1800, T, "1.0")
    new = fleet(service, 12, T, T + 1500, "1.0", seed=1)
    slower = fleet(service, 12, T, T + 1500, "2.0", seed=1, parse=1.25)
    insert_spells(store, service, old + new[:7] + slower[7:])
    alerts = serve(RELEASE.format(service=service))
    ((_, fired),) = run(alerts, range(20, 24))
    assert fired.function == "parse"
    assert fired.evidence["concurrent"]
    assert fired.evidence["a"]["start_s"] == fired.evidence["b"]["start_s"] == T
    assert (fired.evidence["a"]["hosts"], fired.evidence["b"]["hosts"]) == (7, 5)


def test_what_a_canarys_hosts_used_before_is_no_regression(
    store: ChdbStore, service: str, serve: Serve
) -> None:
    """They always used more of one function than the hosts beside them, e.g. for another mix of requests."""
    odd = {"parse": 1.25}
    before = fleet(service, 12, T - 5400, T, "1.0")[:7] + fleet(service, 12, T - 5400, T, "1.0", **odd)[7:]
    beside = fleet(service, 12, T, T + 1500, "1.0", seed=1)[:7]
    canary = fleet(service, 12, T, T + 1500, "2.0", seed=1, hash_block=1.3, **odd)[7:]
    insert_spells(store, service, before + beside + canary)
    alerts = serve(RELEASE.format(service=service))
    ((_, fired),) = run(alerts, range(20, 24))
    assert (fired.function, fired.evidence["adjusted"]) == ("hash_block", True)
    assert "differed before is taken out" in fired.evidence["method"]


def test_a_uniform_slowdown_is_found_by_the_services_total(
    store: ChdbStore, service: str, serve: Serve
) -> None:
    everything = dict.fromkeys((name.split(";")[0] for name in BASE), 1.3)
    spells = fleet(service, 5, T - 1800, T, "1.0") + fleet(
        service, 5, T, T + 1500, "2.0", seed=0, **everything
    )
    insert_spells(store, service, spells)
    alerts = serve(RELEASE.format(service=service))
    ((_, fired),) = run(alerts, range(20, 24))
    assert (fired.function, fired.subject.node, fired.evidence["kind"]) == ("", "", "cpu")
    assert fired.evidence["delta"] == pytest.approx(0.3, abs=0.03)
    assert all(row["after"] > 1.2 * row["before"] for row in fired.evidence["per_host"])


def test_more_traffic_is_no_second_alert_beside_a_slower_function(
    store: ChdbStore, service: str, serve: Serve
) -> None:
    busier = dict.fromkeys((name.split(";")[0] for name in BASE), 1.4) | {"hash_block": 1.4 * 1.2}
    spells = fleet(service, 5, T - 1800, T, "1.0") + fleet(service, 5, T, T + 1500, "2.0", seed=0, **busier)
    insert_spells(store, service, spells)
    alerts = serve(RELEASE.format(service=service))
    ((_, fired),) = run(alerts, range(20, 24))
    assert fired.function == "hash_block"
    assert fired.evidence["cpu_per_host"]["delta"] > 0.4


def test_missing_windows_hold_the_look_and_the_open_alert(
    store: ChdbStore, service: str, serve: Serve
) -> None:
    before = fleet(service, 4, T - 1800, T, "1.0")
    after = fleet(service, 4, T, T + 1300, "2.0", seed=1, hash_block=1.3)
    cut = [replace(after[0], end_s=T + 600), *after[1:]]
    insert_spells(store, service, before + cut)
    alerts = serve(RELEASE.format(service=service))
    assert not run(alerts, range(20, 22))
    assert "of windows missing" in alerts.health.rules["slower"].held
    assert not alerts.book.looks("slower")
    insert_spells(store, service, [replace(after[0], start_s=T + 600)])
    ((minute, fired),) = run(alerts, range(22, 24))
    assert (minute, fired.function) == (22, "hash_block")
    # Nobody sends anything any more: that is not an end.
    assert not run(alerts, range(24, 60, 4))
    held = alerts.book.alert(fired.id)
    assert held.state is State.FIRING
    assert held.reason.startswith("held: ")


def test_growth_that_went_away_within_the_look_is_no_alert(
    store: ChdbStore, service: str, serve: Serve
) -> None:
    spells = fleet(service, 4, T - 1800, T, "1.0") + fleet(service, 4, T, T + 700, "2.0", seed=1, parse=1.5)
    spells += fleet(service, 4, T + 700, T + 1500, "2.0", seed=0)
    insert_spells(store, service, spells)
    alerts = serve(RELEASE.format(service=service))
    assert not run(alerts, range(20, 24))
    assert set(alerts.book.looks("slower")) == {(service, "2.0", 1200)}


def test_growth_that_goes_away_resolves_the_alert(store: ChdbStore, service: str, serve: Serve) -> None:
    spells = fleet(service, 4, T - 1800, T, "1.0") + fleet(service, 4, T, T + 1800, "2.0", seed=1, parse=1.5)
    spells += fleet(service, 4, T + 1800, T + 3000, "2.0", seed=0)
    insert_spells(store, service, spells)
    alerts = serve(RELEASE.format(service=service))
    (_, fired), (minute, over) = run(alerts, [20, 21, 22, *range(26, 50, 2)])
    assert over.id == fired.id
    assert (over.state, over.reason.split(":")[0]) == (State.RESOLVED, "the growth is gone")
    assert 31 < minute < 45


def test_too_few_hosts_are_waited_for(store: ChdbStore, service: str, serve: Serve) -> None:
    spells = fleet(service, 3, T - 1800, T + 1500, "1.0")[1:]
    spells += fleet(service, 1, T - 1800, T, "1.0") + fleet(service, 1, T, T + 1500, "2.0", parse=1.5)
    insert_spells(store, service, spells)
    alerts = serve(RELEASE.format(service=service))
    assert not run(alerts, range(20, 24))
    rows = alerts.book.database.rows("SELECT verdict FROM looks")
    assert [row["verdict"] for row in rows] == ["on 1 hosts, 2 are needed"]


@pytest.mark.parametrize(
    ("metric", "more", "value"),
    [
        ("share", 'function = "hash_block"\nabove = "15 %"', 0.2),
        ("share", 'function_regex = "hash_.*|checksum"\nabove = 0.15', 0.2),
        ("cores", "above = 2.9", 3.0),
        ("cores", 'function = "gc"\nbelow = 0.35', 0.3),
    ],
)
def test_thresholds_measure_what_is_there(
    store: ChdbStore, service: str, serve: Serve, metric: str, more: str, value: float
) -> None:
    plain = {name: int(amount) for name, amount in BASE.items()}
    insert_spells(store, service, [Spell(f"{service}-{n}", "1", T - 900, T + 300, plain) for n in range(3)])
    alerts = serve(HOT.format(service=service, metric=metric, more=f"{more}\nfor = '2m'"))
    changes = run(alerts, range(0, 5))
    assert [(minute, alert.state) for minute, alert in changes] == [(0, "pending"), (2, "firing")]
    alert = changes[-1][1]
    assert alert.value == pytest.approx(value)
    assert alert.evidence["hosts"] == 3
    assert {row["host"]: row["cores"] for row in alert.evidence["per_host"]} == {
        f"{service}-{n}": pytest.approx(1.0) for n in range(3)
    }
    assert bool(alert.evidence["callers"]) == ("function" in more)


def test_a_service_that_is_gone_is_below_its_threshold_but_missing_hosts_are_not(
    store: ChdbStore, service: str, serve: Serve
) -> None:
    plain = {name: int(amount) for name, amount in BASE.items()}
    spells = [Spell(f"{service}-{n}", "1", T - 900, T, plain) for n in range(3)]
    insert_spells(store, service, spells)
    rules = HOT.format(service=service, metric="cores", more='below = 0.5\nwindow = "5m"')
    alerts = serve(rules)
    assert not run(alerts, range(0, 10))
    assert (
        "windows missing" in alerts.health.rules["hot"].held
        or "sent a window" in alerts.health.rules["hot"].held
    )
    # The hosts do report, only the service is gone.
    insert_spells(
        store, f"{service}-else", [Spell(f"{service}-{n}", "1", T, T + 900, plain) for n in range(3)]
    )
    ((_, fired),) = run(alerts, range(10, 12))
    assert (fired.state, fired.value) == (State.FIRING, 0.0)


def test_rules_that_are_taken_out_end_their_alerts(
    store: ChdbStore, service: str, serve: Serve, tmp_path: Path
) -> None:
    plain = {name: int(amount) for name, amount in BASE.items()}
    insert_spells(store, service, [Spell(service, "1", T - 900, T + 300, plain)])
    alerts = serve(HOT.format(service=service, metric="cores", more="above = 0.5"))
    ((_, fired),) = run(alerts, range(0, 1))
    (tmp_path / "rules.toml").write_text("")
    assert alerts.watch.poll()
    ((_, ended),) = run(alerts, range(1, 2))
    assert (ended.id, ended.state, ended.reason) == (fired.id, State.RESOLVED, "its rule was removed")
