"""Releases come from samples alone: appearing, rolling out, replacing, going back."""

from collector.query.model import Matcher, TimeRange
from collector.releases.releases import Releases
from collector.store.chdb import ChdbStore
from tests.store.rollout import DAY_START_S, Spell, insert_spells


def of(store: ChdbStore, service: str, start_s: int, end_s: int) -> dict[str, object]:
    found = Releases(store).list(TimeRange(start_s, end_s), service)
    return {release.version: release for release in found}


def test_a_version_that_replaces_another_is_a_release_with_it_as_predecessor(
    store: ChdbStore, service: str
) -> None:
    start = DAY_START_S + 3600
    spells = [Spell(f"h{i}", "1.0", start, start + 1800) for i in range(4)]
    spells += [Spell(f"h{i}", "2.0", start + 1800 + 60 * i, start + 3600) for i in range(4)]
    insert_spells(store, service, spells)
    found = of(store, service, start, start + 3600)
    assert list(found) == ["2.0", "1.0"]
    new, old = found["2.0"], found["1.0"]
    assert (new.predecessor, old.predecessor) == ("1.0", "")
    assert new.first_seen_s == start + 1800
    assert new.last_seen_s == start + 3600
    assert old.last_seen_s == start + 1800
    assert (new.hosts, new.hosts_now, new.host_share, new.cpu_share) == (4, 4, 1.0, 1.0)
    assert (old.hosts, old.hosts_now, old.host_share, old.cpu_share) == (4, 0, 0.0, 0.0)
    firsts = {run.host: run.first_s for run in new.runs}
    assert firsts == {f"h{i}": start + 1800 + 60 * i for i in range(4)}


def test_shares_now_are_those_of_the_service_s_last_ten_minutes(store: ChdbStore, service: str) -> None:
    start = DAY_START_S + 7200
    spells = [Spell(f"h{i}", "1.0" if i else "2.0", start, start + 1200) for i in range(4)]
    insert_spells(store, service, spells)
    found = of(store, service, start, start + 7200)
    assert found["2.0"].host_share == 0.25
    assert found["2.0"].cpu_share == 0.25
    assert abs(found["2.0"].cores - 1.0) < 1e-9, "each host burns one core"


def test_first_seen_is_before_the_range_where_the_version_is_older(store: ChdbStore, service: str) -> None:
    born, again = DAY_START_S - 2 * 86400 + 600, DAY_START_S + 3600
    spells = [Spell("h1", "1.0", born, born + 600), Spell("h1", "1.0", again, again + 600)]
    yesterday = DAY_START_S - 86400
    spells += [Spell("h1", version, yesterday, yesterday + 600) for version in ("1.0", "2.0")]
    insert_spells(store, service, spells)
    found = of(store, service, again, again + 600)
    assert list(found) == ["1.0"], "2.0 did not run in the range"
    assert found["1.0"].first_seen_s == born


def test_going_back_is_no_new_release(store: ChdbStore, service: str) -> None:
    start = DAY_START_S + 3600
    spells = [
        Spell("h1", "1.0", start, start + 600),
        Spell("h1", "2.0", start + 600, start + 1200),
        Spell("h1", "1.0", start + 1200, start + 1800),
    ]
    insert_spells(store, service, spells)
    found = of(store, service, start, start + 1800)
    assert list(found) == ["2.0", "1.0"]
    assert found["1.0"].first_seen_s == start
    assert found["1.0"].hosts_now == 1
    assert found["2.0"].predecessor == "1.0"


def rollouts(store: ChdbStore, service: str, start_s: int, end_s: int) -> dict[str, tuple[int, str]]:
    """Version → (minute since start_s of its latest rollout, predecessor)."""
    found = Releases(store).rollouts(TimeRange(start_s, end_s), (Matcher("service", "=", service),))
    return {each.version: ((each.first_seen_s - start_s) // 60, each.predecessor) for each in found}


def test_what_was_rolled_back_and_goes_out_again_is_rolled_out_anew(store: ChdbStore, service: str) -> None:
    start = DAY_START_S + 3600
    versions = ("1.0", "2.0", "1.0", "2.0")
    spells = [
        Spell("h1", version, start + 1200 * number, start + 1200 * (number + 1))
        for number, version in enumerate(versions)
    ]
    insert_spells(store, service, spells[:3])
    assert rollouts(store, service, start, start + 3600) == {"1.0": (0, ""), "2.0": (20, "1.0")}
    insert_spells(store, service, spells[3:])
    assert rollouts(store, service, start, start + 4800) == {"1.0": (0, ""), "2.0": (60, "1.0")}
    # Also where its first rollout lies before the range.
    assert rollouts(store, service, start + 2400, start + 4800) == {"1.0": (-40, ""), "2.0": (20, "1.0")}


def test_what_was_away_without_another_in_its_place_is_not_rolled_out_again(
    store: ChdbStore, service: str
) -> None:
    start = DAY_START_S + 3600
    spells = [Spell("a", "1.0", start, start + 7200)]  # beside it, on a host of its own
    spells += [Spell("b", "1.0", start, start + 600)]
    spells += [Spell("b", "2.0", start + since, start + since + 600) for since in (600, 2400, 4200)]
    insert_spells(store, service, spells)
    assert rollouts(store, service, start, start + 7200)["2.0"] == (10, "1.0")


def test_a_short_absence_is_no_rollback(store: ChdbStore, service: str) -> None:
    start = DAY_START_S + 3600
    spells = [Spell("h", "1.0", start, start + 600), Spell("h", "2.0", start + 600, start + 1200)]
    spells += [Spell("h", "1.0", start + 1200, start + 1500), Spell("h", "2.0", start + 1500, start + 2400)]
    insert_spells(store, service, spells)
    assert rollouts(store, service, start, start + 2400)["2.0"] == (10, "1.0")


def test_a_service_without_versions_has_no_releases(store: ChdbStore, service: str) -> None:
    start = DAY_START_S + 3600
    insert_spells(store, service, [Spell("h1", "", start, start + 600)])
    assert of(store, service, start, start + 600) == {}


def test_of_several_earlier_versions_the_one_on_the_same_hosts_is_the_predecessor(
    store: ChdbStore, service: str
) -> None:
    start = DAY_START_S + 3600
    spells = [Spell(f"a{i}", "1.9", start, start + 1800) for i in range(3)]
    spells += [Spell(f"b{i}", "1.8", start, start + 1800) for i in range(9)]
    spells += [Spell("a1", "2.0", start + 900, start + 1800)]
    insert_spells(store, service, spells)
    assert of(store, service, start, start + 1800)["2.0"].predecessor == "1.9"
