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
from scipy import special

from collector.compare.evidence import Sparse

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

    def scaled(self) -> tuple[Sparse, F8]:
        """(values, base), both so scaled that values − rate·base is each cluster's influence."""
        whole = self.base.sum() or 1.0
        scale = 1 / (whole * np.sqrt(np.maximum(1 - self.leverage, 1e-9)))
        return self.values.multiply(scale[None, :]).tocsr(), self.base * scale


@dataclass(frozen=True, slots=True)
class Variances:
    """By function: variance of each side's rate, and their covariance."""

    a: F8
    b: F8
    both: F8
    least: F8
    """What sampling alone makes of the difference's variance."""

    def of_difference(self) -> F8:
        """Of b − a."""
        return np.maximum(self.a + self.b - 2 * self.both, self.least)


@dataclass(frozen=True, slots=True)
class Pair:
    """Both sides on the same columns."""

    a: Measured
    b: Measured
    paired: bool
    inflation: float = 1.0
    """What variances are multiplied with, for clusters that depend on each other."""

    def degrees(self, variances: Variances) -> F8:
        """Satterthwaite's degrees of freedom; of differences when paired."""
        free_a, free_b = self.a.effective - 1, self.b.effective - 1
        if self.paired:
            return np.full(len(variances.a), max(min(free_a, free_b), 0.0))
        below = variances.a**2 / max(free_a, 1e-9) + variances.b**2 / max(free_b, 1e-9)
        whole = (variances.a + variances.b) ** 2
        least = max(min(free_a, free_b), 0.0)
        degrees: F8 = np.divide(whole, below, out=np.full(len(whole), least), where=below > 0)
        return degrees

    def influence(self, weights_a: F8, weights_b: F8) -> tuple[F8, F8]:
        """By cluster: influence of weighted sums of rates, Σ w·rate, of either side."""
        found: list[F8] = []
        for side, weights in ((self.a, weights_a), (self.b, weights_b)):
            values, base = side.scaled()
            found.append(weights @ values - float(weights @ side.rate) * base)
        return found[0], found[1]


def variances(pair: Pair, factor: float, common: tuple[F8, F8]) -> Variances:
    """Variances of rate A and of factor·rate B, where the factor's log has influences `common` of A and B.

    With factor 1 and no influences these are the plain ones. Sampling itself sets a lower bound: n captured
    samples have a relative variance of at least 1/n.
    """
    (xa, da), (xb, db) = pair.a.scaled(), pair.b.scaled()
    pa, pb = pair.a.rate, pair.b.rate
    # Net = factor·pB − pA and factor = exp(gA − gB): to first order A's influence on −net is
    # ψA − factor·pB·γA, and B's on net is factor·(ψB − pB·γB), with ψ = x − p·d.
    slope_a, slope_b = factor * pb, pb
    ya, yb = common
    var_a = _square(xa, pa, da, slope_a, ya)
    var_b = factor**2 * _square(xb, pb, db, slope_b, yb)
    both = np.zeros_like(var_a)
    if (pair.a.base * pair.b.base).any():
        both = factor * _product(xa, pa, da, slope_a, ya, xb, pb, db, slope_b, yb)
    least_a, least_b = _least(pa, pair.a.captures), factor**2 * _least(pb, pair.b.captures)
    grown = pair.inflation
    return Variances(
        np.maximum(grown * var_a, least_a),
        np.maximum(grown * var_b, least_b),
        grown * both,
        least_a + least_b,
    )


def _least(rate: F8, captures: F8) -> F8:
    """Variance of a rate by sampling alone; of a function that was never sampled, that of one sample."""
    known = captures > 0
    per_capture = rate.sum() and float(rate[known].sum() / max(captures[known].sum(), 1))
    least: F8 = np.where(known, rate**2 / np.maximum(captures, 1), per_capture**2)
    return least


def _square(x: Sparse, p: F8, d: F8, slope: F8, y: F8) -> F8:
    """By function: Σ over clusters of (x − p·d − slope·y)²."""
    total = np.asarray(x.multiply(x).sum(axis=1)).ravel()
    total = total - 2 * p * (x @ d) - 2 * slope * (x @ y)
    total = total + p**2 * float(d @ d) + 2 * p * slope * float(d @ y) + slope**2 * float(y @ y)
    squares: F8 = np.maximum(total, 0.0)
    return squares


def _product(xa: Sparse, pa: F8, da: F8, sa: F8, ya: F8, xb: Sparse, pb: F8, db: F8, sb: F8, yb: F8) -> F8:
    """By function: Σ over clusters of (xa − pa·da − sa·ya)·(xb − pb·db − sb·yb)."""
    total = np.asarray(xa.multiply(xb).sum(axis=1)).ravel()
    total = total - pb * (xa @ db) - sb * (xa @ yb) - pa * (xb @ da) - sa * (xb @ ya)
    total = total + pa * pb * float(da @ db) + pa * sb * float(da @ yb)
    products: F8 = total + sa * pb * float(ya @ db) + sa * sb * float(ya @ yb)
    return products


@dataclass(frozen=True, slots=True)
class Factor:
    """The common factor of all functions' shares: what B's are multiplied with, and its log's influences."""

    value: float
    influence: tuple[F8, F8]

    @classmethod
    def none(cls, clusters: int) -> "Factor":
        """No common factor is taken out."""
        return cls(1.0, (np.zeros(clusters), np.zeros(clusters)))


def common_factor(pair: Pair) -> Factor:
    """The factor of functions' own shares (they add up, totals do not)."""
    usable = (pair.a.captures >= _FOR_FACTOR) & (pair.b.captures >= _FOR_FACTOR)
    clusters = len(pair.a.base)
    if usable.sum() < _MIN_FUNCTIONS:
        return Factor.none(clusters)
    rows = np.flatnonzero(usable)
    pa, pb = pair.a.rate[rows], pair.b.rate[rows]
    logs = np.log(pb / pa)
    plain = variances(pair, 1.0, Factor.none(clusters).influence)
    spread = plain.of_difference()[rows] / (pa * pb)
    order = np.argsort(logs, kind="stable")
    cut = int(len(order) * TRIMMED)
    kept = order[cut : len(order) - cut]
    weights = 1 / spread[kept]
    weights = np.minimum(weights, 4 * np.median(weights))
    weights = weights / weights.sum()
    value = float(np.exp(-(weights @ logs[kept])))
    weights_a, weights_b = np.zeros(len(usable)), np.zeros(len(usable))
    weights_a[rows[kept]] = weights / pa[kept]
    weights_b[rows[kept]] = weights / pb[kept]
    return Factor(value, pair.influence(weights_a, weights_b))


def quantile(level: float | F8, df: F8) -> F8:
    """Student's t quantile; NaN below half a degree of freedom."""
    usable = np.where(df >= 0.5, df, np.nan)
    return np.asarray(special.stdtrit(usable, level))


def beyond(distance: F8, df: F8) -> F8:
    """P(T > distance) of Student's t; 1 where there are no degrees of freedom."""
    usable = np.where(df >= 0.5, df, np.nan)
    chance: F8 = np.nan_to_num(np.asarray(special.stdtr(usable, -distance)), nan=1.0)
    return chance
