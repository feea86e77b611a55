"""Comparisons of known truth over a simulated fleet, and how well they were answered."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from collector.compare.compare import compare
from collector.compare.model import Comparison
from collector.compare.regressions import regressions
from collector.query.querier import Querier
from tests.accuracy.simulated_fleet import F8, Fleet, Program, Variation, draw, draw_hosts, query
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


class Simulation:
    """Runs comparisons one after the other, each in windows and versions of its own."""

    def __init__(self, fleet: Fleet, kind: Kind, hosts: int, variation: Variation, seed: int) -> None:
        self._fleet = fleet
        self._kind = kind
        self._hosts = hosts
        self._variation = variation
        self._random = np.random.default_rng(seed)
        self._querier = Querier(fleet.store)
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
        earlier_s = recent_window_s(20 + 2 * self._number)
        later_s = earlier_s + WINDOW_S
        fleet, kind = self._fleet, self._kind
        hosts = draw_hosts(fleet.program, self._variation, self._hosts, self._random)
        half = 0 if kind == "replaced" else self._hosts // 2
        for number, host in enumerate(hosts):
            label = f"{name}-{'new' if number >= half else 'old'}-{number}"
            if kind != "beside":
                self._send(truth.a, host, label, f"{name}a", earlier_s)
            if number >= half:
                self._send(truth.b, host, label, f"{name}b", later_s)
            else:
                self._send(truth.a, host, label, f"{name}a", later_s)
        fleet.wait()
        if kind == "replaced":
            return compare(self._querier, query(f"{name}a", earlier_s), query(f"{name}b", later_s))
        a, b = query(f"{name}a", later_s), query(f"{name}b", later_s)
        if kind == "beside":
            return compare(self._querier, a, b)
        before = [query(f"{name}a", earlier_s, host=f"{name}-{group}-.*") for group in ("old", "new")]
        return compare(self._querier, a, b, before=(before[0], before[1]))

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
