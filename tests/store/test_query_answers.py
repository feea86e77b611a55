"""Every answer of the querier equals a naive sum over the rows that were inserted."""

import re
import uuid
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.query.flame import build_flame
from collector.query.model import Matcher, Profile, Query, TimeRange
from collector.query.querier import Querier
from collector.query.selector import parse_selector
from collector.query.tallies import top_of
from collector.store.chdb import ChdbStore
from collector.store.interface import Columns, Statement
from fleetprof.frames import UNSAMPLED, Frame, FrameKind
from fleetprof.profile_types import SELECTIONS, selection
from tests.store.generate import TYPES, Fleet, Rows, insert, make_rows

UNDEFINED = Frame(FrameKind.LABEL, "(undefined stack)", "")
HOUR_S = 3600


@dataclass
class World:
    """What was inserted, and the query prefix that keeps other tests' rows out."""

    rows: Rows = field(repr=False)
    querier: Querier

    @property
    def services(self) -> Matcher:
        return Matcher("service", "=~", "|".join(self.rows.fleet.services))

    def query(self, selector: str, start_s: int, end_s: int, type: str = "cpu") -> Query:
        matchers = (self.services, *parse_selector(selector))
        return Query(selection(type), matchers, TimeRange(start_s, end_s))

    def chosen(self, query: Query) -> list[int]:
        """Places of the rows that the query selects."""
        rows = self.rows
        types = {kind.label for kind in query.selection.types}
        wanted = np.array([name in types for name in TYPES])
        good = np.array([all(holds(m, labels) for m in query.matchers) for labels in rows.labels])
        inside = (rows.ts >= query.range.start_s) & (rows.ts < query.range.end_s)
        found: list[int] = np.flatnonzero(inside & good[rows.series] & wanted[rows.type]).tolist()
        return found

    def stack(self, number: int) -> tuple[Frame, ...]:
        """The frames that a stack number should be shown as."""
        if number == 0:
            return (UNSAMPLED,)
        if number >= len(self.rows.stacks) - self.rows.fleet.undefined_stacks:
            return (UNDEFINED,)
        return tuple(self.rows.frames[place] for place in self.rows.stacks[number])

    def by_stack(self, query: Query, split: bool) -> Counter[tuple[Frame, ...]]:
        """Values by shown stack."""
        found: Counter[tuple[Frame, ...]] = Counter()
        chosen = self.chosen(query)
        services = {self.rows.labels[self.rows.series[i]]["service"] for i in chosen}
        for i in chosen:
            stack = self.stack(int(self.rows.stack[i]))
            if split and len(services) > 1:
                service = self.rows.labels[self.rows.series[i]]["service"]
                stack = (*stack, Frame(FrameKind.LABEL, service, ""))
            found[stack] += int(self.rows.value[i])
        return found


def holds(matcher: Matcher, labels: dict[str, str]) -> bool:
    value = labels.get(matcher.label, "")
    if matcher.op in ("=", "!="):
        return (value == matcher.value) is (matcher.op == "=")
    return bool(re.fullmatch(matcher.value, value, re.DOTALL)) is (matcher.op == "=~")


def as_counter(profile: Profile) -> Counter[tuple[Frame, ...]]:
    found: Counter[tuple[Frame, ...]] = Counter()
    starts = profile.starts.tolist()
    for row, value in enumerate(profile.values.tolist()):
        places = profile.frame_index[starts[row] : starts[row + 1]].tolist()
        found[tuple(profile.frames[place] for place in places)] += value
    return found


def start_of_its_own() -> int:
    """An hour in which no other test has put rows (windows are not told apart by service)."""
    return (1_100_000_000 + uuid.uuid4().int % 400_000_000) // 86400 * 86400


@pytest.fixture(scope="module")
def world(store: ChdbStore) -> World:
    """Nine hours over midnight, two services, gaps, undefined stacks."""
    name = f"query-{uuid.uuid4().hex[:8]}"
    fleet = Fleet(
        start_s=start_of_its_own() + 20 * HOUR_S,
        windows=9 * 360,
        services=(f"{name}-a", f"{name}-b"),
        versions=("1.0", "1.1", "2.0-rc1"),
        free={"tier": ("", "gold", "od\"d\\'\n"), "build": ("x", "y")},
        rows_a_window=3,
        undefined_stacks=2,
        missing_windows_share=0.05,
        seed=7,
    )
    rows = make_rows(fleet)
    insert(store, rows)
    return World(rows, Querier(store))


SELECTORS = st.lists(
    st.sampled_from(
        [
            'version="1.0"',
            'version!="1.0"',
            r'version=~"1\\..*"',
            r'version!~"1\\..*|nothing"',
            'region="eu"',
            'thread="main"',
            'thread!~"m.*"',
            'host=~".*-host-[01]"',
            'tier=""',
            'tier!=""',
            'tier!="gold"',
            'tier=~"gold|"',
            'tier=~"od.*"',
            'tier="od\\"d\\\\\'\\n"',
            'build="x"',
            'absent=""',
            'absent!=""',
            'absent!~".+"',
            'namespace=""',
            'wait!="futex"',
        ]
    ),
    max_size=3,
    unique=True,
).map(",".join)
OFFSET_S = st.integers(-600, 10 * HOUR_S)
ON_HOURS = st.sampled_from([0, HOUR_S, 7 * HOUR_S, 9 * HOUR_S])
MANY = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def questions(draw: st.DrawFn) -> tuple[str, int, int, str]:
    """(selector, start and end relative to the fleet's start, profile type)."""
    ends = sorted(draw(st.lists(OFFSET_S | ON_HOURS, min_size=2, max_size=2, unique=True)))
    return draw(SELECTORS), ends[0], ends[1], draw(st.sampled_from(sorted(SELECTIONS)))


def ask(world: World, question: tuple[str, int, int, str]) -> Query:
    selector, start, end, type = question
    return world.query(selector, world.rows.fleet.start_s + start, world.rows.fleet.start_s + end, type)


@MANY
@given(questions(), st.booleans())
def test_profile(world: World, question: tuple[str, int, int, str], split: bool) -> None:
    query = ask(world, question)
    profile = world.querier.profile(query, split_services=split)
    assert as_counter(profile) == world.by_stack(query, split)
    assert profile.captures == sum(int(world.rows.captures[i]) for i in world.chosen(query))
    assert profile.stack_captures is not None
    assert int(profile.stack_captures.sum()) == profile.captures
    rolled = {m.label for m in query.matchers} <= {"service", "version", "region"}
    assert profile.resolution == ("1h" if rolled and whole_hour_in_long(query.range) else "10s")


def whole_hour_in_long(range: TimeRange) -> bool:
    return range.seconds > 6 * HOUR_S


@MANY
@given(questions(), st.sampled_from(["self", "total"]), st.integers(1, 20))
def test_top(world: World, question: tuple[str, int, int, str], sort: str, limit: int) -> None:
    query = ask(world, question)
    rows, total = world.querier.top(query, limit, "self" if sort == "self" else "total")
    own: Counter[Frame] = Counter()
    with_calls: Counter[Frame] = Counter()
    for stack, value in world.by_stack(query, split=False).items():
        own[stack[0]] += value
        for frame in set(stack):
            with_calls[frame] += value
    assert total == sum(own.values())
    for row in rows:
        assert (row.self_value, row.total_value) == (own[row.frame], with_calls[row.frame])
    values = [row.self_value if sort == "self" else row.total_value for row in rows]
    sorted_by = {frame: own[frame] for frame in with_calls} if sort == "self" else with_calls
    assert values == sorted(sorted_by.values(), reverse=True)[: len(values)]
    assert len(rows) == min(limit, len(with_calls))


@MANY
@given(questions(), st.sampled_from([10, 30, 60, 300, 3600]))
def test_series(world: World, question: tuple[str, int, int, str], step_s: int) -> None:
    query = ask(world, question)
    answer = world.querier.series(query, step_s)
    (line,) = answer.series
    sums: Counter[int] = Counter()
    for i in world.chosen(query):
        sums[int(world.rows.ts[i]) // step_s * step_s] += int(world.rows.value[i])
    reported = reported_steps(world, query, step_s)
    assert line.start_s.tolist() == list(
        range(query.range.start_s // step_s * step_s, query.range.end_s, step_s)
    )
    for start, value in zip(line.start_s.tolist(), line.values.tolist(), strict=True):
        if start in reported:
            assert value == sums[start]
        else:
            assert np.isnan(value)
    assert answer.resolution in (("1m", "10s") if step_s % 60 == 0 else ("10s",))


def reported_steps(world: World, query: Query, step_s: int) -> set[int]:
    hosts = {labels["host"] for labels in world.rows.labels if all(holds(m, labels) for m in query.matchers)}
    return {
        second // step_s * step_s
        for host, second in world.rows.reported
        if host in hosts and query.range.start_s <= second < query.range.end_s
    }


@MANY
@given(questions(), st.sampled_from(["host", "version", "service", "tier", "absent"]), st.integers(1, 3))
def test_grouped_series(world: World, question: tuple[str, int, int, str], group_by: str, limit: int) -> None:
    query = ask(world, question)
    answer = world.querier.series(query, 300, group_by, limit)
    sums: Counter[str] = Counter()
    for i in world.chosen(query):
        sums[world.rows.labels[world.rows.series[i]].get(group_by, "")] += int(world.rows.value[i])
    found = {line.labels[group_by]: int(np.nansum(line.values)) for line in answer.series}
    rest = found.pop("(other)", 0)
    assert found == dict(sorted(sums.items(), key=lambda item: (-item[1], item[0]))[:limit])
    assert rest + sum(found.values()) == sum(sums.values())


@MANY
@given(questions(), st.sampled_from([10, 300, 3600]), st.sampled_from(["function_0", "function_4", "none"]))
def test_share_of_a_function(
    world: World, question: tuple[str, int, int, str], step_s: int, function: str
) -> None:
    query = ask(world, question)
    (line,) = world.querier.function_share(query, step_s, function).series
    whole, part = Counter[int](), Counter[int]()
    for i in world.chosen(query):
        step, value = int(world.rows.ts[i]) // step_s * step_s, int(world.rows.value[i])
        whole[step] += value
        if any(frame.function == function for frame in world.stack(int(world.rows.stack[i]))):
            part[step] += value
    for start, share in zip(line.start_s.tolist(), line.values.tolist(), strict=True):
        if whole[start]:
            assert share == pytest.approx(part[start] / whole[start])
        else:
            assert np.isnan(share)


def test_a_line_has_gaps_where_its_own_hosts_were_silent(world: World) -> None:
    start = world.rows.fleet.start_s
    query = world.query("", start, start + 1800)
    answer = world.querier.series(query, 10, "host")
    assert len(answer.series) == world.rows.fleet.hosts
    for line in answer.series:
        reported = {second for host, second in world.rows.reported if host == line.labels["host"]}
        missing = {int(at) for at, value in zip(line.start_s, line.values, strict=True) if np.isnan(value)}
        assert missing == set(line.start_s.tolist()) - reported
        assert missing


@MANY
@given(questions())
def test_summary(world: World, question: tuple[str, int, int, str]) -> None:
    query = ask(world, question)
    summary = world.querier.summary(query)
    chosen = world.chosen(query)
    seconds = sum(int(world.rows.value[i]) for i in chosen) / 1e9
    everything = Query(query.selection, (), query.range)
    total = sum(int(world.rows.value[i]) for i in world.chosen(everything)) / 1e9
    assert summary.seconds == pytest.approx(seconds)
    assert summary.average == pytest.approx(seconds / query.range.seconds)
    assert summary.share == pytest.approx(seconds / total if total else 0.0)
    assert summary.captures == sum(int(world.rows.captures[i]) for i in chosen)
    assert summary.hosts <= summary.hosts_total <= world.rows.fleet.hosts


def test_the_rest_beyond_the_limit_is_one_frame(world: World) -> None:
    start = world.rows.fleet.start_s
    query = world.query("", start, start + 9 * HOUR_S)
    whole, cut = world.querier.profile(query), world.querier.profile(query, max_stacks=5)
    assert cut.total == whole.total
    assert cut.captures == whole.captures == int(cut.stack_captures.sum())
    kept = as_counter(cut)
    rest = kept.pop((Frame(FrameKind.LABEL, "(other)", ""),))
    assert sorted(kept.values()) == sorted(as_counter(whole).values())[-5:]
    assert rest == whole.total - sum(kept.values())


def test_top_is_that_of_the_flame_graph(world: World) -> None:
    start = world.rows.fleet.start_s
    query = world.query("", start + 70, start + 8 * HOUR_S + 50, "wall")
    profile = world.querier.profile(query, split_services=False)
    rows, total = world.querier.top(query, 1000)
    tree = build_flame(profile, min_share=0)
    own: Counter[Frame] = Counter()
    for place, value in zip(tree.name.tolist(), tree.self_value.tolist(), strict=True):
        own[tree.frames[place]] += value
    assert total == tree.total
    assert {row.frame: row.self_value for row in rows if row.self_value} == +own
    assert rows == top_of(profile)


def test_completeness_counts_what_did_not_come(world: World) -> None:
    fleet = world.rows.fleet
    query = world.query("", fleet.start_s, fleet.start_s + 2 * HOUR_S)
    completeness = world.querier.completeness(query)
    received = [each for each in world.rows.reported if each[1] < query.range.end_s]
    assert completeness.hosts == fleet.hosts
    assert completeness.windows_received == len(received)
    assert completeness.windows_expected == pytest.approx(fleet.hosts * 720, abs=6)
    assert 0.9 < completeness.share < 1
    assert world.querier.profile(query).exact


def test_labels(world: World) -> None:
    fleet = world.rows.fleet
    range = TimeRange(fleet.start_s, fleet.start_s + HOUR_S)
    names = world.querier.label_names(range, (world.services,))
    assert names == ["host", "service", "version", "region", "process", "thread", "build", "tier"]

    def values(name: str, *matchers: Matcher, prefix: str = "", limit: int = 200) -> list[str]:
        return world.querier.label_values(name, range, (world.services, *matchers), prefix, limit)

    assert values("service") == sorted(fleet.services)
    assert values("thread", prefix="w") == ["worker"]
    assert values("thread", limit=1) == ["main"]
    assert set(values("tier")) <= {"gold", "od\"d\\'\n"}
    assert values("tier", Matcher("tier", "=", "gold")) == ["gold"]
    assert values("pod") == []
    assert (
        world.querier.label_values(
            "service", TimeRange(range.start_s - 10 * 86400, range.start_s - 9 * 86400), (world.services,)
        )
        == []
    )


class Recorder:
    """A store that remembers the text of statements."""

    def __init__(self, store: ChdbStore) -> None:
        self._store = store
        self.dialect = store.dialect
        self.texts: list[str] = []

    def query(self, statement: Statement) -> Columns:
        self.texts.append(statement[0])
        return self._store.query(statement)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12))
def test_values_never_become_sql(store: ChdbStore, value: str) -> None:
    """Statements are the same text whatever is asked, and hostile values only match themselves."""
    range = TimeRange(1_000_000_000, 1_000_003_600)

    def texts(text: str) -> list[str]:
        recorder = Recorder(store)
        querier = Querier(recorder)  # type: ignore[arg-type]
        query = Query(selection("cpu"), (Matcher("service", "=", text), Matcher("pod", "!=", text)), range)
        assert querier.profile(query).total == 0
        assert querier.series(query, 60, "tier").series == []
        querier.summary(query)
        querier.label_values("free", range, query.matchers, prefix=text)
        return recorder.texts

    assert texts(value) == texts("x' OR 1=1 --")
