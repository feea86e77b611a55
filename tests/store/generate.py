"""Fills a store with an invented fleet: consistent samples, definitions, windows and roll-ups.

`Fleet` says how large; `make_rows` draws the rows (columns, so that millions are quick); `insert` writes them
and all that follows from them. Tests compare answers with sums over the very same rows.
"""

import uuid
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from collector.store.columns import from_ragged
from collector.store.interface import Store
from fleetprof.frames import Frame, FrameKind, frame_id, stack_id
from fleetprof.losses import DropReason
from fleetprof.series import KNOWN_LABELS, series_id

WINDOW_S = 10
TYPES = ("cpu", "runq", "offcpu")


@dataclass(frozen=True)
class Fleet:
    """How much to invent. Rows are `rows_a_window` draws per host and window, equal ones added up."""

    start_s: int
    windows: int
    services: tuple[str, ...]
    hosts: int = 3
    versions: tuple[str, ...] = ("1.0", "1.1")
    regions: tuple[str, ...] = ("eu", "us")
    threads: tuple[str, ...] = ("main", "worker")
    free: dict[str, tuple[str, ...]] = field(default_factory=lambda: {"tier": ("", "gold")})
    functions: int = 12
    stacks: int = 20
    depth: tuple[int, int] = (1, 8)
    rows_a_window: int = 20
    types: tuple[str, ...] = TYPES
    unsampled_share: float = 0.1
    undefined_stacks: int = 0
    missing_windows_share: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Rows:
    """Samples as columns of codes, and what the codes mean. Row i: labels[series[i]], stacks[stack[i]]."""

    fleet: Fleet
    labels: list[dict[str, str]]
    frames: list[Frame]
    stacks: list[tuple[int, ...]]
    """Places in `frames`, leaf first; 0 is the empty one. The last `undefined_stacks` have no definition."""
    ts: npt.NDArray[np.int64]
    series: npt.NDArray[np.int64]
    type: npt.NDArray[np.int64]
    """Places in TYPES."""
    stack: npt.NDArray[np.int64]
    value: npt.NDArray[np.uint64]
    captures: npt.NDArray[np.uint64]
    reported: list[tuple[str, int]]
    """(host, second) of each window that was received."""

    def __len__(self) -> int:
        return len(self.ts)


def make_rows(fleet: Fleet) -> Rows:
    """Draw the rows of `fleet`; the same seed gives the same rows."""
    random = np.random.default_rng(fleet.seed)
    labels = _labels(fleet, random)
    frames = _frames(fleet)
    stacks: list[tuple[int, ...]] = [()]
    depths = random.integers(fleet.depth[0], fleet.depth[1] + 1, fleet.stacks + fleet.undefined_stacks)
    stacks += [tuple(random.integers(0, len(frames), depth).tolist()) for depth in depths]
    stacks = list(dict.fromkeys(stacks))
    hosts = sorted({each["host"] for each in labels})
    received = [
        (host, fleet.start_s + window * WINDOW_S)
        for host in hosts
        for window in range(fleet.windows)
        if random.random() >= fleet.missing_windows_share
    ]
    columns = _draw(fleet, random, labels, len(stacks), received)
    return Rows(fleet, labels, frames, stacks, *columns, reported=received)


def _labels(fleet: Fleet, random: np.random.Generator) -> list[dict[str, str]]:
    """One process a service, host and thread: every host runs every service in one version."""
    found = []
    for number in range(fleet.hosts):
        for service in fleet.services:
            version = fleet.versions[random.integers(len(fleet.versions))]
            for thread in fleet.threads:
                labels = {
                    "host": f"{fleet.services[0]}-host-{number}",
                    "service": service,
                    "version": version,
                    "region": fleet.regions[number % len(fleet.regions)],
                    "process": "app",
                    "thread": thread,
                }
                for name, values in fleet.free.items():
                    labels[name] = values[random.integers(len(values))]
                found.append(labels)
    return found


def _frames(fleet: Fleet) -> list[Frame]:
    """Named functions of several kinds, one of them twice in another file, and some without a name."""
    kinds = (FrameKind.NATIVE, FrameKind.KERNEL, FrameKind.PYTHON)
    frames = []
    for number in range(fleet.functions):
        kind = kinds[number % 3]
        mapping = f"lib{number % 5}.so"
        if number % 7 == 3:
            frames.append(Frame(kind, "", mapping, "ab12", 0x1000 + number))
        else:
            frames.append(Frame(kind, f"function_{number // 2 * 2}", mapping, "", 0, "src.c", number))
    return list(dict.fromkeys(frames))


def _draw(
    fleet: Fleet,
    random: np.random.Generator,
    labels: list[dict[str, str]],
    stacks: int,
    received: list[tuple[str, int]],
) -> tuple[npt.NDArray[Any], ...]:
    by_host: dict[str, list[int]] = {}
    for number, each in enumerate(labels):
        by_host.setdefault(each["host"], []).append(number)
    series_of = np.array([by_host[host] for host, _ in received], np.int64)
    count = len(received) * fleet.rows_a_window
    window = np.repeat(np.arange(len(received)), fleet.rows_a_window)
    ts = np.array([second for _, second in received], np.int64)[window]
    series = series_of[window, random.integers(0, series_of.shape[1], count)] if len(received) else window
    stack = (stacks - 1) * random.random(count) ** 3
    stack = np.where(random.random(count) < fleet.unsampled_share, 0, 1 + stack.astype(np.int64))
    kind = np.array([TYPES.index(name) for name in fleet.types])[random.integers(0, len(fleet.types), count)]
    value = random.integers(1, 10**9, count).astype(np.uint64)
    captures = np.where(stack == 0, 0, random.integers(1, 9, count)).astype(np.uint64)
    keys = np.stack([ts, series, kind, stack])
    distinct, place = np.unique(keys, axis=1, return_inverse=True)
    sums = [np.zeros(distinct.shape[1], np.uint64) for _ in range(2)]
    np.add.at(sums[0], place.ravel(), value)
    np.add.at(sums[1], place.ravel(), captures)
    return (*distinct, *sums)


def insert(store: Store, rows: Rows) -> None:
    """Write the rows, hour by hour, with their definitions, windows and roll-ups."""
    ids = _Ids(rows)
    _insert_definitions(store, rows, ids)
    hours = rows.ts // 3600
    for hour in np.unique(hours).tolist():
        chosen = np.flatnonzero(hours == hour)
        _put(store, "samples", _samples(rows, ids, chosen))
        _put(store, "stack_1h", _stack_1h(rows, ids, chosen))
        _put(store, "func_1h", _func_1h(rows, ids, chosen))
        _put(store, "series_1m", _series_1m(rows, ids, chosen))
    for day in sorted({second // 86400 for _, second in rows.reported}):
        _put(store, "series", _series(rows, ids, day))
        _put(store, "windows", _windows([each for each in rows.reported if each[1] // 86400 == day]))


def _put(store: Store, table: str, columns: dict[str, Any]) -> None:
    store.insert(table, columns, uuid.uuid4().hex)


class _Ids:
    """Identities of the rows' codes."""

    def __init__(self, rows: Rows) -> None:
        self.frame = np.array([frame_id(frame) for frame in rows.frames], np.uint64)
        frame_ids = self.frame.tolist()
        self.stack = np.array(
            [stack_id([frame_ids[place] for place in stack]) for stack in rows.stacks], np.uint64
        )
        self.series = np.array([series_id(labels) for labels in rows.labels], np.uint64)
        first_undefined = len(rows.stacks) - rows.fleet.undefined_stacks
        once = [dict.fromkeys(stack) if i < first_undefined else {} for i, stack in enumerate(rows.stacks)]
        self.function_starts = np.cumsum([0, *(len(stack) for stack in once)])
        self.functions = np.array([place for stack in once for place in stack], np.int64)
        """Functions of each stack, each once and the leaf first; none of the empty and undefined ones."""


def _insert_definitions(store: Store, rows: Rows, ids: _Ids) -> None:
    frames = rows.frames
    now = rows.fleet.start_s
    _put(
        store,
        "frames",
        {
            "id": ids.frame,
            "kind": [int(frame.kind) for frame in frames],
            **{name: [getattr(f, name) for f in frames] for name in ("function", "mapping", "build_id")},
            "offset": np.array([frame.offset for frame in frames], np.uint64),
            "file": [frame.file for frame in frames],
            "line": [frame.line for frame in frames],
            "updated": np.full(len(frames), now, np.uint32),
        },
    )
    defined = range(1, len(rows.stacks) - rows.fleet.undefined_stacks)
    flat = ids.frame[[place for number in defined for place in rows.stacks[number]]]
    for service in rows.fleet.services:
        _put(
            store,
            "stacks",
            {
                "service": _words(np.zeros(len(defined), np.int64), [service]),
                "stack": ids.stack[list(defined)],
                "last_seen": np.full(len(defined), now, np.uint32),
                "frames": from_ragged(flat, [len(rows.stacks[number]) for number in defined]),
            },
        )


def _words(codes: npt.NDArray[Any], texts: list[str]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(texts, pa.string()))


def _label(rows: Rows, name: str, series: npt.NDArray[np.int64]) -> pa.Array:
    codes: dict[str, int] = {}  # an Arrow dictionary must not hold a text twice
    of_series = np.array([codes.setdefault(labels.get(name, ""), len(codes)) for labels in rows.labels])
    return _words(of_series[series], list(codes))


def _samples(rows: Rows, ids: _Ids, chosen: npt.NDArray[np.int64]) -> dict[str, Any]:
    series = rows.series[chosen]
    return {
        "ts": rows.ts[chosen],
        "service": _label(rows, "service", series),
        "type": _words(rows.type[chosen], list(TYPES)),
        "series": ids.series[series],
        "stack": ids.stack[rows.stack[chosen]],
        "value": rows.value[chosen],
        "captures": rows.captures[chosen],
        "offsets": from_ragged(np.empty(0, np.uint16), np.zeros(len(chosen), np.int64)),
    }


def _stack_1h(rows: Rows, ids: _Ids, chosen: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Not summed: the table's engine, or sum() in a query, does that."""
    series = rows.series[chosen]
    return {
        "ts": rows.ts[chosen] // 3600 * 3600,
        "type": _words(rows.type[chosen], list(TYPES)),
        **{name: _label(rows, name, series) for name in ("service", "version", "region")},
        "stack": ids.stack[rows.stack[chosen]],
        "value": rows.value[chosen],
        "captures": rows.captures[chosen],
    }


def _func_1h(rows: Rows, ids: _Ids, chosen: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Sums by series and function of one hour's rows, a function once a stack."""
    stack = rows.stack[chosen]
    depth = np.diff(ids.function_starts)[stack]
    row = np.repeat(chosen, depth)
    inner = np.arange(depth.sum()) - np.repeat(np.cumsum(depth) - depth, depth)
    function = ids.functions[np.repeat(ids.function_starts[stack], depth) + inner]
    keys = (rows.series[row] * len(TYPES) + rows.type[row]) * len(rows.frames) + function
    distinct, place = np.unique(keys, return_inverse=True)
    own, total = np.zeros(len(distinct), np.uint64), np.zeros(len(distinct), np.uint64)
    np.add.at(own, place[inner == 0], rows.value[row[inner == 0]])
    np.add.at(total, place, rows.value[row])
    rest, function = np.divmod(distinct, len(rows.frames))
    series, kind = np.divmod(rest, len(TYPES))
    return {
        "ts": np.full(len(distinct), rows.ts[chosen[0]] // 3600 * 3600),
        "type": _words(kind, list(TYPES)),
        **{name: _label(rows, name, series) for name in ("service", "version", "region")},
        "func": ids.frame[function],
        "self": own,
        "total": total,
    }


def _series_1m(rows: Rows, ids: _Ids, chosen: npt.NDArray[np.int64]) -> dict[str, Any]:
    series = rows.series[chosen]
    return {
        "ts": rows.ts[chosen] // 60 * 60,
        "service": _label(rows, "service", series),
        "type": _words(rows.type[chosen], list(TYPES)),
        "series": ids.series[series],
        "value": rows.value[chosen],
        "captures": rows.captures[chosen],
    }


def _series(rows: Rows, ids: _Ids, day: int) -> dict[str, Any]:
    free = [
        {name: text for name, text in sorted(labels.items()) if name not in KNOWN_LABELS and text}
        for labels in rows.labels
    ]
    return {
        "day": np.full(len(rows.labels), day, np.uint16),
        "series": ids.series,
        **{name: [labels.get(name, "") for labels in rows.labels] for name in KNOWN_LABELS},
        "free_names": [list(each) for each in free],
        "free_values": [list(each.values()) for each in free],
    }


def _windows(reported: list[tuple[str, int]]) -> dict[str, Any]:
    count = len(reported)
    seconds = np.array([second for _, second in reported], np.int64)
    numbers = {
        "run_id": 1,
        "covered_ns": WINDOW_S * 10**9,
        "cpu_count": 4,
        "cpu_exact": 1,
        "period_ns": 10_101_010,
        "rows": 1,
        "agent_cpu_ns": 5_000_000,
        "agent_bpf_ns": 1_000_000,
        "agent_rss_bytes": 40 << 20,
        "agent_map_bytes": 8 << 20,
    }
    return {
        "ts": seconds,
        "agent_id": [host for host, _ in reported],
        "host": [host for host, _ in reported],
        "sequence": seconds // WINDOW_S,
        "received_at": seconds + 12,
        **{name: np.full(count, value, np.uint64) for name, value in numbers.items()},
    }


def insert_losses(store: Store, second: int, host: str, reason: DropReason, count: int) -> None:
    """Count a loss of one host."""
    loss = {"ts": [second], "host": [host], "origin": ["agent"], "reason": [reason.label], "count": [count]}
    _put(store, "losses", loss)
