"""How many sample rows a second one collector takes through gRPC, and what CPU that costs it.

    make bench      or      .venv/bin/python -m tests.bench.bench_ingest [--store chdb|server] [--hosts N]
        [--windows N] [--scale X] [--pace max|real] [--warm-minutes N] [--code FOLDER]

The collector is a process of its own (of another source tree with --code, to compare two commits), the agents are
another one: each has a connection, sends requests that were encoded before (ingest_requests.py), and its next one
once the last is answered. CPU time is the kernel's account of each process, so it depends little on what else runs;
rows a second do, and on a machine with 2 CPUs they are what is left beside the agents' process.

How much is new in a window tells most: after --warm-minutes 10 each of the default fleet's defines 70 stacks,
after an hour 18.

--pace real: windows come as agents send them, every 10 s within 1.5 s of each other, and heartbeats every 30 s. The
figure is the collector's share of one CPU. --scale 8 makes hosts so many times as busy: thousands of rows a window.
"""

import argparse
import json
import os
import pickle
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from collector.store.interface import Store
from collector.store.open import open_store
from tests.bench.bench_agent_cost import cpu_s
from tests.bench.ingest_agents import Sent
from tests.bench.ingest_requests import encode_fleet
from tests.store.clickhouse_server import ClickHouseServer, free_port

HERE = Path(__file__).parents[2]
CPUS = os.cpu_count() or 1
START_S = 120.0
ROW_BARS = {"chdb": 500_000, "server": 300_000}
MEMORY_BAR_MIB, CADENCE_BAR = 1536, 0.5
FRESH_S = 1800
"""Requests are used again for so long: of older windows a collector asks its store whether it has them."""
RAW_ROWS = 200_000
HOSTS, WINDOWS = 128, 12


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure."""

    store: str = "chdb"
    hosts: int = HOSTS
    windows: int = WINDOWS
    scale: float = 1.0
    pace: str = "max"
    warm_minutes: int = 10
    """For how long agents ran before."""
    code: Path = HERE


class Collector:
    """A collector of the sources in `code`, in a process of its own."""

    def __init__(self, code: Path, folder: Path, store: str) -> None:
        """Start it and wait until it takes connections."""
        self.port = free_port()
        command = [sys.executable, "-m", "collector", "run", "--data", str(folder), "--log-level", "warning"]
        command += ["--grpc", f"127.0.0.1:{self.port}", *(["--store", store] if store else [])]
        path = os.pathsep.join(map(str, (code, code / "proto")))
        self.process = subprocess.Popen(command, cwd=code, env={**os.environ, "PYTHONPATH": path})
        deadline = time.monotonic() + START_S
        while not self._listens():
            assert self.process.poll() is None, "the collector ended"
            if time.monotonic() > deadline:
                self.process.kill()
                raise AssertionError("the collector does not start")
            time.sleep(0.05)

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    @property
    def cpu_s(self) -> float:
        """The CPU time that it has used."""
        return cpu_s(self.process.pid)

    @property
    def peak_mib(self) -> int:
        """Most memory that it had."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) >> 10

    def end(self) -> float:
        """Have it roll up what waits, and end; the CPU time of its life."""
        self.process.terminate()
        _, status, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        assert not self.process.returncode, "the collector failed"
        return usage.ru_utime + usage.ru_stime


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run took."""

    sent: Sent
    collector_s: float
    """CPU time of the collector until the last answer."""
    later_s: float
    """What it took then to roll up what waited, and to end."""
    server_s: float
    """CPU time of the clickhouse-server until the last answer."""
    peak_mib: int

    @property
    def cpu_a_million(self) -> float:
        """CPU seconds of the collector for a million rows, all of their roll-ups included."""
        return (self.collector_s + self.later_s) / self.sent.rows * 1e6


def requests_file(options: Options) -> Path:
    """A file with the agents' requests: that of a run before, or a new one."""
    shape = options.hosts, options.windows, options.warm_minutes, format(options.scale, "g")
    name = "-".join(map(str, ("fleetprof-ingest", os.getuid(), *shape)))
    path = Path(tempfile.gettempdir()) / f"{name}.pickle"
    if not path.exists() or time.time() - path.stat().st_mtime > FRESH_S:
        start_s = int(time.time()) // 10 * 10 - 10 * (options.windows + 3)
        warm = options.warm_minutes * 60 // 10
        calls = encode_fleet(options.hosts, options.windows, start_s, warm, options.scale)
        path.write_bytes(pickle.dumps(calls))
    return path


def run(options: Options, folder: Path, store: str, server: ClickHouseServer | None) -> Cost:
    """Have the agents send to a new collector."""
    file = requests_file(options)
    collector = Collector(options.code, folder, store)
    agents = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.ingest_agents", str(collector.port), str(file), options.pace],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=HERE, text=True,
    )  # fmt: skip
    try:
        _says(agents.stdout)
        before_s, server_s = collector.cpu_s, _server_cpu_s(server)
        assert agents.stdin
        agents.stdin.write("go\n")
        agents.stdin.flush()
        sent = Sent(**json.loads(_says(agents.stdout)))
        done_s, server_s, peak = collector.cpu_s, _server_cpu_s(server) - server_s, collector.peak_mib
        return Cost(sent, done_s - before_s, collector.end() - done_s, server_s, peak)
    finally:
        agents.kill()
        agents.wait()
        if collector.process.returncode is None:
            collector.process.kill()
            collector.process.wait()


def _says(output: IO[str] | None) -> str:
    assert output
    line = output.readline()
    assert line, "the agents' process failed"
    return line


def _server_cpu_s(server: ClickHouseServer | None) -> float:
    return cpu_s(server.process.pid) if server and server.process else 0.0


def measure(options: Options, folder: Path) -> Cost:
    """Print what a run took, beside the bars."""
    with ExitStack() as stack:
        store, server = "", None
        if options.store == "server":
            server = ClickHouseServer(folder / "server")
            stack.callback(server.kill)
            server.wait()
            store = server.url("bench")
        cost = run(options, folder / "data", store, server)
        _print(options, cost)
        if options.pace == "max":
            opened = open_store(store or folder / "data")
            stack.callback(opened.close)
            _print_raw(opened, cost)
    return cost


def _print(options: Options, cost: Cost) -> None:
    sent, bar = cost.sent, ROW_BARS[options.store]
    print(
        f"\n{options.hosts} agents that ran for {options.warm_minutes} minutes,"
        f" {sent.windows} windows of {sent.rows / sent.windows:.0f} rows"
        f" and {sent.request_bytes / sent.windows:.0f} bytes, into {options.store}; {options.code}"
    )
    if options.pace == "real":
        share = cost.collector_s / sent.seconds
        print(f"collector at the agents' own pace, {sent.seconds:.0f} s: {share:.1%} of one CPU")
        print(f"bar {CADENCE_BAR:.0%}: {'met' if share <= CADENCE_BAR else 'not met'}")
    else:
        measured, alone = sent.rows / sent.seconds, CPUS * 1e6 / cost.cpu_a_million
        print(f"measured: {measured:10,.0f} rows/s, beside the agents' process and all else; bar {bar:,}")
        print(f"reckoned: {alone:10,.0f} rows/s, were all {CPUS} CPUs the collector's and always busy")
    print(
        f"CPU of the collector: {cost.cpu_a_million:.2f} s a million rows, {cost.later_s:.1f} s after the end;"
        f" {cost.cpu_a_million * sent.rows / sent.windows / 1000:.2f} ms a window"
    )
    print(
        f"CPU of the agents' process: {sent.cpu_s / sent.rows * 1e6:.2f} s a million rows;"
        f" of the clickhouse-server: {cost.server_s / sent.rows * 1e6:.2f}"
    )
    print(
        f"a window's answer came after {sent.answer_ms[0]:.0f} ms, 99 % within {sent.answer_ms[1]:.0f} ms;"
        f" {sent.again} calls were made again"
    )
    print(f"most memory: {cost.peak_mib} MiB; bar {MEMORY_BAR_MIB}", flush=True)


def _print_raw(store: Store, cost: Cost) -> None:
    """The same rows, inserted raw: what is not ours of the cost."""
    table = store.query_arrow(("SELECT * FROM samples", {}))
    store.execute(("CREATE TABLE samples_raw AS samples", {}))
    before_s = time.process_time()
    for first in range(0, table.num_rows, RAW_ROWS):
        store.insert("samples_raw", table.slice(first, RAW_ROWS), "")
    raw = (time.process_time() - before_s) / table.num_rows * 1e6
    print(
        f"CPU of a raw insert into samples: {raw:.2f} s a million rows; ratio {cost.cpu_a_million / raw:.1f}"
    )


def test_ingest_throughput(tmp_path: Path) -> None:
    measure(Options(), tmp_path)


def test_ingest_cadence(tmp_path: Path) -> None:
    measure(Options(hosts=1000, windows=4, pace="real", warm_minutes=60), tmp_path)


def _options() -> Options:
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", choices=tuple(ROW_BARS), default="chdb")
    parser.add_argument("--hosts", type=int, default=HOSTS)
    parser.add_argument("--windows", type=int, default=WINDOWS)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--pace", choices=("max", "real"), default="max")
    parser.add_argument("--warm-minutes", type=int, default=10)
    parser.add_argument("--code", type=Path, default=HERE)
    return Options(**vars(parser.parse_args()))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        measure(_options(), Path(temporary))
