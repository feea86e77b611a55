"""The same rows and questions on embedded ClickHouse and on a server (Debian's 18.16), in one run: rows/s and ms.

The server's figures are ratios to the embedded one's: the machine's own speed falls out. Samples are inserted as
the collector does, blocks of columns with dictionaries for text.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from collector.store.chdb import ChdbStore
from collector.store.columns import from_ragged
from collector.store.interface import Store
from collector.store.migrate import migrate
from collector.store.open import open_store
from tests.store.clickhouse_server import ClickHouseServer

BLOCKS = 8
ROWS = 250_000
SERVICES, SERIES, STACKS, DEPTH = 20, 2_000, 20_000, 28
START_S = 1_699_999_200  # a whole hour


def words(values: np.ndarray, texts: list[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(values.astype(np.int32)), pa.array(texts))


def samples(random: np.random.Generator) -> dict[str, Any]:
    service = random.integers(0, SERVICES, ROWS)
    stack = (STACKS * random.random(ROWS) ** 3).astype(np.uint64)
    return {
        "ts": (START_S + 10 * random.integers(0, 360, ROWS)).astype(np.uint32),
        "service": words(service, [f"service-{number}" for number in range(SERVICES)]),
        "type": words(random.integers(0, 3, ROWS), ["cpu", "runq", "offcpu"]),
        "series": random.integers(0, SERIES, ROWS).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15),
        "stack": (stack + np.uint64(1)) * np.uint64(0xD1B54A32D192ED03),
        "value": random.integers(1, 10**9, ROWS).astype(np.uint64),
        "captures": random.integers(0, 5, ROWS).astype(np.uint32),
        "offsets": from_ragged(random.integers(0, 1000, 2 * ROWS).astype(np.uint16), np.full(ROWS, 2)),
    }


def stacks(random: np.random.Generator) -> dict[str, Any]:
    count = SERVICES * STACKS // 10
    return {
        "service": words(np.arange(count) % SERVICES, [f"service-{number}" for number in range(SERVICES)]),
        "stack": (np.arange(count, dtype=np.uint64) // np.uint64(SERVICES) + np.uint64(1))
        * np.uint64(0xD1B54A32D192ED03),
        "last_seen": np.full(count, START_S, np.uint32),
        "frames": from_ragged(
            random.integers(0, 2**63, count * DEPTH).astype(np.uint64), np.full(count, DEPTH)
        ),
    }


QUESTIONS = {
    "sums by stack, one service": "SELECT stack, sum(value) AS v FROM samples WHERE service = 'service-3'"
    " AND type = 'cpu' GROUP BY stack",
    "and their frames": "SELECT stack, v, frames FROM (SELECT stack, sum(value) AS v FROM samples"
    " WHERE service = 'service-3' AND type = 'cpu' GROUP BY stack) AS x ALL INNER JOIN (SELECT stack,"
    " any(frames) AS frames FROM stacks WHERE service = 'service-3' GROUP BY stack) AS y USING stack",
    "minutes of one service": "SELECT toStartOfMinute(ts) AS m, sum(value) AS v FROM samples"
    " WHERE service = 'service-3' GROUP BY m ORDER BY m",
    "one number": "SELECT 1 AS one",
}


def seconds(work: Callable[[], Any], times: int = 1) -> float:
    """The least of several runs."""
    best = float("inf")
    for _ in range(times):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return best


def measure(store: Store) -> dict[str, float]:
    random = np.random.default_rng(1)
    blocks = [samples(random) for _ in range(BLOCKS)]
    store.insert("stacks", stacks(random), "stacks")
    found = {"insert, rows/s": 0.0}
    for number, block in enumerate(blocks):
        rate = ROWS / seconds(lambda block=block, number=number: store.insert("samples", block, str(number)))
        found["insert, rows/s"] = max(found["insert, rows/s"], rate)
    for name, sql in QUESTIONS.items():
        found[f"{name}, ms"] = 1e3 * seconds(lambda sql=sql: store.query_arrow((sql, {})), 3)
    return found


@pytest.mark.timeout(300)
def test_store(tmp_path: Path) -> None:
    server = ClickHouseServer(tmp_path / "server")
    try:
        server.wait()
        embedded: Store = ChdbStore(tmp_path / "data")
        found = {}
        for name, store in (("embedded", embedded), ("server", open_store(server.url("bench")))):
            migrate(store)
            found[name] = measure(store)
            store.close()
        for what, one in found["embedded"].items():
            other = found["server"][what]
            print(f"{what:40} embedded {one:14,.1f}   server 18.16 {other:14,.1f}   ratio {other / one:6.2f}")
    finally:
        server.kill()
