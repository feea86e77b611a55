"""Fills a store with a large fleet's day in minutes: one hour the real way, the rest copied inside ClickHouse.

A few hosts' hour goes through gRPC, journal and roll-ups. Each of its series is then copied under the names of
further hosts, and the hour to the hours before it; roll-ups are multiplied alike, so that `fleetprof-collector
check` finds no difference. Copied hours keep one window of samples in `every`, so that the disk suffices: all that
does not depend on samples (windows, roll-ups' rows, series, definitions) has its full size, the newest hour too.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.connection import Connection
from collector.store.chdb import ChdbStore
from collector.store.interface import Store
from query_ui.simulate.agents import Agents
from query_ui.simulate.fleet import Plan, make_fleet
from query_ui.simulate.history import send_history
from query_ui.simulate.own_collector import own_collector
from query_ui.simulate.push import Pusher
from query_ui.simulate.totals import Totals

HOUR_S = 3600
IN_FLIGHT = 128
_MEMORY_BYTES = 6 << 30


@dataclass(frozen=True)
class Size:
    """How much to fill in."""

    hosts: int = 1000
    services: int = 20
    hours: int = 24
    every: int = 6
    """Of the copied hours one window in so many keeps its samples."""
    seeds: int = 50
    """Hosts that go the real way; others are copies of theirs."""

    @property
    def copies(self) -> int:
        """Hosts for each of those, itself included."""
        return max(self.hosts // self.seeds, 1)

    @property
    def text(self) -> str:
        """What is in the store, in words."""
        return (
            f"{self.seeds * self.copies} hosts × {self.services} services × {self.hours} h; the newest hour whole,"
            f" of others the samples of one window in {self.every}"
        )


def fill(folder: Path, size: Size, seed: int = 0) -> None:
    """Make the store; takes some 10 minutes for the default size."""
    began_s = time.monotonic()
    hour_s = (int(time.time()) // HOUR_S - 1) * HOUR_S
    _send_hour(folder, Plan(size.seeds, size.services, hour_s, hour_s + HOUR_S, seed))
    print(f"  one hour of {size.seeds} hosts sent in {time.monotonic() - began_s:.0f} s", flush=True)
    store = ChdbStore(folder, memory_limit_bytes=_MEMORY_BYTES)
    try:
        for statement in statements(size, hour_s):
            store.execute((statement.replace("%", "%%"), {}))
        _wait_for_merges(store)
    finally:
        store.close()
    print(f"  filled in {time.monotonic() - began_s:.0f} s", flush=True)


def _send_hour(folder: Path, plan: Plan) -> None:
    fleet = make_fleet(plan)
    with own_collector(folder) as own:
        connection = Connection(own.address)
        totals, agents = Totals(), Agents(fleet, long_running=True)
        send_history(fleet, Pusher(connection, agents, totals, IN_FLIGHT), agents, totals, lambda _: None)
        connection.close()
        own.end(sizes=False)
    assert not totals.refused, totals.refused


def statements(size: Size, hour_s: int) -> Iterator[str]:
    """The INSERT SELECTs that make the rest out of the hour that starts at `hour_s`."""
    # Skewed clocks put a few of the hour's windows beside it. They stay, as they are, once.
    inside = f"ts >= toDateTime({hour_s}) AND ts < toDateTime({hour_s + HOUR_S})"
    thin = f"{inside} AND intDiv(toUInt32(ts), 10) % {size.every} = 0"
    yield from _seed_tables(inside, thin)
    shifts = f"arrayJoin(range({size.hours}))"
    yield _series_rows(size.copies)
    yield _window_rows(size.copies, shifts)
    for hour in reversed(range(size.hours)):
        # The hour itself comes last, since the others are made of it; its first copy are the rows that came the
        # real way.
        first, table = (1, "whole") if hour == 0 else (0, "thin")
        copies = f"arrayJoin(range({first}, {size.copies}))"
        yield _sample_rows(hour, copies, inside if hour == 0 else thin, hour_s)
        yield from _rollup_rows(hour, size.copies - first, copies, table)
    for table in ("whole", "thin"):
        for name in ("stack", "func", "minute"):
            yield f"DROP TABLE {table}_{name}"


def _copied(column: str) -> str:
    """A series id of the copy `n`."""
    return f"if(n = 0, {column}, cityHash64({column}, n))"


def _seed_tables(inside: str, thin: str) -> Iterator[str]:
    """The hour's roll-ups, of all its samples and of those that copied hours keep."""
    key = "service, type, version, region"
    labels = "(SELECT series, any(version) AS version, any(region) AS region FROM series GROUP BY series)"
    frames = "(SELECT service, stack, any(frames) AS frames FROM stacks GROUP BY service, stack)"
    made = "ENGINE = MergeTree ORDER BY tuple() AS SELECT"
    for table, chosen in (("whole", inside), ("thin", thin)):
        yield (
            f"CREATE TABLE {table}_stack {made} {key}, stack, sum(v) AS value, sum(c) AS captures FROM"
            " (SELECT service, type, series, stack, sum(value) AS v, sum(captures) AS c FROM samples"
            f" WHERE {chosen} AND type != 'idle' GROUP BY service, type, series, stack) AS x"
            f" ANY LEFT JOIN {labels} AS y USING series GROUP BY {key}, stack"
        )
        yield (
            f"CREATE TABLE {table}_func {made} {key}, func, sum(if(func = leaf, value, 0)) AS self,"
            f" sum(value) AS total FROM (SELECT {key}, value, frames[1] AS leaf,"
            f" arrayJoin(arrayDistinct(frames)) AS func FROM (SELECT * FROM {table}_stack WHERE stack != 0) AS x"
            f" ALL INNER JOIN {frames} AS y USING service, stack) GROUP BY {key}, func"
        )
        yield (
            f"CREATE TABLE {table}_minute {made} toStartOfMinute(second) AS ts, service, type, series,"
            " sum(value) AS value, sum(captures) AS captures FROM (SELECT ts AS second, service, type, series,"
            f" value, captures FROM samples WHERE {chosen}) GROUP BY ts, service, type, series"
        )


def _series_rows(copies: int) -> str:
    """The copies' labels, and those of the day before."""
    return (
        f"INSERT INTO series SELECT day - before AS day, service, {_copied('series')} AS series,"
        " if(n = 0, host, concat(host, '-', toString(n))) AS host, version, environment, region, namespace,"
        " if(n = 0 OR pod = '', pod, concat(pod, '-', toString(n))) AS pod, container, process, thread, wait,"
        " free_names, free_values FROM (SELECT *, arrayJoin(range(2)) AS before,"
        f" arrayJoin(range({copies})) AS n FROM (SELECT * FROM series LIMIT 1 BY day, series)) WHERE before OR n"
    )


def _window_rows(copies: int, shifts: str) -> str:
    return (
        "INSERT INTO windows SELECT toDateTime(toUInt32(ts) - 3600 * h) AS ts,"
        " if(n = 0, agent_id, concat(agent_id, '-', toString(n))) AS agent_id, run_id,"
        " sequence + 10000000 - 360 * h AS sequence, if(n = 0, host, concat(host, '-', toString(n))) AS host,"
        " covered_ns, cpu_count, cpu_exact, period_ns, rows, toDateTime(toUInt32(received_at) - 3600 * h)"
        " AS received_at, agent_cpu_ns, agent_bpf_ns, agent_rss_bytes, agent_map_bytes"
        f" FROM (SELECT *, arrayJoin(range({copies})) AS n, {shifts} AS h FROM windows) WHERE n OR h"
    )


def _sample_rows(hour: int, copies: str, chosen: str, hour_s: int) -> str:
    return (
        f"INSERT INTO samples SELECT toDateTime(toUInt32(ts) - {hour * HOUR_S}) AS ts, service, type,"
        f" {_copied('series')} AS series, stack, value, captures, offsets"
        f" FROM (SELECT *, {copies} AS n FROM samples WHERE {chosen})"
        " SETTINGS max_threads = 1, max_insert_threads = 1, min_insert_block_size_rows = 8000000,"
        " min_insert_block_size_bytes = 1000000000, max_execution_time = 0"
    )


def _rollup_rows(hour: int, times: int, copies: str, table: str) -> Iterator[str]:
    """`times` as much as the seeds' sums, at the hour."""
    if not times:
        return
    hour_of = f"(SELECT toStartOfHour(min(ts)) FROM {table}_minute)"
    keys = f"toDateTime(toUInt32(hour) - {hour * HOUR_S}) AS ts, service, type, version, region"
    for rollup, source, item, sums in (
        ("stack_1h", "stack", "stack", ("value", "captures")),
        ("func_1h", "func", "func", ("self", "total")),
    ):
        columns = ", ".join(f"{name} * {times} AS {name}" for name in sums)
        yield (
            f"INSERT INTO {rollup} SELECT {keys}, {item}, {columns}"
            f" FROM (SELECT *, {hour_of} AS hour FROM {table}_{source})"
        )
    yield (
        f"INSERT INTO series_1m SELECT toDateTime(toUInt32(ts) - {hour * HOUR_S}) AS ts, service, type,"
        f" {_copied('series')} AS series, value, captures FROM (SELECT *, {copies} AS n FROM {table}_minute)"
    )


def _wait_for_merges(store: Store) -> None:
    """Until no merge runs, as on a store that took its rows over a day; at most three minutes."""
    deadline_s = time.monotonic() + 180
    while time.monotonic() < deadline_s:
        if not store.query(("SELECT count() AS n FROM system.merges", {}))["n"][0]:
            return
        time.sleep(2)
