"""Differences with the uncertainty that comes from variation between clusters.

A function's share is a ratio of sums over clusters, Σx / Σd; its variance is that of the clusters' influences
(x − p·d) / Σd (linearisation, as in survey statistics), each enlarged for its leverage as in HC2, so that few
or unequal clusters do not understate it. Where a cluster is on both sides, the covariance is taken out: the
same hosts before and after are compared by their differences. Degrees of freedom follow Satterthwaite.

Shares add up to 1, so one function's change moves all others. The common factor of all functions is a trimmed
mean of log ratios (the idea of TMM, Robinson and Oshlack 2010), and each cluster's influence on it is part of
the standard error: without that, null comparisons give false findings.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

from collector.compare.evidence import Sparse
from collector.compare.influence import Influence

F8 = npt.NDArray[np.float64]

LEVEL = 0.95
TRIMMED = 0.3
"""Of the log ratios at either end."""
_FOR_FACTOR = 30
"""Captures on each side, for a function to take part in the common factor."""
_MIN_FUNCTIONS = 8
"""Fewer functions than this have no common factor that one of them does not dominate."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One side: values by function and cluster, and what they are divided by."""

    values: Sparse
    """Function × cluster, in the unit of the answer's numerator."""
    base: F8
    """By cluster: the denominator."""
    captures: F8
    """By function."""

    @property
    def rate(self) -> F8:
        """By function: Σx / Σd."""
        whole = self.base.sum()
        return (
            np.asarray(self.values.sum(axis=1)).ravel() / whole if whole else np.zeros(self.values.shape[0])
        )

    @property
    def leverage(self) -> F8:
        """By cluster: its part of Σd."""
        whole = self.base.sum()
        found: F8 = self.base / whole if whole else self.base
        return found

    @property
    def effective(self) -> float:
        """Number of clusters of equal size that would be as good."""
        squares = float((self.leverage**2).sum())
        return 1 / squares if squares else 0.0

    def influence(self) -> Influence:
        """Of each cluster on each rate, enlarged for its leverage."""
        whole = self.base.sum() or 1.0
        scale = 1 / (whole * np.sqrt(np.maximum(1 - self.leverage, 1e-9)))
        x = self.values.multiply(scale[None, :]).tocsr()
        return Influence(x, -self.rate[:, None], (self.base * scale)[:, None])

    def least(self) -> F8:
        """The least variance of each rate: half of what n independent samples (or a first one) would have.

        Half, because the observed one is better where it is known, and samples at fixed intervals vary less.
        """
        rate, known = self.rate, self.captures > 0
        per_capture = float(rate[known].sum() / self.captures[known].sum()) if known.any() else 0.0
        found: F8 = 0.5 * np.where(known, rate**2 / np.maximum(self.captures, 1), per_capture**2)
        return found


@dataclass(frozen=True, slots=True)
class Pair:
    """Both sides, on the same columns."""

    a: Measured
    b: Measured
    paired: bool
    inflation: float = 1.0
    """What variances are multiplied with, for clusters that depend on each other."""


@dataclass(frozen=True, slots=True)
class Factor:
    """The common factor of all functions' shares: what B's are multiplied with, and its log's influences."""

    value: float
    a: F8
    b: F8
    """By cluster: how much either side's data moves the log."""

    @classmethod
    def none(cls, clusters: int) -> "Factor":
        """No common factor is taken out."""
        return cls(1.0, np.zeros(clusters), np.zeros(clusters))


@dataclass(frozen=True, slots=True)
class Difference:
    """factor·B − A by function, with how much each side's clusters and sampling move it."""

    value: F8
    of_a: Influence
    """On −value."""
    of_b: Influence
    least: F8

    def minus(self, before: "Difference") -> "Difference":
        """How much more the sides differ than they did before (difference in differences)."""
        return Difference(
            self.value - before.value,
            self.of_a.plus(before.of_a, -1.0),
            self.of_b.plus(before.of_b, -1.0),
            self.least + before.least,
        )

    def spread(self, pair: Pair) -> tuple[F8, F8]:
        """(standard error, degrees of freedom) of the value."""
        a, b = pair.inflation * self.of_a.squares(), pair.inflation * self.of_b.squares()
        both = pair.inflation * self.of_a.products(self.of_b)
        return np.sqrt(np.maximum(a + b - 2 * both, self.least)), _degrees(pair, a, b)


def difference(pair: Pair, factor: Factor) -> Difference:
    """The difference of the pair's rates.

    To first order A moves −value by ψ − factor·pB·γ and B moves it by factor·(ψ − pB·γ), where ψ are the
    influences on the rates and γ those on the log of the factor.
    """
    slope = -factor.value * pair.b.rate[:, None]
    nothing = Influence(0 * pair.a.values, slope, factor.a[:, None])
    of_a = pair.a.influence().plus(nothing)
    scaled = pair.b.influence()
    scaled = Influence(factor.value * scaled.x, factor.value * scaled.u, scaled.v)
    of_b = scaled.plus(Influence(0 * pair.b.values, slope, factor.b[:, None]))
    return Difference(
        factor.value * pair.b.rate - pair.a.rate,
        of_a,
        of_b,
        pair.a.least() + factor.value**2 * pair.b.least(),
    )


def _degrees(pair: Pair, a: F8, b: F8) -> F8:
    """Satterthwaite's degrees of freedom of variances `a` and `b`; of differences when paired."""
    free_a, free_b = pair.a.effective - 1, pair.b.effective - 1
    least = max(min(free_a, free_b), 0.0)
    if pair.paired:
        return np.full(len(a), least)
    below = a**2 / max(free_a, 1e-9) + b**2 / max(free_b, 1e-9)
    degrees: F8 = np.divide((a + b) ** 2, below, out=np.full(len(a), least), where=below > 0)
    return degrees


def common_factor(pair: Pair) -> Factor:
    """The factor of functions' own shares (they add up, totals do not)."""
    usable = (pair.a.captures >= _FOR_FACTOR) & (pair.b.captures >= _FOR_FACTOR)
    clusters = len(pair.a.base)
    if usable.sum() < _MIN_FUNCTIONS:
        return Factor.none(clusters)
    rows = np.flatnonzero(usable)
    pa, pb = pair.a.rate[rows], pair.b.rate[rows]
    logs = np.log(pb / pa)
    error, _ = difference(pair, Factor.none(clusters)).spread(pair)
    order = np.argsort(logs, kind="stable")
    cut = int(len(order) * TRIMMED)
    kept = order[cut : len(order) - cut]
    weights = pa[kept] * pb[kept] / error[rows[kept]] ** 2
    weights = np.minimum(weights, 4 * np.median(weights))
    weights = weights / weights.sum()
    value = float(np.exp(-(weights @ logs[kept])))
    return Factor(value, *(_weighted(side, rows[kept], weights) for side in (pair.a, pair.b)))


def _weighted(side: Measured, rows: npt.NDArray[np.int64], weights: F8) -> F8:
    """By cluster: the influence on Σ weight·log(rate)."""
    of_rate = np.zeros(len(side.captures))
    of_rate[rows] = weights / side.rate[rows]
    influence = side.influence()
    found: F8 = of_rate @ influence.x + influence.v @ (of_rate @ influence.u)
    return found


def quantile(level: float | F8, df: F8) -> F8:
    """Student's t quantile; NaN below half a degree of freedom."""
    usable = np.where(df >= 0.5, df, np.nan)
    return np.asarray(scipy.special.stdtrit(usable, level))


def beyond(distance: F8, df: F8) -> F8:
    """P(T > distance) of Student's t; 1 where there are no degrees of freedom."""
    usable = np.where(df >= 0.5, df, np.nan)
    chance: F8 = np.nan_to_num(np.asarray(scipy.special.stdtr(usable, -distance)), nan=1.0)
    return chance
