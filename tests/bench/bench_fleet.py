"""How fast pages answer on a simulated fleet's store: flame graphs, tops, label values, a function's share.

    make bench        or        .venv/bin/python -m tests.bench.bench_fleet [FOLDER] [HOSTS SERVICES HOURS]

A folder that a simulation filled (`fleetprof simulate --data`) is used as it is, else it is filled first. The bars
stand for 1,000 hosts, 20 services and 24 hours; the store here is smaller, and its size is printed with the times.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from collector.query.flame import build_flame
from collector.query.model import Matcher, Query, TimeRange
from collector.query.querier import Querier
from collector.store.chdb import ChdbStore
from fleetprof.profile_types import selection

REPEATS = 3
HOUR_S = 3600


def fill(folder: Path, hosts: int, services: int, hours: float) -> None:
    """Send a simulated fleet into a new store."""
    program = Path(sys.executable).parent / "fleetprof"
    size = ("--hosts", str(hosts), "--services", str(services), "--hours", str(hours))
    subprocess.run([program, "simulate", *size, "--data", folder], check=True)


def timed(name: str, ask: Callable[[], Any]) -> None:
    """Print the best and the first time of a question, in milliseconds."""
    took = []
    for _ in range(REPEATS):
        began_s = time.perf_counter()
        ask()
        took.append((time.perf_counter() - began_s) * 1000)
    print(f"{name:42} {min(took):8.0f} ms, at first {took[0]:8.0f} ms")


def measure(folder: Path) -> None:
    """Ask everything of a filled store."""
    store = ChdbStore(folder)
    try:
        facts = store.query(
            ("SELECT count() AS n, min(ts) AS a, max(ts) AS b, uniq(service) AS s FROM samples", {})
        )
        hosts = store.query(("SELECT uniq(host) AS n FROM windows", {}))["n"][0]
        first_s, last_s = int(facts["a"][0]), int(facts["b"][0]) + 10
        hours = (last_s - first_s) / HOUR_S
        print(f"\n{hosts} hosts, {facts['s'][0]} services, {hours:.1f} h, {facts['n'][0]} sample rows")
        services = store.query(
            ("SELECT service, sum(value) AS v FROM series_1m GROUP BY service ORDER BY v DESC LIMIT 3", {})
        )["service"]
        service = next(str(each) for each in services if each)
        ask(Querier(store), service, TimeRange(last_s - HOUR_S, last_s), TimeRange(first_s, last_s))
    finally:
        store.close()


def ask(querier: Querier, service: str, hour: TimeRange, whole: TimeRange) -> None:
    """The views of the bars."""

    def query(time_range: TimeRange, name: str = service) -> Query:
        matchers = (Matcher("service", "=", name),) if name else ()
        return Query(selection("cpu"), matchers, time_range)

    timed("flame graph of a service, 1 h", lambda: build_flame(querier.profile(query(hour))))
    timed("flame graph of a service, all", lambda: build_flame(querier.profile(query(whole))))
    timed("top 50 of the fleet, 1 h", lambda: querier.top(query(hour, ""), limit=50))
    timed("top 50 of the fleet, all", lambda: querier.top(query(whole, ""), limit=50))
    timed("a service by version a minute, all", lambda: querier.series(query(whole), 60, "version"))
    timed("values of label host", lambda: querier.label_values("host", whole))


def test_fleet_answers(tmp_path: Path) -> None:
    fill(tmp_path / "data", 20, 5, 0.5)
    measure(tmp_path / "data")


if __name__ == "__main__":
    given = sys.argv[1:]
    with tempfile.TemporaryDirectory() as temporary:
        chosen = Path(given[0]) if given else Path(temporary) / "data"
        if not chosen.exists():
            size = given[1:4] or ["50", "20", "2"]
            fill(chosen, int(size[0]), int(size[1]), float(size[2]))
        measure(chosen)
