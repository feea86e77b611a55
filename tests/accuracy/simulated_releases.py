"""Comparisons of known truth over a simulated fleet, and how well they were answered."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse

from collector.compare.clusters import Layout
from collector.compare.compare import compare, conclude
from collector.compare.design import Design
from collector.compare.evidence import Evidence, Side
from collector.compare.model import Arm, Comparison
from collector.compare.regressions import regressions
from collector.compare.smallest_effect import SmallestEffect
from collector.query.model import Completeness, Query
from collector.query.querier import Querier
from collector.store.errors import StoreError
from tests.accuracy.simulated_fleet import (
    F8,
    PERIOD_NS,
    Fleet,
    Program,
    Variation,
    draw,
    draw_hosts,
    query,
)
from tests.store.pushes import WINDOW_S, recent_window_s

Kind = Literal["replaced", "staged", "beside"]
"""replaced: the same hosts before and after; staged: half of the hosts changed, all known before;
beside: two groups of hosts at the same time, nothing known of them before."""


@dataclass(frozen=True)
class Truth:
    """Shares before and after, by function of the program."""

    a: F8
    b: F8
    grown: int
    """The function that grew; -1 for none."""


def truth_of(program: Program, grown: int, factor: float) -> Truth:
    """The program's shares, and those after one function grew by `factor`."""
    after = program.share.copy()
    if grown >= 0:
        after[grown] *= factor
        after /= after.sum()
    return Truth(program.share, after, grown)


@dataclass
class Score:
    """Counts over comparisons."""

    covered: int = 0
    intervals: int = 0
    grown_covered: int = 0
    null: int = 0
    null_groups: int = 0
    """False findings of null comparisons."""
    planted: int = 0
    found: int = 0
    extra_groups: int = 0
    """Findings other than the planted function, where one was planted."""
    wrong: list[str] = field(default_factory=list)
    """What was found besides."""

    @property
    def coverage(self) -> float:
        return self.covered / max(self.intervals, 1)


class DirectFleet:
    """Takes windows as `Fleet` does, but keeps them in memory: the statistics alone, many times faster."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._windows: list[tuple[str, str, int, npt.NDArray[np.int64]]] = []
        size = len(program.share)
        paths = [program.path(number) for number in range(size)]
        self._index = np.array([code for path in paths for code in path], np.int32)
        self._starts = np.cumsum([0, *(len(path) for path in paths)])
        stack = np.repeat(np.arange(size), np.diff(self._starts))
        self._holds = sparse.coo_array((np.ones(len(stack)), (self._index, stack)), (size, size)).tocsr()
        self._ends_in = sparse.csr_array(sparse.eye(size))

    def send(self, counts: npt.NDArray[np.int64], host: str, version: str, start_s: int) -> None:
        """Keep one window."""
        self._windows.append((host, version, start_s, counts))

    def wait(self) -> None:
        """Nothing is under way."""

    def close(self) -> None:
        """Nothing to close."""

    def compare(self, a: Query, b: Query, before: Query | None = None) -> Comparison:
        """As collector.compare would have it, from what was sent since the last comparison."""
        clusters = sorted({host for host, *_ in self._windows})
        sides = [self._side(query, clusters) for query in (a, b)]
        earlier = [self._side(before, clusters, side.present) for side in sides] if before else []
        evidence = Evidence(
            clusters=[(host, 0) for host in clusters],
            stacks=np.arange(len(self.program.share), dtype=np.uint64),
            frame_index=self._index,
            starts=self._starts,
            a=sides[0],
            b=sides[1],
            before=(earlier[0], earlier[1]) if before else None,
            holds=self._holds,
            ends_in=self._ends_in,
        )
        self._windows.clear()
        arms = [_arm(query, side) for query, side in zip((a, b), sides, strict=True)]
        design = Design(evidence, "share", Layout("hosts", 0), concurrent=True)
        return conclude(design, self.program.frames, (arms[0], arms[1]), SmallestEffect(), 0.01)

    def _side(self, query: Query, clusters: list[str], only: npt.NDArray[np.bool_] | None = None) -> Side:
        wanted = {matcher.label: matcher.value for matcher in query.matchers}
        values = np.zeros((len(self.program.share), len(clusters)))
        for host, version, start_s, counts in self._windows:
            inside = query.range.start_s <= start_s < query.range.end_s
            if version == wanted["version"] and inside and (only is None or only[clusters.index(host)]):
                values[:, clusters.index(host)] += counts
        time = values.sum(axis=0) * PERIOD_NS
        return Side(
            sparse.csr_array(values * PERIOD_NS), values.sum(axis=1), time, 10.0 * (time > 0), time > 0
        )


def _arm(query: Query, side: Side) -> Arm:
    hosts = int(side.present.sum())
    total, captures = int(side.time.sum()), int(side.captures.sum())
    return Arm(
        query, hosts, hosts, total, captures, float(side.seconds.sum()), Completeness(hosts, hosts, hosts)
    )


def _asks(fleet: Fleet) -> Callable[..., Comparison]:
    querier = Querier(fleet.store)

    def ask(a: Query, b: Query, before: Query | None = None) -> Comparison:
        """As a person does on a busy machine: the same question again."""
        for _ in range(20):
            try:
                return compare(querier, a, b, before=before)
            except StoreError as error:
                print(f"asked again: {error}", flush=True)
        return compare(querier, a, b, before=before)

    return ask


class Simulation:
    """Runs comparisons one after the other, each in windows and versions of its own."""

    def __init__(
        self,
        fleet: "Fleet | DirectFleet",
        kind: Kind,
        hosts: int,
        variation: Variation,
        seed: int,
        history: int = 1,
    ) -> None:
        """`history`: periods before a staged release of which the hosts are known."""
        self._fleet = fleet
        self._kind = kind
        self._hosts = hosts
        self._variation = variation
        self._random = np.random.default_rng(seed)
        self._compare_two = fleet.compare if isinstance(fleet, DirectFleet) else _asks(fleet)
        self._history = history if kind == "staged" else 1
        self._number = 0
        self.score = Score()

    def run(self, truth: Truth) -> Comparison:
        """One comparison, scored."""
        comparison = self._compare(truth)
        self._score(comparison, truth)
        return comparison

    def _compare(self, truth: Truth) -> Comparison:
        self._number += 1
        name = f"{self._kind}-{self._hosts}-{self._number}"
        later_s = recent_window_s(19 + (self._history + 1) * self._number)
        earlier_s = [later_s - WINDOW_S * (1 + period) for period in range(self._history)]
        fleet, kind = self._fleet, self._kind
        hosts = draw_hosts(fleet.program, self._variation, self._hosts, self._random)
        half = 0 if kind == "replaced" else self._hosts // 2
        for number, host in enumerate(hosts):
            label = f"{name}-{number}"
            for start_s in earlier_s if kind != "beside" else []:
                self._send(truth.a, host, label, f"{name}a", start_s)
            if number >= half:
                self._send(truth.b, host, label, f"{name}b", later_s)
            else:
                self._send(truth.a, host, label, f"{name}a", later_s)
        fleet.wait()
        if kind == "replaced":
            return self._compare_two(query(f"{name}a", earlier_s[0]), query(f"{name}b", later_s))
        a, b = query(f"{name}a", later_s), query(f"{name}b", later_s)
        before = query(f"{name}a", earlier_s[-1], WINDOW_S * self._history)
        return self._compare_two(a, b, before=before if kind == "staged" else None)

    def _send(self, share: F8, host: F8, label: str, version: str, start_s: int) -> None:
        counts = draw(self._fleet.program, share, host, self._variation, self._random)
        self._fleet.send(counts, label, version, start_s)

    def _score(self, comparison: Comparison, truth: Truth) -> None:
        score, program = self.score, self._fleet.program
        place = {frame.name: number for number, frame in enumerate(program.frames)}
        rows = np.array([place[frame.name] for frame in comparison.frames])
        own = (truth.b - truth.a)[rows]
        total = (program.with_calls(truth.b) - program.with_calls(truth.a))[rows]
        for effects, change in ((comparison.own, own), (comparison.total, total)):
            inside = (effects.low <= change) & (change <= effects.high)
            score.covered += int(inside[effects.tested].sum())
            score.intervals += int(effects.tested.sum())
        findings = regressions(comparison)
        found = [finding.row for finding in findings]
        score.wrong += [
            f"{finding.kind} {finding.frame.name} {finding.net:.3g} p={finding.p:.2g}"
            for finding in findings
            if truth.grown < 0 or finding.frame != program.frames[truth.grown]
        ]
        if truth.grown < 0:
            score.null += 1
            score.null_groups += len(found)
            return
        row = int(np.flatnonzero(rows == truth.grown)[0])
        score.planted += 1
        score.found += row in found
        score.extra_groups += len([other for other in found if other != row])
        score.grown_covered += int(comparison.own.low[row] <= own[row] <= comparison.own.high[row])


def places(program: Program, share: float) -> npt.NDArray[np.int64]:
    """Functions with no callees and about this share."""
    leaves = np.setdiff1d(np.arange(len(program.share)), program.parent)
    return leaves[np.argsort(np.abs(program.share[leaves] - share))]
