"""Better variances from thousands of functions: each one's own, drawn towards what is usual for its weight.

With 20 hosts a variance is known to a third only, and a test among thousands pays for that with a high
threshold. The empirical Bayes way of limma (Smyth 2004) lends every function the experience of the others: d0
degrees of freedom about a variance s0², both fitted to how much functions of as many samples differ. Where
they differ much, d0 is small and nothing is borrowed; never more is than the function itself has.
"""

import numpy as np
import numpy.typing as npt
import scipy

F8 = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

MIN_FUNCTIONS = 200
"""Fewer do not tell what is usual."""
_BINS = 20
_LEAST_DF = 3.0


def moderate(variance: F8, df: F8, rate: F8, captures: F8, tested: Mask) -> tuple[F8, F8]:
    """(variance, degrees of freedom) of each function with what the others lend; unchanged for few functions.

    `rate`: the size that variances are relative to; `captures` orders functions by how well they are sampled.
    """
    usable = tested & (variance > 0) & (rate > 0) & (df >= _LEAST_DF)
    if usable.sum() < MIN_FUNCTIONS:
        return variance, df
    size, half = np.log(captures[usable]), df[usable] / 2
    # The logarithm of a variance estimated with d degrees of freedom is low by this on average.
    logs = np.log(variance[usable] / rate[usable] ** 2) - scipy.special.digamma(half) + np.log(half)
    usual = _trend(size, logs)
    borrowed = np.minimum(_prior_df(logs - usual, half), df[usable])
    prior = np.exp(usual) * rate[usable] ** 2
    found, found_df = variance.copy(), df.copy()
    found_df[usable] = df[usable] + borrowed
    found[usable] = (df[usable] * variance[usable] + borrowed * prior) / found_df[usable]
    return found, found_df


def _trend(size: F8, logs: F8) -> F8:
    """The usual logarithm at each size: means of equally large groups, joined by lines."""
    order = np.argsort(size, kind="stable")
    groups = np.array_split(order, _BINS)
    middles = np.array([size[group].mean() for group in groups])
    means = np.array([logs[group].mean() for group in groups])
    usual: F8 = np.interp(size, middles, means)
    return usual


def _prior_df(rests: F8, half: F8) -> float:
    """The degrees of freedom d0 with which the rests' variance is trigamma(d/2) + trigamma(d0/2)."""
    spread = float(np.mean(rests**2) - np.mean(scipy.special.polygamma(1, half)))
    lowest, highest = 0.01, 1e4
    if spread <= scipy.special.polygamma(1, highest):
        return 2 * highest
    if spread >= scipy.special.polygamma(1, lowest):
        return 2 * lowest
    return 2 * float(scipy.optimize.brentq(lambda x: scipy.special.polygamma(1, x) - spread, lowest, highest))
