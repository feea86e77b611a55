"""Questions to a fleet of too many samples: limits are lowered here, so that a small store has too many."""

from collections import Counter

import numpy as np
import pytest

from collector.compare import part as parts
from collector.compare.compare import compare
from collector.query import segments
from collector.query.asking import Asking, Limits
from collector.query.model import Query, TimeRange
from collector.query.querier import Querier
from collector.query.selector import parse_selector
from collector.query.sources import Binds
from collector.store.chdb import ChdbStore
from collector.store.errors import StoreBusy
from collector.store.interface import Store
from fleetprof.frames import Frame
from fleetprof.profile_types import selection
from tests.store.generate import Fleet, insert, make_rows
from tests.store.rollout import DAY_START_S, Spell, insert_spells

HOUR_S = 3600
START_S = DAY_START_S + 6 * HOUR_S


@pytest.fixture
def few_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any sample is too many."""
    for name in ("MOST_ROWS", "MOST_OF_PART"):
        monkeypatch.setattr(segments, name, 0)


def ask(service: str, start_s: int, end_s: int, more: str = "") -> Query:
    return Query(selection("cpu"), parse_selector(f'service=~"{service}.*"{more}'), TimeRange(start_s, end_s))


def by_frames(querier: Querier, query: Query) -> Counter[tuple[Frame, ...]]:
    profile = querier.profile(query)
    bounds = profile.starts.tolist()
    found: Counter[tuple[Frame, ...]] = Counter()
    for row, value in enumerate(profile.values.tolist()):
        found[tuple(profile.frames[at] for at in profile.frame_index[bounds[row] : bounds[row + 1]])] += value
    return found


@pytest.mark.usefixtures("few_allowed")
def test_parts_of_hours_have_the_time_of_their_minutes_and_the_stacks_of_their_hour(
    store: ChdbStore, service: str
) -> None:
    """Two services, of which one has time in the first half of each hour only."""
    names = (f"{service}-a", f"{service}-b")
    rows = make_rows(
        Fleet(START_S, 3 * 360, names, threads=("main",), undefined_stacks=1, rows_a_window=4, seed=3)
    )
    kept = (rows.ts % HOUR_S < HOUR_S // 2) | np.array(
        [labels["service"] == names[0] for labels in rows.labels]
    )[rows.series]
    fields = ("ts", "series", "type", "stack", "value", "captures")
    for name in fields:
        object.__setattr__(rows, name, getattr(rows, name)[kept])
    insert(store, rows)
    querier = Querier(store)
    start_s, end_s = START_S + 20 * 60 + 10, START_S + 2 * HOUR_S + 600
    for matcher in ("", ',version!="1.0",region="eu"'):
        query = ask(service, start_s, end_s, matcher)
        part, hours = (
            by_frames(querier, query),
            by_frames(querier, ask(service, START_S, START_S + 3 * HOUR_S, matcher)),
        )
        profile, (top, total) = querier.profile(query), querier.top(query, limit=10_000)
        assert profile.resolution == "1h, parts of hours in proportion"
        # The minutes' own sums, which are exact but for the one minute that the range cuts.
        exact = querier.series(query, 60).series[0].values
        assert abs(profile.total / np.nansum(exact) - 1) < 0.01
        assert abs(total - profile.total) <= len(part) + len(top)
        assert part.keys() <= hours.keys()
        own = Counter[Frame]()
        for stack, value in part.items():
            own[stack[0]] += value
        for row in top:
            assert abs(row.self_value - own[row.frame]) <= len(part) + len(top)


@pytest.mark.usefixtures("few_allowed")
def test_parts_of_minutes_have_their_seconds_of_them_in_every_answer(store: Store, service: str) -> None:
    """Hosts with more samples than are read: figures, lines and lines by label add up to the same."""
    rows = make_rows(Fleet(START_S, 40, (service,), hosts=8, versions=("1", "2", "3"), seed=6))
    insert(store, rows)
    querier = Querier(store)
    minute = rows.ts // 60 * 60
    for start_s, end_s in (
        (START_S + 10, START_S + 350),
        (START_S + 50, START_S + 80),
        (START_S, START_S + 30),
    ):
        query = ask(service, start_s, end_s)
        seconds = np.clip(np.minimum(minute + 60, end_s) - np.maximum(minute, start_s), 0, 60)
        truth = float((rows.value * seconds)[rows.type == 0].sum()) / 60
        total = querier.summary(query).seconds * 1e9
        (line,) = querier.series(query, 60).series
        by_version = querier.series(query, 60, "version").series
        assert total == pytest.approx(truth, abs=len(rows))
        assert np.nansum(line.values) == pytest.approx(total, abs=1)
        assert {each.labels["version"] for each in by_version} == {each["version"] for each in rows.labels}
        assert sum(np.nansum(each.values) for each in by_version) == pytest.approx(total, abs=1)


@pytest.mark.usefixtures("few_allowed")
def test_a_whole_hour_is_exact_however_many_samples_it_has(store: ChdbStore, service: str) -> None:
    rows = make_rows(Fleet(START_S + 4 * HOUR_S, 360, (f"{service}-a",), seed=4))
    insert(store, rows)
    query = ask(service, START_S + 4 * HOUR_S, START_S + 5 * HOUR_S)
    found = Querier(store).profile(query)
    chosen = rows.type == 0
    assert (found.resolution, found.total) == ("1h", int(rows.value[chosen].sum()))


def test_a_large_comparison_reads_some_hosts_and_hours_and_says_so(
    store: ChdbStore, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """12 hosts on each side for two hours; 6 hosts and one of the hours have to do."""
    random = np.random.default_rng(5)

    def stacks(slow: float) -> dict[str, int]:
        noise = 1 + 0.02 * random.standard_normal(10)
        noise[3] *= slow
        return {f"leaf{leaf};main": int(10**9 * value) for leaf, value in enumerate(noise.tolist())}

    insert_spells(
        store,
        service,
        [
            Spell(f"h{version}-{number}", version, START_S, START_S + 2 * HOUR_S, stacks(slow))
            for version, slow in (("1", 1.0), ("2", 1.3))
            for number in range(12)
        ],
    )
    a, b = (ask(service, START_S, START_S + 2 * HOUR_S, f',version="{version}"') for version in "12")
    whole = compare(store, a, b)
    assert whole.a.hosts == whole.b.hosts == 12
    assert "were read" not in whole.method.sentence
    monkeypatch.setattr(parts, "HOSTS", 6)
    monkeypatch.setattr(parts, "MOST_ROWS", 24 * 720 // 4)  # a window of the generator's says it has one row
    some = compare(store, a, b)
    assert "12 of 24 hosts and 2 of 4 hours" in some.method.sentence
    assert some.a.hosts == some.b.hosts == 6
    assert (some.a.total_ns, some.b.captures) == (whole.a.total_ns, whole.b.captures)
    assert abs(some.a.cores_per_host / whole.a.cores_per_host - 1) < 0.02
    leaf = [frame.name for frame in some.frames].index("leaf3")
    assert some.own.significant[leaf]
    assert some.own.low[leaf] < 1.3 / 10.3 - 1 / 10 < some.own.high[leaf]
    assert compare(store, a, b).own.delta.tolist() == some.own.delta.tolist()


def test_a_query_that_needs_too_much_memory_says_how_much_it_may_have(embedded: ChdbStore) -> None:
    asking = Asking(embedded, Limits(memory_bytes=16 << 20))
    with pytest.raises(StoreBusy, match="more memory than the 16 MiB") as raised:
        asking.ask("SELECT uniqExact(number) AS n FROM numbers(5000000)", Binds())
    assert "Shorten the range" in raised.value.hint
