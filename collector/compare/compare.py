"""Compare two selections: presence → clusters → sums → estimates → decisions → words."""

from dataclasses import replace

import numpy as np

from collector.compare import words
from collector.compare.activity import load_active
from collector.compare.check import check_comparable, check_disjoint, check_filled
from collector.compare.clusters import Presence, choose_layout, is_concurrent, knows, load_presence
from collector.compare.covered import load_completeness, load_reports_of
from collector.compare.decide import (
    detectable,
    estimate_design,
    estimate_effects,
    false_discovery_rates,
    one_sided,
    smallest_floor,
)
from collector.compare.design import Design
from collector.compare.estimate import Factor
from collector.compare.evidence import Side
from collector.compare.model import (
    Arm,
    Comparison,
    CpuChange,
    Effects,
    Method,
)
from collector.compare.moments import gather
from collector.compare.part import choose_parts
from collector.compare.smallest_effect import SmallestEffect
from collector.compare.units import UNITS, Unit
from collector.query.asking import Asking
from collector.query.frame_names import FrameNames
from collector.query.model import Completeness, Query
from collector.query.querier import Querier
from collector.query.together import load_owned
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
    before: Query | None = None,
) -> Comparison:
    """What changed from A to B, function by function.

    `before`: what the hosts of A and of B ran earlier, so that how they differed anyway is taken out
    (difference in differences); without effect where few of them did, or time slices have to be the clusters.
    Raises InputError for selections that are the same, overlap, or have no samples; as a Querier's methods
    for what the store cannot do.
    """
    if unit not in UNITS:
        raise InputError(f'Unknown unit "{unit}".', f"Known: {', '.join(UNITS)}.")
    check_comparable(a, b)
    asking, names = _opened(source)
    queries = [a, b, before] if before else [a, b]
    owned = [load_owned(asking, query) for query in queries]
    active = load_active(asking, queries, owned)
    reports = load_reports_of(asking, queries, owned)
    parts, read = choose_parts(queries, active, [each.sent for each in reports])
    presence = load_presence(asking, parts[:2], owned[:2])
    for side, query, there in zip("AB", (a, b), presence, strict=True):
        check_filled(asking, side, query, len(there))
    check_disjoint(asking, (a, b), owned)
    layout = choose_layout(*presence)
    if before and not layout.slice_s:
        (history,) = load_presence(asking, parts[2:], owned[2:])
        if all(knows(history, there) for there in presence):
            presence.append(history)
    evidence, frames = gather(asking, names, parts[: len(presence)], owned[: len(presence)], presence, layout)
    coverages = load_completeness(asking, reports[:2], owned[:2])
    totals = [each.total if read else None for each in active[:2]]
    sides = zip(queries, (evidence.a, evidence.b), presence, coverages, totals, strict=False)
    arm_a, arm_b = (_arm(*each) for each in sides)
    arms = (arm_a, arm_b)
    design = Design(evidence, unit, layout, is_concurrent(*presence[:2]))
    return conclude(design, frames, arms, effect or SmallestEffect(), q, read)


def conclude(
    design: Design,
    frames: list[Frame],
    arms: tuple[Arm, Arm],
    effect: SmallestEffect,
    q: float,
    read: str = "",
) -> Comparison:
    """The statistics of a comparison whose sums are known; `read` says which part of the samples they are of."""
    floor = smallest_floor(arms[0].cores_per_host, design.unit, effect)
    own, total = (
        estimate_design(design, members, floor, effect.relative)
        for members in (design.evidence.ends_in, design.evidence.holds)
    )
    own, total = _decide(own, total, q)
    cpu = _cpu_change(design, arms, effect)
    return Comparison(
        unit=design.unit,
        a=arms[0],
        b=arms[1],
        frames=frames,
        own=own,
        total=total,
        cpu=cpu,
        method=_method(design, arms, design.factors[0].value, q, read),
        effect=effect,
        verdict=words.describe_verdict(cpu, own, total),
        visible=words.describe_visible(total, design.unit, q),
        design=design,
    )


def _method(design: Design, arms: tuple[Arm, Arm], factor: float, q: float, read: str) -> Method:
    layout, paired = design.layout, design.paired
    sentence = words.describe_method(
        arms, layout, paired, design.concurrent, design.evidence.before is not None
    )
    return Method(
        clusters=layout.kind,
        paired=paired,
        concurrent=design.concurrent,
        adjusted=design.evidence.before is not None,
        slice_s=layout.slice_s,
        factor=factor,
        q=q,
        sentence=f"{sentence} {read}".rstrip(),
    )


def _opened(source: Querier | Store) -> tuple[Asking, FrameNames]:
    if isinstance(source, Querier):
        return source.asking, source.names
    asking = Asking(source)
    return asking, FrameNames(asking)


def _arm(
    query: Query,
    side: Side,
    presence: dict[str, Presence],
    completeness: Completeness,
    totals: tuple[int, int] | None,
) -> Arm:
    """A side; where a part of its samples was read, with the `totals` of all and the part's average of a host."""
    value, captures = int(side.values.sum()), int(side.captures.sum())
    total, all_captures = totals or (value, captures)
    return Arm(
        query=query,
        hosts=len(presence),
        clusters=int(side.present.sum()),
        total_ns=total,
        captures=all_captures,
        host_seconds=float(side.seconds.sum()) * (total / value if value else 1.0),
        completeness=completeness,
    )


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


def _cpu_change(design: Design, arms: tuple[Arm, Arm], effect: SmallestEffect) -> CpuChange:
    """The test of CPU per host."""
    none = Factor.none(len(design.evidence.clusters))
    floor = max(effect.cores, effect.absolute * arms[0].cores_per_host)
    earlier = (design.whole(earlier=True), none) if design.evidence.before else None
    found = estimate_effects((design.whole(), none), earlier, floor, effect.relative)
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
