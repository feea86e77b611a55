"""Sides that are read together have what was stored of each, and what each has alone; stacks are asked for once."""

from collections import Counter

import numpy as np
import numpy.typing as npt
import pytest

from collector.compare.activity import load_active
from collector.compare.clusters import Layout, load_presence
from collector.compare.covered import load_completeness, load_reports_of
from collector.compare.moments import load_sums
from collector.compare.part import Part
from collector.query.asking import Asking
from collector.query.completeness import load_coverage
from collector.query.known_stacks import KnownStacks
from collector.query.model import Query, TimeRange
from collector.query.selector import parse_selector
from collector.query.sources import Binds, Segment, segment_where
from collector.query.together import load_owned, together
from collector.store.chdb import ChdbStore
from collector.store.interface import Columns, Statement, Store
from fleetprof.frames import stack_id_of
from fleetprof.profile_types import selection
from tests.store.generate import Fleet, Rows, insert, make_rows
from tests.store.rollout import DAY_START_S

START_S = DAY_START_S + 7 * 3600 - 400
"""Before a full hour, so that ranges lie in two of them."""
SLICE_S = 300
SIDES = {
    ',version="1.0"': lambda labels: labels["version"] == "1.0",
    ',version="1.1",thread!="worker"': lambda labels: (
        (labels["version"], labels["thread"]) == ("1.1", "main")
    ),
    ',thread="worker",version=~"1\\\\.1",host=~".*-[0-5]"': lambda labels: (
        (labels["version"], labels["thread"]) == ("1.1", "worker")
        and int(labels["host"].rsplit("-", 1)[1]) < 6
    ),
    "": lambda labels: True,
}


class Truth:
    """What rows hold of a side, service and range, added up in Python."""

    def __init__(self, rows: Rows, service: str, side: str, range: TimeRange) -> None:
        of_side = [SIDES[side](labels) and labels["service"] == service for labels in rows.labels]
        self.rows, self.range = rows, range
        self.mine: npt.NDArray[np.bool_] = np.array(of_side)[rows.series] & (rows.type == 0)
        self.inside = self.mine & (rows.ts >= range.start_s) & (rows.ts < range.end_s)
        self.minute = rows.ts // 60 * 60
        self.host = [rows.labels[series]["host"] for series in rows.series.tolist()]

    def sums(self) -> Counter[tuple[str, int, int]]:
        """(host, slice, stack) → nanoseconds."""
        rows = self.rows
        ids = [stack_id_of(rows.frames[frame] for frame in stack) if stack else 0 for stack in rows.stacks]
        found: Counter[tuple[str, int, int]] = Counter()
        for row in np.flatnonzero(self.inside).tolist():
            second = int(rows.ts[row])
            found[self.host[row], second // SLICE_S * SLICE_S, ids[rows.stack[row]]] += int(rows.value[row])
        return found

    def captures_by_host(self) -> Counter[str]:
        """Of minutes that begin in the range."""
        begun = self.mine & (self.minute >= self.range.start_s) & (self.minute < self.range.end_s)
        found: Counter[str] = Counter()
        for row in np.flatnonzero(begun).tolist():
            found[self.host[row]] += int(self.rows.captures[row])
        return found

    def total(self) -> int:
        """Nanoseconds, minutes in proportion."""
        begin, end = (
            np.maximum(self.minute, self.range.start_s),
            np.minimum(self.minute + 60, self.range.end_s),
        )
        seconds = np.maximum(end - begin, 0)
        return int((self.rows.value * seconds.astype(np.uint64))[self.mine].sum()) // 60

    def windows(self) -> dict[str, list[int]]:
        """Host → the windows that it reported between its first and last sample in the range."""
        spans: dict[str, list[int]] = {}
        for row in np.flatnonzero(self.inside).tolist():
            spans.setdefault(self.host[row], []).append(int(self.rows.ts[row]))
        reported: dict[str, list[int]] = {}
        for host, second in self.rows.reported:
            if host in spans and min(spans[host]) <= second <= max(spans[host]):
                reported.setdefault(host, []).append(second)
        return {host: sorted(seconds) for host, seconds in reported.items()}


@pytest.mark.parametrize("seed", range(2))
def test_each_side_has_what_was_stored_of_it(store: Store, service: str, seed: int) -> None:
    """Ranges that cut minutes and hours: three sides that one look tells apart, one of another time, one of all."""
    fleet = Fleet(START_S, 90, (service, f"{service}-more"), hosts=8, missing_windows_share=0.1, seed=seed)
    rows = make_rows(fleet)
    insert(store, rows)
    first, last = TimeRange(START_S + 40, START_S + 850 - 20 * seed), TimeRange(START_S + 10, START_S + 500)
    sides = [*((side, first) for side in list(SIDES)[:3]), ("", first), (',version="1.0"', last)]
    queries = [
        Query(selection("cpu"), parse_selector(f'service="{service}"{side}'), range) for side, range in sides
    ]
    assert together(queries) == [[0, 1, 2], [3], [4]]
    asking = Asking(store)
    owned = [load_owned(asking, query) for query in queries]
    reports = load_reports_of(asking, queries, owned)
    parts = [Part(query, (query.range,)) for query in queries]
    together_found = zip(
        load_active(asking, queries, owned),
        load_completeness(asking, reports, owned),
        load_presence(asking, parts, owned),
        load_sums(asking, parts, owned, Layout("time slices", SLICE_S)),
        strict=True,
    )
    for (side, range), query, (active, completeness, presence, sums) in zip(
        sides, queries, together_found, strict=True
    ):
        truth = Truth(rows, service, side, range)
        found: Counter[tuple[str, int, int]] = Counter()
        for row, cluster in enumerate(sums.cluster.tolist()):
            found[(*sums.keys[cluster], int(sums.stack[row]))] += int(sums.value[row])
        assert found == truth.sums()
        assert int(sums.captures.sum()) == int(rows.captures[truth.inside].sum())
        assert (
            Counter({host: each.captures for host, each in active.hosts.items()}) == truth.captures_by_host()
        )
        assert abs(active.total[0] - truth.total()) <= 1
        assert {host: there.windows.tolist() for host, there in presence.items()} == truth.windows()
        assert completeness == load_coverage(asking, query).completeness


def test_stacks_are_asked_for_once_and_never_too_many_kept(
    embedded: ChdbStore, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = make_rows(Fleet(START_S, 2, (service,), stacks=40, undefined_stacks=1, seed=7))
    insert(embedded, rows)
    asked: list[str] = []

    def query(statement: Statement) -> Columns:
        asked.append(statement[0])
        return ChdbStore.query(embedded, statement)

    monkeypatch.setattr(embedded, "query", query)
    ids = np.array([stack_id_of(rows.frames[each] for each in stack) for stack in rows.stacks[1:]], np.uint64)
    undefined, defined = ids[-1:], ids[:-1]
    unused = ("SELECT stack FROM samples", Binds())
    for most_bytes, times in ((1 << 20, 2), (200, 3)):
        stacks = KnownStacks(Asking(embedded), most_bytes)
        asked.clear()
        half = stacks.load([service], defined[:20], unused)
        for wanted in (defined, np.append(defined[::-1], np.uint64(0))):
            found = stacks.load([service], wanted, unused)
            assert found.ids.tolist() == sorted(defined.tolist())
            assert np.diff(found.starts).sum() == len(found.frames) == sum(map(len, rows.stacks[1:-1]))
        assert np.isin(half.ids, found.ids).all()
        assert len(asked) == times
    assert not len(KnownStacks(Asking(embedded)).load([service], undefined, unused).ids)


def test_the_key_of_samples_chooses_hours(embedded: ChdbStore, service: str) -> None:
    """ClickHouse says of which columns of the key a condition makes use."""
    insert(embedded, make_rows(Fleet(START_S, 2, (service,), seed=8)))
    matchers = parse_selector(f'service="{service}",version="1.0"')
    for start_s, end_s in ((START_S + 10, START_S + 70), (DAY_START_S, DAY_START_S + 7200)):
        query = Query(selection("cpu"), matchers, TimeRange(start_s, end_s))
        binds = Binds()
        where = segment_where(query, Segment("samples", query.range), binds)
        said = embedded.query((f"EXPLAIN indexes = 1 SELECT count() FROM samples {where}", binds.values))
        text = "\n".join(str(line) for lines in said.values() for line in lines)
        assert "toStartOfHour(ts)" in text[text.index("PrimaryKey") :].split("Condition")[0]
