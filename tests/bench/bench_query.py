"""How fast answers are: the trie against nested dictionaries, and each question over a generated store.

Run: .venv/bin/python -m pytest tests/bench/bench_query.py -s
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from collector.query.export import export
from collector.query.flame import build_flame, to_wire
from collector.query.model import Completeness, Profile, Query, TimeRange
from collector.query.querier import Querier
from collector.query.selector import parse_selector
from collector.query.tallies import top_of
from collector.store.chdb import ChdbStore
from collector.store.migrate import migrate
from fleetprof.frames import Frame, FrameKind
from fleetprof.profile_types import selection
from tests.store.generate import Fleet, insert, make_rows

HOUR_S = 3600
START_S = 1_700_006_400  # a full hour and day


def timed(function: Callable[[], Any], repeats: int = 3) -> tuple[float, Any]:
    """(best time in ms, result)."""
    best, result = float("inf"), None
    for _ in range(repeats):
        started = time.perf_counter()
        result = function()
        best = min(best, time.perf_counter() - started)
    return best * 1000, result


def invented_profile(stacks: int, functions: int = 60_000) -> Profile:
    """Stacks that branch like a program's: each shares a random part of an earlier one from the root."""
    random = np.random.default_rng(1)
    rows: list[list[int]] = []
    for _ in range(stacks):
        base = rows[random.integers(len(rows))] if rows else []
        shared = base[: random.integers(0, len(base) + 1)] if base else []
        fresh = random.integers(0, functions, max(1, int(random.integers(10, 50)) - len(shared)))
        rows.append([*shared, *fresh.tolist()])
    lengths = [len(row) for row in rows]
    return Profile(
        query=Query(selection("cpu"), (), TimeRange(START_S, START_S + HOUR_S)),
        frames=[Frame(FrameKind.NATIVE, f"some::module::function_{i}", "app") for i in range(functions)],
        frame_index=np.array([code for row in rows for code in reversed(row)], np.int32),
        starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        values=(random.pareto(1.1, stacks) * 1e7 + 1e6).astype(np.uint64),
        captures=0,
        resolution="10s",
        exact=True,
        completeness=Completeness(1, 1, 1),
    )


def nested_dictionaries(profile: Profile) -> dict[int, Any]:
    """The usual way to build a trie, as the baseline."""
    root: dict[int, Any] = {-1: 0}
    index, starts = profile.frame_index.tolist(), profile.starts.tolist()
    for row, value in enumerate(profile.values.tolist()):
        node = root
        for code in reversed(index[starts[row] : starts[row + 1]]):
            node = node.setdefault(code, {-1: 0})
            node[-1] += value
    return root


def bench_trie(stacks: int) -> None:
    profile = invented_profile(stacks)
    baseline, _ = timed(lambda: nested_dictionaries(profile), 1)
    full, tree = timed(lambda: build_flame(profile, min_share=0))
    pruned, small = timed(lambda: build_flame(profile, min_share=0.0001))
    wire, _ = timed(lambda: to_wire(small))
    top, _ = timed(lambda: top_of(profile))
    pprof, data = timed(lambda: export(profile, "pprof"), 1)
    print(
        f"{stacks} stacks, {len(profile.frame_index)} frames: dictionaries {baseline:.0f} ms; "
        f"numpy {full:.0f} ms "
        f"({len(tree)} nodes, {baseline / full:.1f}x); pruned at 0.01 % {pruned:.0f} ms ({len(small)} nodes, "
        f"{baseline / pruned:.1f}x); wire {wire:.1f} ms; top {top:.0f} ms; pprof {pprof:.0f} ms "
        f"({len(data.data) >> 10} KiB)"
    )


def bench_store(folder: Path) -> None:
    store = ChdbStore(folder / "data")
    migrate(store)
    fleet = Fleet(
        start_s=START_S,
        windows=24 * 360,
        services=tuple(f"service-{number:02}" for number in range(6)),
        hosts=2,
        functions=10_000,
        stacks=40_000,
        depth=(10, 50),
        rows_a_window=20,
    )
    rows = make_rows(fleet)
    started = time.perf_counter()
    insert(store, rows)
    print(f"{len(rows)} samples, {len(rows.stacks)} stacks inserted in {time.perf_counter() - started:.1f} s")
    day = TimeRange(START_S, START_S + 24 * HOUR_S)
    hour = TimeRange(START_S, START_S + HOUR_S)
    one = 'service="service-03"'
    for name, selector, when in (
        ("1 service, 1 h", one, hour),
        ("1 service, 24 h", one, day),
        ("1 service and host, 24 h", one + ',host=~".*-0"', day),
        ("all services, 1 h", "", hour),
        ("all services, 24 h", "", day),
    ):
        bench_questions(store, name, Query(selection("cpu"), parse_selector(selector), when))
    store.close()


def bench_questions(store: ChdbStore, name: str, query: Query) -> None:
    cold = Querier(store)
    first, profile = timed(lambda: cold.profile(query), 1)
    again, _ = timed(lambda: cold.profile(query))
    flame, tree = timed(lambda: build_flame(profile))
    step_s = 60 if query.range.seconds <= HOUR_S else 300
    others = {
        "top": timed(lambda: cold.top(query))[0],
        "series": timed(lambda: cold.series(query, step_s))[0],
        "by version": timed(lambda: cold.series(query, step_s, "version"))[0],
        "summary": timed(lambda: cold.summary(query))[0],
    }
    rest = ", ".join(f"{what} {ms:.0f}" for what, ms in others.items())
    print(
        f"{name}: profile {first:.0f} ms at first, then {again:.0f} ms ({len(profile.values)} stacks, "
        f"{len(profile.frames)} frames, {profile.resolution}), "
        f"flame {flame:.0f} ms ({len(tree)} nodes); {rest}"
    )


def test_query_speed(tmp_path: Path) -> None:
    for stacks in (10_000, 100_000):
        bench_trie(stacks)
    bench_store(tmp_path)
