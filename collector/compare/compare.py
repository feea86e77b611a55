"""Compare two selections: presence → clusters → sums → estimates → decisions → words."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy import sparse

from collector.compare import words
from collector.compare.check import check_comparable, check_disjoint, check_filled
from collector.compare.clusters import Layout, Presence, choose_layout, is_concurrent, load_presence
from collector.compare.decide import detectable, estimate_effects, false_discovery_rates, one_sided
from collector.compare.estimate import Factor, Measured, Pair, common_factor
from collector.compare.evidence import Evidence, Side
from collector.compare.model import (
    F8,
    UNITS,
    Arm,
    Comparison,
    CpuChange,
    Effects,
    Method,
    SmallestEffect,
    Unit,
)
from collector.compare.moments import gather
from collector.compare.time_slices import inflation
from collector.query.asking import Asking
from collector.query.completeness import load_coverage
from collector.query.definitions import FrameNames
from collector.query.model import Query
from collector.query.querier import Querier
from collector.store.interface import Store
from fleetprof.errors import InputError
from fleetprof.frames import Frame

Q = 0.01
"""Of the functions called changed, at most this part is expected not to be."""


def compare(
    source: Querier | Store,
    a: Query,
    b: Query,
    unit: Unit = "share",
    effect: SmallestEffect | None = None,
    q: float = Q,
) -> Comparison:
    """What changed from A to B, function by function.

    Raises InputError for selections that are the same, overlap, or have no samples; as a Querier's methods
    for what the store cannot do.
    """
    if unit not in UNITS:
        raise InputError(f'Unknown unit "{unit}".', f"Known: {', '.join(UNITS)}.")
    check_comparable(a, b)
    asking, names = _opened(source)
    presence = load_presence(asking, a), load_presence(asking, b)
    for side, query, there in zip("AB", (a, b), presence, strict=True):
        check_filled(asking, side, query, len(there))
    check_disjoint(asking, a, b)
    layout = choose_layout(*presence)
    evidence, frames = gather(asking, names, (a, b), presence, layout)
    arms = (_arm(asking, a, evidence.a, presence[0]), _arm(asking, b, evidence.b, presence[1]))
    return conclude(
        evidence, frames, arms, layout, is_concurrent(*presence), unit, effect or SmallestEffect(), q
    )


def conclude(
    evidence: Evidence,
    frames: list[Frame],
    arms: tuple[Arm, Arm],
    layout: Layout,
    concurrent: bool,
    unit: Unit,
    effect: SmallestEffect,
    q: float,
) -> Comparison:
    """The statistics of a comparison whose sums are known."""
    paired = bool((evidence.a.present == evidence.b.present).all())
    design = _Design(evidence, unit, paired, inflation(evidence) if layout.slice_s else 1.0)
    factor = common_factor(design.pair(own=True)) if unit == "share" else Factor.none(len(evidence.clusters))
    floor = _floor(arms[0], unit, effect)
    own, total = (estimate_effects(design.pair(own), factor, floor, effect.relative) for own in (True, False))
    own, total = _decide(own, total, q)
    cpu = _cpu_change(design, arms, effect)
    method = Method(
        clusters=layout.kind,
        paired=paired,
        concurrent=concurrent,
        slice_s=layout.slice_s,
        factor=factor.value,
        q=q,
        sentence=words.describe_method(arms, layout, paired, concurrent),
    )
    return Comparison(
        unit=unit,
        a=arms[0],
        b=arms[1],
        frames=frames,
        own=own,
        total=total,
        cpu=cpu,
        method=method,
        effect=effect,
        verdict=words.describe_verdict(cpu, own, total),
        visible=words.describe_visible(total, unit, q),
        evidence=evidence,
    )


def _opened(source: Querier | Store) -> tuple[Asking, FrameNames]:
    if isinstance(source, Querier):
        return source.asking, source.names
    asking = Asking(source)
    return asking, FrameNames(asking)


def _arm(asking: Asking, query: Query, side: Side, presence: dict[str, Presence]) -> Arm:
    return Arm(
        query=query,
        hosts=len(presence),
        clusters=int(side.present.sum()),
        total_ns=int(side.values.sum()),
        captures=int(side.captures.sum()),
        host_seconds=float(side.seconds.sum()),
        completeness=load_coverage(asking, query).completeness,
    )


class _Design(NamedTuple):
    """How sums become rates: what they are divided by, and what depends on what."""

    evidence: Evidence
    unit: Unit
    paired: bool
    inflation: float

    def pair(self, own: bool) -> Pair:
        """Both sides, functions' own values or those with calls."""
        members = self.evidence.ends_in if own else self.evidence.holds
        a, b = (
            Measured((members @ side.values).tocsr(), self._base(side), members @ side.captures)
            for side in (self.evidence.a, self.evidence.b)
        )
        return Pair(a, b, paired=self.paired, inflation=self.inflation)

    def _base(self, side: Side) -> F8:
        return side.time if self.unit == "share" else side.seconds * 1e9

    def whole(self) -> Pair:
        """The selections' CPU as one function, per host."""
        a, b = (
            Measured(
                sparse.csr_array(side.time[None, :]), side.seconds * 1e9, np.array([side.captures.sum()])
            )
            for side in (self.evidence.a, self.evidence.b)
        )
        return Pair(a, b, paired=self.paired, inflation=self.inflation)


def _floor(a: Arm, unit: Unit, effect: SmallestEffect) -> float:
    """The smallest effect that does not depend on the function."""
    cores = a.cores_per_host
    if unit == "share":
        return max(effect.absolute, effect.cores / cores if cores else 0.0)
    return max(effect.absolute * cores, effect.cores)


def _decide(own: Effects, total: Effects, q: float) -> tuple[Effects, Effects]:
    """Both with q values, over all tests together, and what could have been seen."""
    size = len(own.p)
    tested = np.concatenate([own.tested, total.tested])
    rates = false_discovery_rates(np.concatenate([own.p, total.p]), tested)
    found = int((rates <= q).sum())
    # The level at which one more finding would have passed.
    alpha = q * (found + 1) / max(int(tested.sum()), 1) / 2
    parts = []
    for effects, part in ((own, rates[:size]), (total, rates[size:])):
        parts.append(replace(effects, q=part, significant=part <= q, detectable=detectable(effects, alpha)))
    return parts[0], parts[1]


def _cpu_change(design: _Design, arms: tuple[Arm, Arm], effect: SmallestEffect) -> CpuChange:
    """The test of CPU per host."""
    pair = design.whole()
    floor = max(effect.cores, effect.absolute * arms[0].cores_per_host)
    found = estimate_effects(pair, Factor.none(len(pair.a.base)), floor, effect.relative)
    more = one_sided(found.net, found.margin, found.net_se, found.df)
    return CpuChange(
        a=float(found.a[0]),
        b=float(found.b[0]),
        delta=float(found.delta[0]),
        low=float(found.low[0]),
        high=float(found.high[0]),
        p=float(found.p[0]),
        p_more=float(more[0]) if found.tested[0] else 1.0,
        margin=float(found.margin[0]),
        detectable=float(detectable(found, 0.025)[0]),
        significant=bool(found.tested[0] and found.p[0] <= 0.01),
    )
