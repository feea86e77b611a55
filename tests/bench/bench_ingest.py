"""Rows a second through gRPC into chDB, against the same rows inserted raw, in the same run.

    make bench        or        .venv/bin/python -m tests.bench.bench_ingest [HOSTS] [WINDOWS]

The senders are processes of their own, with requests encoded before the clock starts. Each host has 4 of 20
services and 100 distinct stacks of 10-60 frames in each window.
"""

import multiprocessing
import os
import sys
import tempfile
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
SENDERS = 2


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
            samples.value.extend((counts * 10_101_010).tolist())
            samples.captures.extend(counts.tolist())
            samples.offset_count.extend(counts.tolist())
            samples.offsets.extend(chance.integers(0, 300, int(counts.sum())).tolist())
        requests.append(request)
    define(requests[0].definitions, list(used.values()), labels)
    return [request.SerializeToString() for request in requests]


def send(address: str, hosts: list[list[bytes]], go: Any, counts: Any) -> None:
    """A process of agents: first their definitions, then, after `go`, every window of every host."""
    from concurrent.futures import ThreadPoolExecutor

    options = [("grpc.max_send_message_length", 64 << 20)]
    channel = grpc.insecure_channel(address, options=options)
    push = channel.unary_unary("/fleetprof.v1.IngestService/Push")
    rows = sum(
        len(ingest_pb2.PushRequest.FromString(data).window.samples.value)
        for each in hosts
        for data in each[1:]
    )
    with ThreadPoolExecutor(len(hosts)) as threads:
        list(threads.map(lambda each: push(each[0], timeout=60), hosts))
        counts.put(rows)
        go.wait()
        list(threads.map(lambda each: [push(data, timeout=60) for data in each[1:]], hosts))
    counts.put(0)


def measure(hosts: int, windows: int, folder: Path) -> None:
    """Print rows a second by both ways."""
    from collector.collector import Collector
    from collector.config import TABLE, CollectorConfig
    from fleetprof.settings import load_settings

    start_s = int(time.time()) // 10 * 10 - 10 * (windows + 10)
    fleet = Fleet.invent()
    encoded = [requests_of(fleet, host, windows + 1, start_s) for host in range(hosts)]
    flags = {"grpc": "127.0.0.1:0", "data": str(folder)}
    context = multiprocessing.get_context("spawn")
    go, counts = context.Event(), context.Queue()
    collector = Collector(load_settings(TABLE, CollectorConfig, flags, {}).config)
    collector.start()
    senders = [
        context.Process(
            target=send, args=(f"127.0.0.1:{collector.grpc_port}", encoded[place::SENDERS], go, counts)
        )
        for place in range(SENDERS)
    ]
    for sender in senders:
        sender.start()
    rows = sum(counts.get() for _ in senders)
    cpu, began = sum(os.times()[:2]), time.perf_counter()
    go.set()
    for _ in senders:
        counts.get()
    through, cpu = time.perf_counter() - began, sum(os.times()[:2]) - cpu
    raw_rows, raw = insert_raw(collector.store)
    for sender in senders:
        sender.join()
    collector.stop()
    print(f"\n{hosts} hosts x {windows} windows, {rows} sample rows, {rows / hosts / windows:.0f} a window")
    print(f"gRPC into chDB, with roll-ups: {rows / through:12,.0f} rows/s")
    print(f"collector's CPU: {cpu / rows * 1e6:.2f} us a row")
    print(f"raw chDB insert, samples only: {raw_rows / raw:12,.0f} rows/s")
    print(f"ratio {rows / through / (raw_rows / raw):.2f}")


def insert_raw(store: Any) -> tuple[int, float]:
    """Insert what table samples holds once more, in blocks of 200,000; (rows, seconds)."""
    table = store.query_arrow(("SELECT * FROM samples", {}))
    store.execute(("CREATE TABLE samples_raw AS samples", {}))
    began = time.perf_counter()
    for first in range(0, table.num_rows, 200_000):
        store.insert("samples_raw", table.slice(first, 200_000), "")
    return table.num_rows, time.perf_counter() - began


def test_ingest_throughput(tmp_path: Path) -> None:
    measure(64, 60, tmp_path / "data")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        measure(*(int(each) for each in sys.argv[1:] or ("64", "60")), Path(folder) / "data")
