"""Rows a second through gRPC into chDB, and CPU time a row, against the same rows inserted raw, in the same run.

    make bench        or        .venv/bin/python -m tests.bench.bench_ingest [HOSTS] [WINDOWS]

The sender is a process of its own, with requests encoded before the clock starts; each host sends one window after
the other. Each has 4 of 20 services and up to 100 distinct stacks of 10-60 frames of each in a window. The CPU
time is the figure to compare: rows a second depend on what else runs (2 cores have 2 CPU-s a second, the
sender's share included).
"""

import multiprocessing
import resource
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from fleetprof.frames import Frame, FrameKind, frame_id, stack_id
from fleetprof.series import series_id
from fleetprof.v1 import ingest_pb2
from tests.store.pushes import define

SERVICES = 20
STACKS = 5000
FUNCTIONS = 4000
ROWS_A_SERVICE = 100
SERVICES_A_HOST = 4
BASES = 32
"""Hosts whose windows are drawn."""


@dataclass
class Fleet:
    """Stacks of each service, shared by its hosts."""

    stacks: list[dict[int, list[Frame]]]

    @classmethod
    def invent(cls) -> "Fleet":
        chance = np.random.default_rng(1)
        frames = [
            Frame(FrameKind.NATIVE, f"project::module{n % 97}::function_{n}", "app") for n in range(FUNCTIONS)
        ]
        ids = [frame_id(frame) for frame in frames]
        stacks = []
        for _ in range(SERVICES):
            picks = (chance.integers(0, FUNCTIONS, chance.integers(10, 60)).tolist() for _ in range(STACKS))
            stacks.append({stack_id([ids[n] for n in pick]): [frames[n] for n in pick] for pick in picks})
        return cls(stacks)


def requests_of(fleet: Fleet, host: int, windows: int, start_s: int) -> list[bytes]:
    """A host's windows, encoded; the first defines all of its stacks."""
    chance = np.random.default_rng(host)
    services = chance.choice(SERVICES, SERVICES_A_HOST, replace=False).tolist()
    labels = [
        {"host": f"host-{host}", "service": f"service-{n}", "version": "1.0", "process": "app"}
        for n in services
    ]
    requests, used = [], dict[int, list[Frame]]()
    for number in range(windows):
        request = ingest_pb2.PushRequest(
            protocol_version=1, agent_id=f"agent-{host}", run_id=1, sequence=number + 1
        )
        window = request.window
        window.start_unix_ns, window.host = (start_s + 10 * number) * 10**9, f"host-{host}"
        window.covered_ns, window.cpu_count = 10**10, 8
        window.series_ids.extend(series_id(each) for each in labels)
        samples = window.samples
        for place, service in enumerate(services):
            known = list(fleet.stacks[service])
            ranks = np.minimum(chance.zipf(1.3, ROWS_A_SERVICE * 4), STACKS) - 1
            chosen = [known[rank] for rank in np.unique(ranks)[:ROWS_A_SERVICE].tolist()]
            used.update((stack, fleet.stacks[service][stack]) for stack in chosen)
            samples.stack.extend(range(len(window.stack_ids), len(window.stack_ids) + len(chosen)))
            window.stack_ids.extend(chosen)
            samples.series.extend([place] * len(chosen))
            counts = chance.integers(1, 4, len(chosen))
            samples.type.extend([1] * len(chosen))
            scale = chance.normal(1.0, 0.05)  # to the exact time on CPU
            samples.value.extend((counts * 10_101_010 * scale).astype(np.int64).tolist())
            samples.captures.extend(counts.tolist())
            samples.offset_count.extend(counts.tolist())
            samples.offsets.extend(chance.integers(0, 300, int(counts.sum())).tolist())
        requests.append(request)
    define(requests[0].definitions, list(used.values()), labels)
    return [request.SerializeToString() for request in requests]


def all_requests(hosts: int, windows: int, start_s: int) -> list[list[bytes]]:
    """Each host's windows. Only BASES hosts are drawn; others run the same under their own name."""
    fleet = Fleet.invent()
    bases = [requests_of(fleet, host, windows, start_s) for host in range(min(hosts, BASES))]
    return [
        [renamed(data, host) if host >= BASES else data for data in bases[host % BASES]]
        for host in range(hosts)
    ]


def renamed(data: bytes, host: int) -> bytes:
    """A host's request as that of another one. Its stacks need no definition; its series do."""
    request = ingest_pb2.PushRequest.FromString(data)
    request.agent_id, request.window.host = f"agent-{host}", f"host-{host}"
    chance = np.random.default_rng(host % BASES)
    labels = [
        {"host": f"host-{host}", "service": f"service-{n}", "version": "1.0", "process": "app"}
        for n in chance.choice(SERVICES, SERVICES_A_HOST, replace=False).tolist()
    ]
    del request.window.series_ids[:]
    request.window.series_ids.extend(series_id(each) for each in labels)
    if request.HasField("definitions"):
        request.ClearField("definitions")
        define(request.definitions, [], labels)
    return request.SerializeToString()


def send(address: str, hosts: int, windows: int, start_s: int, go: Any, counts: Any) -> None:
    """A process of agents: first their definitions, then, after `go`, every window of every host, in order."""
    requests = all_requests(hosts, windows + 1, start_s)
    rows = sum(
        len(ingest_pb2.PushRequest.FromString(data).window.samples.value)
        for each in requests
        for data in each[1:]
    )
    channel = grpc.insecure_channel(address, options=[("grpc.max_send_message_length", 64 << 20)])
    push = channel.unary_unary("/fleetprof.v1.IngestService/Push")
    done, answered = threading.Semaphore(0), [0]

    def next_window(host: int, number: int) -> None:
        if number > windows:
            done.release()
            return
        push.future(requests[host][number], timeout=60).add_done_callback(
            lambda call: (call.result(), next_window(host, number + 1))
        )

    for first in range(0, hosts, BASES):
        calls = [
            push.future(requests[host][0], timeout=60) for host in range(first, min(first + BASES, hosts))
        ]
        answered[0] += sum(ingest_pb2.PushResponse.FromString(call.result()).status for call in calls)
    assert answered[0] == hosts * ingest_pb2.PushResponse.STATUS_ACCEPTED
    counts.put(rows)
    go.wait()
    cpu_s = time.process_time()
    for host in range(hosts):
        next_window(host, 1)
    for _ in range(hosts):
        done.acquire()
    counts.put(time.process_time() - cpu_s)


def measure(hosts: int, windows: int, folder: Path) -> None:
    """Print rows a second and CPU time by both ways, memory and bytes."""
    from collector.collector import Collector
    from collector.config import TABLE, CollectorConfig
    from fleetprof.settings import load_settings

    start_s = int(time.time()) // 10 * 10 - 10 * (windows + 10)
    context = multiprocessing.get_context("spawn")
    go, counts = context.Event(), context.Queue()
    flags = {"grpc": "127.0.0.1:0", "data": str(folder)}
    collector = Collector(load_settings(TABLE, CollectorConfig, flags, {}).config)
    collector.start()
    arguments = (f"127.0.0.1:{collector.grpc_port}", hosts, windows, start_s, go, counts)
    sender = context.Process(target=send, args=arguments)
    sender.start()
    rows = counts.get()
    cpu_s, began = time.process_time(), time.perf_counter()
    go.set()
    sent_s = counts.get()
    through_s = time.perf_counter() - began
    assert collector.flush()
    cpu_s = time.process_time() - cpu_s
    sender.join()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    bytes_a_row = stored_bytes(collector.store)
    raw_rows, raw_s, raw_cpu_s = insert_raw(collector.store)
    collector.stop()
    print(f"\n{hosts} hosts x {windows} windows, {rows} sample rows, {rows / hosts / windows:.0f} a window")
    print(f"gRPC into chDB, with roll-ups: {rows / through_s:12,.0f} rows/s")
    print(
        f"collector's CPU: {cpu_s / rows * 1e6:.2f} s a million rows, the sender's {sent_s / rows * 1e6:.2f}"
    )
    print(f"most memory: {peak} MiB; on disk: {bytes_a_row}")
    print(f"raw chDB insert, samples only: {raw_rows / raw_s:12,.0f} rows/s")
    print(f"CPU of raw insert: {raw_cpu_s / raw_rows * 1e6:.2f} s a million rows")
    print(f"ratio of CPU {cpu_s / rows / (raw_cpu_s / raw_rows):.1f}")


def stored_bytes(store: Any) -> str:
    """Bytes a sample row of each larger table, once merged."""
    for table in ("samples", "stack_1h", "func_1h", "series_1m", "stacks"):
        store.execute((f"OPTIMIZE TABLE {table} FINAL", {}))
    found = store.query(
        (
            "SELECT table, sum(bytes_on_disk) AS bytes FROM system.parts WHERE active AND database ="
            " currentDatabase() GROUP BY table ORDER BY bytes DESC LIMIT 5",
            {},
        )
    )
    rows = int(store.query(("SELECT count() AS n FROM samples", {}))["n"][0])
    sizes = zip(found["table"], found["bytes"].tolist(), strict=True)
    return ", ".join(f"{table} {size / rows:.2f}" for table, size in sizes) + " bytes a sample row"


def insert_raw(store: Any) -> tuple[int, float, float]:
    """Insert what table samples holds once more, in blocks of 200,000; (rows, seconds, CPU-seconds)."""
    table = store.query_arrow(("SELECT * FROM samples", {}))
    store.execute(("CREATE TABLE samples_raw AS samples", {}))
    cpu_s, began = time.process_time(), time.perf_counter()
    for first in range(0, table.num_rows, 200_000):
        store.insert("samples_raw", table.slice(first, 200_000), "")
    return table.num_rows, time.perf_counter() - began, time.process_time() - cpu_s


def test_ingest_throughput(tmp_path: Path) -> None:
    measure(512, 8, tmp_path / "data")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        measure(*(int(each) for each in sys.argv[1:] or ("512", "8")), Path(folder) / "data")
