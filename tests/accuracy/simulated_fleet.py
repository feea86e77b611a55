"""Fleets of known truth, sent through the ingest path: hosts differ, shares are drawn, one function may grow.

A fleet is a random call tree; each function has a stack of its own and a share of the CPU (Zipf). A host's
shares vary about the fleet's, function by function and for whole subtrees at once (a host's mix of requests);
its captures are Poisson. One window a host carries the sums of `seconds` of profiling.
"""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from collector.ingest.committer import Committer
from collector.ingest.journal import Journal
from collector.ingest.known import KnownDefinitions
from collector.ingest.limits import Limits
from collector.ingest.loss_ledger import LossLedger
from collector.ingest.refusal import Later
from collector.pipeline import Pipeline
from collector.query.model import Matcher, Query, TimeRange
from collector.store.interface import Store
from fleetprof.frames import Frame, FrameKind, frame_id, stack_id
from fleetprof.profile_types import ProfileType, selection
from fleetprof.series import series_id
from fleetprof.v1 import ingest_pb2
from tests.store.pushes import WINDOW_S, define, recent_window_s

F8 = npt.NDArray[np.float64]

HZ = 99
PERIOD_NS = 10_101_010
SERVICE = "simulated"


@dataclass(frozen=True)
class Program:
    """A call tree: function i is called by parent[i], an earlier one (0 is main), and has its share."""

    frames: list[Frame]
    parent: npt.NDArray[np.int64]
    share: F8
    subtree: npt.NDArray[np.int64]
    """The function right below main that each belongs to."""

    def path(self, function: int) -> list[int]:
        """Leaf first, up to main."""
        found = [function]
        while found[-1]:
            found.append(int(self.parent[found[-1]]))
        return found

    def with_calls(self, share: F8) -> F8:
        """Shares with everything that a function calls."""
        total = share.copy()
        for function in range(len(share) - 1, 0, -1):
            total[self.parent[function]] += total[function]
        return total


def make_program(functions: int, seed: int, planted: dict[int, float] | None = None) -> Program:
    """A tree of `functions`; `planted` fixes the share of some (by place), the others follow Zipf's law."""
    random = np.random.default_rng(seed)
    parent = np.zeros(functions, np.int64)
    depth = np.zeros(functions, np.int64)
    for function in range(1, functions):
        choice = int(random.integers(0, max(function // 4, 1)))
        parent[function] = choice if depth[choice] < 12 and function > 20 else 0
        depth[function] = depth[parent[function]] + 1
    share = random.permutation(1 / np.arange(1, functions + 1))
    share[0] = 0.0
    share /= share.sum()
    for function, value in (planted or {}).items():
        share[function] = 0.0
        share *= (1 - value) / share.sum()
        share[function] = value
    subtree = np.arange(functions)
    for function in range(1, functions):
        if parent[function]:
            subtree[function] = subtree[parent[function]]
    frames = [Frame(FrameKind.NATIVE, f"function_{i}" if i else "main", "app") for i in range(functions)]
    return Program(frames, parent, share, subtree)


@dataclass(frozen=True)
class Variation:
    """How hosts differ: standard deviations of logarithms, for good and from one period to the next."""

    host: float = 0.08
    host_mix: float = 0.05
    """Of whole subtrees at once."""
    period: float = 0.03
    period_mix: float = 0.03
    load: float = 0.2
    cores: float = 1.5
    seconds: int = 3600


def draw_hosts(program: Program, variation: Variation, count: int, random: np.random.Generator) -> F8:
    """What is lasting about each host: host × function, logarithms."""
    return np.stack([_noise(program, variation.host, variation.host_mix, random) for _ in range(count)])


def draw(
    program: Program,
    share: F8,
    host: F8,
    variation: Variation,
    random: np.random.Generator,
    load: float = 1.0,
) -> npt.NDArray[np.int64]:
    """The captures of each function on one host in one period."""
    mine = share * np.exp(host + _noise(program, variation.period, variation.period_mix, random))
    busy = variation.cores * load * np.exp(variation.load * random.standard_normal())
    return random.poisson(busy * variation.seconds * HZ * mine / mine.sum())


def _noise(program: Program, function: float, mix: float, random: np.random.Generator) -> F8:
    size = len(program.share)
    noise: F8 = function * random.standard_normal(size)
    return noise + mix * random.standard_normal(size)[program.subtree]


@dataclass
class Fleet:
    """Sends windows of a program's hosts to a store, as agents do."""

    store: Store
    folder: Path
    program: Program
    _sequence: int = 0
    _pushing: list[Future[None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        known, ledger = KnownDefinitions(self.store), LossLedger()
        self._committer = Committer(self.store, Journal(self.folder), known, ledger, linger_s=0.0)
        self._pipeline = Pipeline(known, self._committer, ledger, Limits())
        ids = [frame_id(frame) for frame in self.program.frames]
        self._paths = [self.program.path(i) for i in range(len(ids))]
        self._stack_ids = np.array([stack_id([ids[i] for i in path]) for path in self._paths], np.uint64)
        self._senders = ThreadPoolExecutor(12)
        self._define()
        self.wait()

    def wait(self) -> None:
        """Until everything sent is stored."""
        for future in self._pushing:
            future.result()
        self._pushing.clear()

    def close(self) -> None:
        self._senders.shutdown()
        self._committer.stop(30.0)

    def send(self, counts: npt.NDArray[np.int64], host: str, version: str, start_s: int) -> None:
        """One window with these captures by function."""
        request = self._request(host, {"host": host, "service": SERVICE, "version": version}, start_s)
        rows = np.flatnonzero(counts)
        window = request.window
        window.stack_ids.extend(self._stack_ids[rows].tolist())
        size = len(rows)
        window.samples.stack.extend(range(size))
        window.samples.series.extend([0] * size)
        window.samples.type.extend([int(ProfileType.CPU)] * size)
        window.samples.value.extend((counts[rows] * PERIOD_NS).tolist())
        window.samples.captures.extend(counts[rows].tolist())
        window.samples.offset_count.extend([0] * size)
        self._push(request)

    def _request(self, host: str, labels: dict[str, str], start_s: int) -> ingest_pb2.PushRequest:
        self._sequence += 1
        request = ingest_pb2.PushRequest(
            protocol_version=1, agent_id=f"agent-{host}", run_id=1, sequence=self._sequence
        )
        window = request.window
        window.start_unix_ns, window.host = start_s * 10**9, host
        window.covered_ns, window.cpu_count, window.period_ns = WINDOW_S * 10**9, 4, PERIOD_NS
        window.cpu_exact = True
        window.series_ids.append(series_id(labels))
        define(request.definitions, [], [labels])
        return request

    def _define(self) -> None:
        """All stacks, once, under a version that no comparison asks for."""
        for start in range(0, len(self._paths), 4000):
            part = range(start, min(start + 4000, len(self._paths)))
            request = self._request(
                "definer", {"host": "definer", "service": SERVICE, "version": "none"}, recent_window_s(1)
            )
            window = request.window
            window.stack_ids.extend(self._stack_ids[list(part)].tolist())
            size = len(part)
            window.samples.stack.extend(range(size))
            window.samples.series.extend([0] * size)
            window.samples.type.extend([int(ProfileType.CPU)] * size)
            window.samples.value.extend([1] * size)
            window.samples.captures.extend([1] * size)
            window.samples.offset_count.extend([0] * size)
            labels = [{"host": "definer", "service": SERVICE, "version": "none"}]
            request.ClearField("definitions")
            stacks = [[self.program.frames[i] for i in self._paths[place]] for place in part]
            define(request.definitions, stacks, labels)
            self._push(request)

    def _push(self, request: ingest_pb2.PushRequest) -> None:
        """Send as an agent of its own would: at the same time as others."""
        self._pushing.append(self._senders.submit(self._push_now, request.SerializeToString()))

    def _push_now(self, data: bytes) -> None:
        deadline = time.monotonic() + 600
        while True:
            try:
                answer = self._pipeline.push(data)
                break
            except Later:  # as an agent does on a busy machine: the same window again
                assert time.monotonic() < deadline
        stored = (ingest_pb2.PushResponse.STATUS_ACCEPTED, ingest_pb2.PushResponse.STATUS_DUPLICATE)
        assert answer.status in stored, answer


def query(version: str, start_s: int, seconds: int = WINDOW_S) -> Query:
    """The selection of one version in so many seconds."""
    matchers = (Matcher("service", "=", SERVICE), Matcher("version", "=", version))
    return Query(selection("cpu"), matchers, TimeRange(start_s, start_s + seconds))
