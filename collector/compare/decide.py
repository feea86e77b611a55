"""From estimates to decisions: tests against a smallest effect, and Benjamini-Hochberg over all functions."""

import numpy as np
import numpy.typing as npt

from collector.compare.design import Design
from collector.compare.estimate import (
    LEVEL,
    Factor,
    Pair,
    beyond,
    difference,
    quantile,
)
from collector.compare.evidence import Sparse
from collector.compare.model import Effects
from collector.compare.moderate import moderate
from collector.compare.smallest_effect import SmallestEffect
from collector.compare.units import Unit

F8 = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

MIN_CAPTURES = 100
"""On both sides together; with fewer nothing can be told about a function."""
POWER = 0.8


def estimate_effects(
    now: tuple[Pair, Factor], before: tuple[Pair, Factor] | None, floor: float, relative: float
) -> Effects:
    """Effects of all functions, not yet decided (q, detectable and significant are still open).

    With `before` (on the same columns), changes are those of the difference between the sides. The smallest
    effect is max(floor, relative · A's value).
    """
    pair, factor = now
    plain, adjusted = difference(pair, Factor.none(len(pair.a.base))), difference(pair, factor)
    if before:
        plain = plain.minus(difference(before[0], Factor.none(len(pair.a.base))))
        adjusted = adjusted.minus(difference(*before))
    a, b = pair.a.rate, pair.b.rate
    delta, (se, df) = plain.value, plain.spread(pair)
    half = quantile((1 + LEVEL) / 2, df) * se
    net, (net_se, net_df) = adjusted.value, adjusted.spread(pair)
    margin = np.maximum(floor, relative * a)
    captures = pair.a.captures + pair.b.captures
    tested = (captures >= MIN_CAPTURES) & (net_df >= 0.5) & (net_se > 0)
    variance, net_df = moderate(net_se**2, net_df, (a + b) / 2, captures, tested)
    net_se = np.sqrt(variance)
    p = np.where(tested, two_sided(net, margin, net_se, net_df), 1.0)
    nothing = np.full(len(a), np.nan)
    return Effects(
        a=a,
        b=b,
        delta=delta,
        low=delta - half,
        high=delta + half,
        net=net,
        net_se=net_se,
        df=net_df,
        margin=margin,
        p=p,
        q=np.ones(len(a)),
        detectable=nothing,
        captures_a=pair.a.captures,
        captures_b=pair.b.captures,
        tested=tested,
        significant=np.zeros(len(a), np.bool_),
    )


def estimate_design(design: Design, members: Sparse, floor: float, relative: float) -> Effects:
    """Effects of rows of stacks (row × stack), by the design's factors."""
    now, before = design.factors
    earlier = (design.sums(members, earlier=True), before) if before else None
    return estimate_effects((design.sums(members), now), earlier, floor, relative)


def smallest_floor(cores_per_host: float, unit: Unit, effect: SmallestEffect) -> float:
    """The smallest effect that does not depend on the function, in the unit; of A's cores per host."""
    if unit == "share":
        return max(effect.absolute, effect.cores / cores_per_host if cores_per_host else 0.0)
    return max(effect.absolute * cores_per_host, effect.cores)


def two_sided(net: F8, margin: F8, se: F8, df: F8) -> F8:
    """p of H0: |true net| ≤ margin, at the margin."""
    with np.errstate(divide="ignore", invalid="ignore"):
        far = beyond((np.abs(net) - margin) / se, df)
        near = beyond((np.abs(net) + margin) / se, df)
    return np.minimum(np.nan_to_num(far + near, nan=1.0), 1.0)


def one_sided(net: F8, margin: F8, se: F8, df: F8) -> F8:
    """p of H0: true net ≤ margin."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(beyond((net - margin) / se, df), nan=1.0)


def false_discovery_rates(p: F8, tested: Mask) -> F8:
    """q of each test: the smallest rate at which Benjamini-Hochberg's procedure takes it in; else 1."""
    q = np.ones(len(p))
    rows = np.flatnonzero(tested)
    if not len(rows):
        return q
    order = rows[np.argsort(p[rows], kind="stable")]
    scaled = p[order] * len(order) / np.arange(1, len(order) + 1)
    q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return q


def detectable(effects: Effects, alpha: float) -> F8:
    """The change beyond which a test at level `alpha` (one side) succeeds with a chance of POWER."""
    if alpha <= 0:
        return np.full(len(effects.a), np.nan)
    needed = quantile(1 - alpha, effects.df) + quantile(POWER, effects.df)
    found = effects.margin + needed * effects.net_se
    return np.where(effects.tested, found, np.nan)
