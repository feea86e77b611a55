"""How fast questions are on the store of a large fleet: cold and warm, over HTTP, and while a fleet is taken in.

    .venv/bin/python -m tests.bench.bench_store_at_size --folder DIR [--hosts 1000 --services 20 --hours 24]

The folder is filled first (tests/bench/fleet_at_size.py) unless it is; it is kept, so that a second run only asks.
"Cold" is the first question of a new process whose store is not in the page cache, "warm" the best of three more.
CPU time is beside the clock's: it is what to compare where other programs run.
Over HTTP, `fleetprof up` answers, each time another range that ends within an hour; then again while as many
simulated agents push as the store has hosts, in real time. Each figure stands beside its bar.
"""

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from collector.query.flame import build_flame, to_wire
from collector.query.model import Matcher, Query, TimeRange
from collector.query.querier import Querier
from collector.store.chdb import ChdbStore
from fleetprof.profile_types import selection
from query_ui.api.compare import Shape, compare_with_profiles, diff_json
from tests.bench.fleet_at_size import HOUR_S, Size, fill

REPEATS = 3
_SIZE = "size.json"


@dataclass(frozen=True)
class Place:
    """What the questions are about: a service with two versions, a function of it, and when."""

    service: str
    versions: tuple[str, str]
    function: str
    end_s: int
    hours: int

    def query(self, hours: int, service: bool = True, version: int | None = None) -> Query:
        """The CPU of the last `hours`, of the service and of one of its versions."""
        matchers: tuple[Matcher, ...] = (Matcher("service", "=", self.service),) if service else ()
        if version is not None:
            matchers += (Matcher("version", "=", self.versions[version]),)
        return Query(selection("cpu"), matchers, TimeRange(self.end_s - hours * HOUR_S, self.end_s))


@dataclass(frozen=True)
class Question:
    """One line of the answer: its bar in milliseconds, how it is asked, and its address."""

    name: str
    bar_ms: int
    ask: Callable[[Querier, Place], object]
    path: str
    parameters: Callable[[Place], dict[str, str]]
    hours: int = 24


def _flame(hours: int) -> Callable[[Querier, Place], object]:
    return lambda querier, place: to_wire(build_flame(querier.profile(place.query(hours))))


def _top(hours: int) -> Callable[[Querier, Place], object]:
    return lambda querier, place: querier.top(place.query(hours, service=False), limit=50)


def _diff(hours: int) -> Callable[[Querier, Place], object]:
    def ask(querier: Querier, place: Place) -> object:
        a, b = (place.query(hours, version=number) for number in (0, 1))
        return diff_json(*compare_with_profiles(querier, a, b, "share"), Shape(200, 0.0005, ()))

    return ask


def _of_service(place: Place) -> dict[str, str]:
    return {"query": f'service="{place.service}"'}


def _versions(place: Place) -> dict[str, str]:
    return {
        f"{side}_query": f'service="{place.service}",version="{version}"'
        for side, version in zip("ab", place.versions, strict=True)
    }


def _everything(place: Place) -> dict[str, str]:
    return {}


def _labels(name: str) -> Question:
    def ask(querier: Querier, place: Place) -> object:
        return querier.label_values(name, place.query(place.hours).range)

    return Question(f"values of label {name}", 50, ask, f"/api/v1/labels/{name}/values", _everything)


QUESTIONS = (
    Question("flame graph of a service, 1 h", 1000, _flame(1), "/api/v1/profile", _of_service, 1),
    Question("flame graph of a service, 24 h", 1000, _flame(24), "/api/v1/profile", _of_service),
    Question("top 50 of the fleet, 1 h", 1000, _top(1), "/api/v1/top", _everything, 1),
    Question("top 50 of the fleet, 24 h", 1000, _top(24), "/api/v1/top", _everything),
    Question("release diff, 1 h", 1000, _diff(1), "/api/v1/diff", _versions, 1),
    Question("release diff, 24 h", 1000, _diff(24), "/api/v1/diff", _versions),
    _labels("service"),
    _labels("host"),
    Question(
        "a service by version a minute, 24 h", 1000,
        lambda querier, place: querier.series(place.query(24), 60, "version"),
        "/api/v1/series", lambda place: _of_service(place) | {"group_by": "version", "points": "2000"},
    ),
    Question(
        "share of a function a minute, 24 h", 1000,
        lambda querier, place: querier.function_share(place.query(24), 60, place.function),
        "/api/v1/series", lambda place: _of_service(place) | {"function": place.function, "points": "2000"},
    ),
    Question(
        "figures of the fleet, 24 h", 1000,
        lambda querier, place: querier.summary(place.query(24, service=False)), "/api/v1/summary", _everything,
    ),
)  # fmt: skip


def find_place(store: ChdbStore, size: Size) -> Place:
    """The heaviest service of which two versions ran at once, until when they did, and a heavy function of it.

    Agents that pushed in an earlier run went on from there, perhaps with other versions.
    """
    found = store.query(
        (
            "SELECT service, toString(groupArray(version)) AS names, count() AS n, min(last_s) AS end_s FROM"
            " (SELECT service, version, sum(value) AS v, toUInt32(min(ts)) AS first_s, toUInt32(max(ts)) AS last_s"
            " FROM stack_1h"
            " WHERE type = 'cpu' GROUP BY service, version ORDER BY version)"
            " GROUP BY service HAVING n = 2 AND max(first_s) <= min(last_s) ORDER BY sum(v) DESC LIMIT 1",
            {},
        )
    )
    service, end_s = str(found["service"][0]), (int(found["end_s"][0]) // HOUR_S + 1) * HOUR_S
    first, second = re.findall(r"'([^']*)'", str(found["names"][0]))
    heavy = store.query(
        (
            "SELECT named FROM (SELECT func AS id, sum(total) AS t FROM func_1h WHERE service = %(s)s"
            " AND type = 'cpu' GROUP BY func) AS x ANY INNER JOIN (SELECT id, any(function) AS named"
            " FROM frames WHERE function != '' GROUP BY id) AS y USING id ORDER BY t DESC LIMIT 1 OFFSET 30",
            {"s": service},
        )
    )
    return Place(service, (first, second), str(heavy["named"][0]), end_s, size.hours)


def ask_here(data: Path, name: str, place: Place) -> dict[str, float]:
    """Times of one question, asked in this process: the first and the best further one in ms, of the clock and of
    CPUs, and the most memory in MB with and before it."""
    question = next(each for each in QUESTIONS if each.name == name)
    store = ChdbStore(data)
    try:
        querier = Querier(store)
        idle = peak_mb(os.getpid())
        took, used = [], []
        for _ in range(1 + REPEATS):
            began, cpu_began = time.perf_counter(), time.process_time()
            question.ask(querier, place)
            took.append((time.perf_counter() - began) * 1000)
            used.append((time.process_time() - cpu_began) * 1000)
    finally:
        store.close()
    peak = peak_mb(os.getpid())
    return {
        "cold": took[0], "warm": min(took[1:]), "cold_cpu": used[0], "warm_cpu": min(used[1:]),
        "peak_mb": peak, "idle_mb": idle,
    }  # fmt: skip


def peak_mb(pid: int) -> float:
    """The most memory that a process had at a time."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+)", status)
    return int(found[1]) / 1024 if found else 0.0


def evict(folder: Path) -> None:
    """Take a folder's files out of the page cache."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def ask_alone(data: Path, place: Place) -> None:
    """Each question in a process of its own."""
    head = f"{'':40}{'bar':>8}{'cold':>10}{'CPU':>10}{'warm':>10}{'CPU':>10}"
    print(f"\n{head}{'most memory':>15}, before it")
    for question in QUESTIONS:
        evict(data)
        command = [sys.executable, "-m", "tests.bench.bench_store_at_size", "--folder", str(data.parent)]
        command += ["--ask", question.name, "--place", json.dumps(asdict(place))]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            print(f"{question.name:40}{question.bar_ms:>8} failed: {done.stderr.strip().splitlines()[-1]}")
            continue
        found = json.loads(done.stdout.splitlines()[-1])
        print(
            f"{question.name:40}{question.bar_ms:>5} ms"
            + "".join(f"{found[name]:>7.0f} ms" for name in ("cold", "cold_cpu", "warm", "warm_cpu"))
            + f"{found['peak_mb']:>12.0f} MB{found['idle_mb']:>8.0f} MB",
            flush=True,
        )


@contextmanager
def serving(data: Path) -> Iterator[tuple[int, int, int]]:
    """`fleetprof up` on the store: (HTTP port, gRPC port, process)."""
    http, grpc = _free_port(), _free_port()
    program = str(Path(sys.executable).parent / "fleetprof")
    command = [program, "up", "--no-agent", "--data", str(data), "--http", f"127.0.0.1:{http}"]
    with subprocess.Popen([*command, "--grpc", f"127.0.0.1:{grpc}"], stdout=subprocess.DEVNULL) as process:
        try:
            deadline_s = time.monotonic() + 120
            while not _ready(http):
                if time.monotonic() > deadline_s or process.poll() is not None:
                    raise RuntimeError("The collector does not answer.")
                time.sleep(0.2)
            yield http, grpc, process.pid
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(120)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _ready(port: int) -> bool:
    try:
        return bool(urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5).status == 200)
    except OSError:
        return False


def ask_over_http(port: int, place: Place) -> dict[str, str]:
    """Question → best of the times, as text. Each time asks for another range: answers are kept for a while."""
    found = {}
    for question in QUESTIONS:
        took = []
        try:
            for number in range(REPEATS):
                end_s = place.end_s - 600 - 10 * number
                parameters = question.parameters(place) | {
                    "from": str(end_s - question.hours * HOUR_S), "to": str(end_s),
                }  # fmt: skip
                url = f"http://127.0.0.1:{port}{question.path}?{urllib.parse.urlencode(parameters)}"
                began = time.perf_counter()
                urllib.request.urlopen(url, timeout=120).read()
                took.append((time.perf_counter() - began) * 1000)
            found[question.name] = f"{min(took):.0f} ms"
        except urllib.error.HTTPError as error:
            found[question.name] = f"{error.code} {error.read(200)!r}"
    return found


def ask_served(data: Path, place: Place, size: Size) -> None:
    """Over HTTP, alone and while agents push."""
    with serving(data) as (http, grpc, pid):
        alone = ask_over_http(http, place)
        with pushing(grpc, size):
            beside = ask_over_http(http, place)
        memory = peak_mb(pid)
    print(f"\n{'over HTTP, ranges that end in an hour':40}{'bar':>8}{'alone':>10}{'with ingest':>14}")
    for question in QUESTIONS:
        print(
            f"{question.name:40}{question.bar_ms:>5} ms{alone[question.name]:>10}{beside[question.name]:>14}"
        )
    print(f"most memory of the collector: {memory:.0f} MB")


@contextmanager
def pushing(port: int, size: Size) -> Iterator[None]:
    """As many agents as the store has hosts, in real time."""
    program = str(Path(sys.executable).parent / "fleetprof")
    command = [program, "simulate", "--server", f"127.0.0.1:{port}", "--rate", "realtime", "--hours", "1"]
    command += ["--hosts", str(size.hosts), "--services", str(size.services), "--seed", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            _await_line(process, "rows/s")
            yield
        finally:
            process.send_signal(signal.SIGINT)
            said, _ = process.communicate(timeout=60)
            print("\n" + "\n".join(said.splitlines()[:2]))


def _await_line(process: "subprocess.Popen[str]", word: str) -> None:
    """Until the process says a line with `word` on its standard error, which it does when it pushes."""
    assert process.stderr
    for line in process.stderr:
        if word in line and " 0 rows/s" not in line:
            return
    raise RuntimeError("The simulated agents ended.")


def main(folder: Path, size: Size) -> None:
    """Fill where nothing is yet, then ask."""
    data, noted = folder / "data", folder / _SIZE
    if noted.exists():
        size = Size(**json.loads(noted.read_text()))
    else:
        fill(data, size)
        noted.write_text(json.dumps(asdict(size)))
    store = ChdbStore(data)
    try:
        rows = store.query(
            (
                "SELECT table, sum(rows) AS n, sum(bytes_on_disk) AS b, count() AS parts FROM system.parts"
                " WHERE active AND database = currentDatabase() GROUP BY table ORDER BY b DESC LIMIT 8",
                {},
            )
        )
        place = find_place(store, size)
    finally:
        store.close()
    print(f"{size.text}\n{place}")
    for table, count, size_bytes, parts in zip(*(rows[name].tolist() for name in rows), strict=True):
        print(f"  {table:12}{count:>14} rows{size_bytes / 1e6:>10.0f} MB{parts:>6} parts")
    ask_alone(data, place)
    ask_served(data, place, size)


def test_store_at_size(tmp_path: Path) -> None:
    """A small one, so that `make bench` stays short."""
    main(tmp_path, Size(hosts=20, services=8, hours=3, seeds=4))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    for each in ("hosts", "services", "hours", "every", "seeds"):
        parser.add_argument(f"--{each}", type=int, default=getattr(Size(), each))
    parser.add_argument("--ask", help=argparse.SUPPRESS)
    parser.add_argument("--place", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.ask:
        where = json.loads(given.place)
        print(json.dumps(ask_here(given.folder / "data", given.ask, Place(**where))))
    else:
        main(given.folder, Size(given.hosts, given.services, given.hours, given.every, given.seeds))
