"""What alert rules ask of a comparison: which functions regressed, one finding a cause.

Growth is tested on one side against the smallest effect, by functions' own values and with calls, all tests
together under Benjamini-Hochberg; then callers are folded into causes, and cost that only moved is taken out.
Callers that grew with a cause are no evidence for others, so the causes have to pass the procedure once more
without them: the rate is that of false findings, not of false functions.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from collector.compare.decide import estimate_design, false_discovery_rates, one_sided, smallest_floor
from collector.compare.estimate import beyond
from collector.compare.evidence import Sparse
from collector.compare.localise import Causes, find_causes, stack_changes
from collector.compare.model import Comparison, Effects, Finding, Regressions, Shift
from collector.compare.shifts import LEAST_PART, Match, match_sources
from collector.compare.smallest_effect import SmallestEffect
from collector.query.flame import ROOT

F8 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

_SHRUNK_Q = 0.05
"""Less strict than for growth: what shrank is only looked at next to something that grew."""
_SUSPECT_Q = 0.05
"""For the name of what made the whole grow: that it grew has passed its own, strict test."""
_WHOLE = 0.1
"""Part of the rate for the one test of the whole: by itself it would be false once in 1/q comparisons."""


def regressions(
    comparison: Comparison, effect: SmallestEffect | None = None, q: float = 0.01
) -> list[Finding]:
    """The functions that grew by more than `effect` (None: the comparison's own), largest first."""
    return find_regressions(comparison, effect, q).findings


def find_regressions(
    comparison: Comparison, effect: SmallestEffect | None = None, q: float = 0.01
) -> Regressions:
    """The same with what was tested and what only moved."""
    effect = effect or comparison.effect
    tests = _Tests.of(comparison, effect, q)
    passed = tests.passed(q)
    causes, changes = tests.causes(passed)
    findings, shifts = _sift(tests, tests.pass_together(causes.rows), causes, changes)
    whole, suspect = tests.whole(q), None
    if whole and not findings:
        causes, changes = tests.causes(tests.passed(_SUSPECT_Q))
        suspects, _ = _sift(tests, causes.rows, causes, changes)
        suspect = min(suspects, key=lambda finding: finding.p, default=None)
    findings = sorted([*findings, *whole], key=lambda finding: -finding.net)
    count = int(comparison.own.tested.sum() + comparison.total.tested.sum())
    return Regressions(findings, shifts, count, len(passed), suspect)


def _sift(tests: "_Tests", rows: list[int], causes: Causes, changes: F8) -> tuple[list[Finding], list[Shift]]:
    """Of the rows those that grew, and those whose cost only moved to them."""
    comparison = tests.comparison
    matches = match_sources(
        comparison.evidence,
        comparison.frames,
        np.array(rows, np.int64),
        tests.shrunk(),
        comparison.own.net,
        changes,
    )
    if not comparison.design.factors[0].a.any():
        matches = [match for match in matches if _fell_by_itself(comparison.own, match)]
    moved = {match.target: match for match in matches}
    findings, shifts = [], []
    for row in rows:
        finding = tests.finding(row, causes)
        if row in moved:
            shift, remains = tests.judge(finding, moved[row])
            if not remains:
                shifts.append(shift)
                continue
        findings.append(finding)
    return findings, shifts


@dataclass(frozen=True, slots=True)
class _Tests:
    """One-sided tests of all functions."""

    comparison: Comparison
    effect: SmallestEffect
    own_margin: F8
    total_margin: F8
    own_p: F8
    total_p: F8
    own_q: F8
    total_q: F8
    q: float
    cutoff: float
    """The largest p that passed."""

    @classmethod
    def of(cls, comparison: Comparison, effect: SmallestEffect, q: float) -> "_Tests":
        margins = [_margin(comparison, effects, effect) for effects in (comparison.own, comparison.total)]
        p = [
            np.where(effects.tested, one_sided(effects.net, margin, effects.net_se, effects.df), 1.0)
            for effects, margin in zip((comparison.own, comparison.total), margins, strict=True)
        ]
        tested = np.concatenate([comparison.own.tested, comparison.total.tested])
        rates = false_discovery_rates(np.concatenate(p), tested)
        size = len(comparison.frames)
        own_q, total_q = rates[:size], rates[size:]
        passed = np.concatenate(p)[rates <= q]
        cutoff = float(passed.max()) if len(passed) else 0.0
        return cls(comparison, effect, margins[0], margins[1], p[0], p[1], own_q, total_q, q, cutoff)

    def passed(self, q: float) -> I64:
        """Rows of which a test passed at the rate `q`, ascending."""
        return np.flatnonzero(np.minimum(self.own_q, self.total_q) <= q)

    def causes(self, passed: I64) -> tuple[Causes, F8]:
        """Rows that passed, folded into causes, and each stack's change."""
        comparison = self.comparison
        now, before = comparison.design.factors
        changes = stack_changes(comparison.evidence, now.value, before.value if before else None)
        return find_causes(comparison.evidence, passed, changes, self.pass_by_themselves), changes

    def shrunk(self) -> I64:
        """Rows whose own values fell by more than the effect."""
        own = self.comparison.own
        p = np.where(own.tested, one_sided(-own.net, self.own_margin, own.net_se, own.df), 1.0)
        return np.flatnonzero(false_discovery_rates(p, own.tested) <= _SHRUNK_Q)

    def pass_by_themselves(self, members: Sparse) -> npt.NDArray[np.bool_]:
        """Whether rows of stacks (row × stack) grew by more than the effect, at the level of the others."""
        comparison, effect = self.comparison, self.effect
        floor = smallest_floor(comparison.a.cores_per_host, comparison.unit, effect)
        found = estimate_design(comparison.design, members, floor, effect.relative)
        return one_sided(found.net, found.margin, found.net_se, found.df) <= self.cutoff

    def pass_together(self, causes: list[int]) -> list[int]:
        """The causes that pass Benjamini-Hochberg when only causes count as found."""
        p = np.minimum(self.own_p, self.total_p)[causes]
        tests = int(self.comparison.own.tested.sum() + self.comparison.total.tested.sum())
        order = np.sort(p)
        limits = self.q * np.arange(1, len(p) + 1) / max(tests, 1)
        passing = np.flatnonzero(order <= limits)
        cutoff = order[passing[-1]] if len(passing) else -1.0
        return [row for row, each in zip(causes, p.tolist(), strict=True) if each <= cutoff]

    def finding(self, row: int, causes: Causes) -> Finding:
        """The finding of a cause: by its total where that passed, else by its own value."""
        frames = self.comparison.frames
        by_total = self.total_q[row] <= max(self.q, self.own_q[row])
        effects = self.comparison.total if by_total else self.comparison.own
        callers = sorted(causes.callers.get(row, []), key=lambda caller: -self.comparison.total.net[caller])
        return Finding(
            frame=frames[row],
            kind="total" if by_total else "self",
            row=row,
            a=float(effects.a[row]),
            b=float(effects.b[row]),
            delta=float(effects.delta[row]),
            low=float(effects.low[row]),
            high=float(effects.high[row]),
            net=float(effects.net[row]),
            p=float((self.total_p if by_total else self.own_p)[row]),
            q=float((self.total_q if by_total else self.own_q)[row]),
            callers=tuple(frames[caller] for caller in callers),
        )

    def judge(self, finding: Finding, match: Match) -> tuple[Shift, bool]:
        """The shift from the finding's source, and whether what is left of the finding is still one."""
        own = self.comparison.own
        source = match.source
        left = finding.net + float(own.net[source])
        effects = self.comparison.total if finding.kind == "total" else own
        se = float(np.hypot(effects.net_se[finding.row], own.net_se[source]))
        margin = float(self.total_margin[finding.row]) + float(self.own_margin[source])
        df = np.array([min(effects.df[finding.row], own.df[source])])
        p = float(beyond(np.array([(left - margin) / se]), df)[0])
        frames = self.comparison.frames
        return Shift(frames[source], finding.frame, finding.net, left), p <= self.cutoff

    def whole(self, q: float) -> list[Finding]:
        """The finding that all CPU per host grew, if it did."""
        cpu = self.comparison.cpu
        if cpu.p_more > q * _WHOLE:
            return []
        return [
            Finding(
                ROOT, "cpu", -1, cpu.a, cpu.b, cpu.delta, cpu.low, cpu.high, cpu.delta, cpu.p_more, cpu.p_more
            )
        ]


def _fell_by_itself(own: Effects, match: Match) -> bool:
    """Whether the source lost more than the target's growth takes from every other share.

    Needed where functions are too few for a common factor: there one that grows makes all others fall.
    """
    target, source = match.target, match.source
    rest = max(1 - own.b[target], 1e-9)
    lost = own.a[source] - own.b[source] * (1 - own.a[target]) / rest
    return bool(lost >= LEAST_PART * own.net[target])


def _margin(comparison: Comparison, effects: Effects, effect: SmallestEffect) -> F8:
    floor = smallest_floor(comparison.a.cores_per_host, comparison.unit, effect)
    return np.maximum(floor, effect.relative * effects.a)
