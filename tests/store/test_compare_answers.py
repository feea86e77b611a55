"""Comparisons asked of a store: known changes are found with the right figures, bad questions are told so."""

import numpy as np
import pytest

from collector.alerts.release_sight import fold_whole
from collector.compare.compare import compare
from collector.compare.model import Comparison
from collector.compare.regressions import find_regressions, regressions
from collector.compare.smallest_effect import SmallestEffect
from collector.query.model import Query, TimeRange
from collector.query.selector import parse_selector
from collector.store.chdb import ChdbStore
from fleetprof.errors import InputError
from fleetprof.profile_types import selection
from tests.store.rollout import DAY_START_S, Spell, insert_spells

START_S = DAY_START_S + 6 * 3600
SECONDS = 600
CORE = 10**10
"""Nanoseconds of a window's core."""


def ask(service: str, more: str = "", start_s: int = START_S, seconds: int = SECONDS) -> Query:
    matchers = parse_selector(f'service="{service}"' + (f",{more}" if more else ""))
    return Query(selection("cpu"), matchers, TimeRange(start_s, start_s + seconds))


def stacks(random: np.random.Generator, **grown: float) -> dict[str, int]:
    """Ten leaves under two handlers, each with some noise; named ones are multiplied."""
    found = {}
    for number in range(10):
        name = f"leaf{number}"
        value = CORE / 10 * (1 + 0.02 * random.standard_normal()) * grown.get(name, 1.0)
        found[f"{name};handler{number % 2};main"] = int(value)
    return found


def insert_versions(store: ChdbStore, service: str, hosts: int, **grown: float) -> None:
    """Version 1 on `hosts` hosts and 2 on as many others, at the same time."""
    random = np.random.default_rng(7)
    spells = [
        Spell(f"h{v}-{i}", v, START_S, START_S + SECONDS, stacks(random, **(grown if v == "2" else {})))
        for v in "12"
        for i in range(hosts)
    ]
    insert_spells(store, service, spells)


def between_versions(store: ChdbStore, service: str, unit: str = "share") -> Comparison:
    return compare(store, ask(service, 'version="1"'), ask(service, 'version="2"'), unit)  # type: ignore[arg-type]


def row(comparison: Comparison, name: str) -> int:
    return [frame.name for frame in comparison.frames].index(name)


def test_a_slower_leaf_is_the_only_finding_and_its_interval_holds_the_truth(
    store: ChdbStore, service: str
) -> None:
    insert_versions(store, service, 8, leaf3=1.2)
    comparison = between_versions(store, service)
    truth = 1.2 / 10.2 - 0.1
    leaf = row(comparison, "leaf3")
    assert comparison.own.low[leaf] < truth < comparison.own.high[leaf]
    assert comparison.own.significant[leaf]
    found = find_regressions(comparison)
    causes = [finding for finding in found.findings if finding.kind != "cpu"]
    assert [finding.frame.name for finding in causes] == ["leaf3"]
    assert {frame.name for frame in causes[0].callers} <= {"handler1", "main"}
    assert comparison.method.clusters == "hosts"
    assert comparison.method.concurrent
    assert not comparison.method.paired
    assert (comparison.a.hosts, comparison.b.hosts) == (8, 8)
    assert abs(comparison.a.cores_per_host - 1) < 0.02
    assert comparison.a.captures == 8 * 10 * SECONDS // 10 * 100


def test_where_only_the_whole_passes_the_clearest_function_is_named(store: ChdbStore, service: str) -> None:
    insert_versions(store, service, 6, leaf3=2.0)
    comparison = between_versions(store, service)
    found = find_regressions(comparison, SmallestEffect(relative=0.91))  # it grew by 100 %
    assert [finding.kind for finding in found.findings] == ["cpu"]
    assert found.suspect
    assert found.suspect.frame.name == "leaf3"
    assert fold_whole(comparison, found) == [found.suspect]


def test_a_uniform_slowdown_shows_in_cpu_per_host_only(store: ChdbStore, service: str) -> None:
    insert_versions(store, service, 6, **{f"leaf{i}": 1.3 for i in range(10)})
    comparison = between_versions(store, service)
    assert not comparison.own.significant.any()
    assert comparison.cpu.significant
    assert comparison.cpu.low < 0.3 < comparison.cpu.high
    assert [finding.kind for finding in fold_whole(comparison, find_regressions(comparison))] == ["cpu"]
    cores = between_versions(store, service, "cores_per_host")
    assert cores.own.significant.all() or cores.total.significant[row(cores, "main")]
    assert abs(cores.own.delta[row(cores, "leaf1")] - 0.03) < 0.01


def test_nothing_changed_is_told_with_what_could_have_been_seen(store: ChdbStore, service: str) -> None:
    insert_versions(store, service, 6)
    comparison = between_versions(store, service)
    assert regressions(comparison) == []
    assert "about as much CPU" in comparison.verdict
    assert "0 of 13 functions" in comparison.verdict
    assert "Smallest change visible here" in comparison.visible
    assert (
        comparison.own.detectable[comparison.own.tested] > comparison.own.margin[comparison.own.tested]
    ).all()


def test_moved_cost_is_a_shift_and_no_regression(store: ChdbStore, service: str) -> None:
    """leaf1 is renamed: same caller, same amount."""
    random = np.random.default_rng(8)
    spells = []
    for version in "12":
        for i in range(6):
            made = stacks(random)
            if version == "2":
                made["leaf1_fast;handler1;main"] = made.pop("leaf1;handler1;main")
            spells.append(Spell(f"h{version}{i}", version, START_S, START_S + SECONDS, made))
    insert_spells(store, service, spells)
    found = find_regressions(between_versions(store, service))
    assert found.findings == []
    assert [(shift.source.name, shift.target.name) for shift in found.shifts] == [("leaf1", "leaf1_fast")]


def insert_three_functions(store: ChdbStore, service: str, after: dict[str, float]) -> None:
    """A service of three functions on 6 and 6 hosts; `after` multiplies some in version 2."""
    random = np.random.default_rng(12)
    spells = []
    for version in "12":
        for i in range(6):
            made = {}
            for name, share in (("parse", 0.39), ("rank", 0.12), ("render", 0.49)):
                grown = after.get(name, 1.0) if version == "2" else 1.0
                made[f"{name};handle;main"] = int(
                    CORE * share * grown * (1 + 0.01 * random.standard_normal())
                )
            spells.append(Spell(f"h{version}{i}", version, START_S, START_S + SECONDS, made))
    insert_spells(store, service, spells)


def test_of_few_functions_a_slower_one_moved_nothing(store: ChdbStore, service: str) -> None:
    """What its growth takes from the others' shares is as much as it gained, and is no cost that moved."""
    insert_three_functions(store, service, {"rank": 1.6})
    found = find_regressions(between_versions(store, service))
    assert [finding.frame.name for finding in found.findings if finding.kind != "cpu"] == ["rank"]
    assert found.shifts == []


def test_of_few_functions_one_can_take_over_from_another(store: ChdbStore, service: str) -> None:
    insert_three_functions(store, service, {"rank": 1.6, "parse": 1 - 0.6 * 0.12 / 0.39})
    found = find_regressions(between_versions(store, service))
    assert found.findings == []
    assert [(shift.source.name, shift.target.name) for shift in found.shifts] == [("parse", "rank")]


def test_few_hosts_are_compared_over_time(store: ChdbStore, service: str) -> None:
    random = np.random.default_rng(9)
    spells = [
        Spell(f"h{version}", version, second, second + 10, stacks(random, **grown))
        for version, grown in (("1", {}), ("2", {"leaf3": 1.5}))
        for second in range(START_S, START_S + SECONDS, 10)
    ]
    insert_spells(store, service, spells)
    comparison = between_versions(store, service)
    assert comparison.method.clusters == "time slices"
    assert "Within one host, over time" in comparison.method.sentence
    assert comparison.own.significant[row(comparison, "leaf3")]
    assert [f.frame.name for f in regressions(comparison) if f.kind != "cpu"] == ["leaf3"]


def test_the_same_hosts_before_and_after_are_pairs(store: ChdbStore, service: str) -> None:
    random = np.random.default_rng(10)
    spells = [
        Spell(f"h{i}", "1", START_S + k * SECONDS, START_S + (k + 1) * SECONDS, stacks(random))
        for i in range(6)
        for k in range(2)
    ]
    insert_spells(store, service, spells)
    comparison = compare(store, ask(service), ask(service, start_s=START_S + SECONDS))
    assert comparison.method.paired
    assert not comparison.method.concurrent
    assert "Not at the same time" in comparison.method.sentence


def insert_staged(store: ChdbStore, service: str, known: int) -> None:
    """Version 2 on 8 hosts that always used more of leaf3 than the 8 beside them; so many of them had 1."""
    random = np.random.default_rng(11)
    usual = {
        side: [stacks(random, leaf3=1.3 if side == "new" else 1.0) for _ in range(8)]
        for side in ("old", "new")
    }
    spells = []
    for side, hosts in usual.items():
        for number, each in enumerate(hosts):
            name = f"{side}-{number}"
            if side == "old" or number < known:
                spells.append(Spell(name, "1", START_S - SECONDS, START_S, each))
            spells.append(Spell(name, "1" if side == "old" else "2", START_S, START_S + SECONDS, each))
    insert_spells(store, service, spells)


@pytest.mark.parametrize(("known", "adjusted"), [(8, True), (7, True), (5, False)])
def test_how_hosts_differed_before_is_taken_out_where_most_of_them_are_known(
    store: ChdbStore, service: str, known: int, adjusted: bool
) -> None:
    insert_staged(store, service, known)
    a, b = ask(service, 'version="1"'), ask(service, 'version="2"')
    assert [f.frame.name for f in regressions(compare(store, a, b))] == ["leaf3"]
    before = ask(service, 'version="1"', START_S - SECONDS)
    comparison = compare(store, a, b, before=before)
    assert comparison.method.adjusted == adjusted
    assert ("differed before is taken out" in comparison.method.sentence) == adjusted
    if known == 8:
        at = row(comparison, "leaf3")
        assert comparison.own.delta[at] == pytest.approx(0.0, abs=1e-6)
        assert comparison.own.low[at] <= 0 <= comparison.own.high[at]
        assert not regressions(comparison)


def test_a_matcher_on_hosts_can_choose_the_sides(store: ChdbStore, service: str) -> None:
    insert_versions(store, service, 5)
    comparison = compare(store, ask(service, 'host=~"h1-.*"'), ask(service, 'host=~"h2-.*"'))
    assert (comparison.a.hosts, comparison.b.hosts) == (5, 5)


def test_too_little_data_cannot_tell(store: ChdbStore, service: str) -> None:
    spells = [
        Spell(f"h{v}{i}", v, START_S, START_S + 10, {"work;main": CORE}, captures=1)
        for v in "12"
        for i in range(2)
    ]
    insert_spells(store, service, spells)
    comparison = between_versions(store, service)
    assert not comparison.can_tell
    assert "not enough data to tell" in comparison.verdict
    assert "Cannot tell" in comparison.visible
    assert regressions(comparison) == []


@pytest.mark.parametrize(
    ("a", "b", "what"),
    [
        ('version="1"', 'version="1"', "the same selection"),
        ('version="1"', 'version="9"', "has never sent data"),
        ('version="1"', "", "belong to both"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    store: ChdbStore, service: str, a: str, b: str, what: str
) -> None:
    insert_versions(store, service, 2)
    with pytest.raises(InputError, match=what):
        compare(store, ask(service, a), ask(service, b))


def test_overlapping_ranges_are_refused(store: ChdbStore, service: str) -> None:
    insert_versions(store, service, 2)
    with pytest.raises(InputError, match="overlap by 300 s"):
        compare(store, ask(service), ask(service, start_s=START_S + 300))


def test_an_empty_range_says_when_there_was_data(store: ChdbStore, service: str) -> None:
    insert_versions(store, service, 2)
    with pytest.raises(InputError, match="B has nothing to compare: No data after"):
        compare(store, ask(service), ask(service, start_s=START_S + 3600))
