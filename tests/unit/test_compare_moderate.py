"""Borrowed variances: exact where functions are alike, none where they are not, levels kept either way."""

import numpy as np
from scipy import stats

from collector.compare.moderate import MIN_FUNCTIONS, moderate

COUNT, DF = 4000, 10.0


def drawn(spread: float, seed: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(true, estimated variances, captures): true ones follow a trend in captures, times a random factor."""
    random = np.random.default_rng(seed)
    captures = np.exp(random.uniform(np.log(100), np.log(1e6), COUNT))
    true = (0.01 + 1 / captures) * np.exp(spread * random.standard_normal(COUNT))
    return true, true * random.chisquare(DF, COUNT) / DF, captures


def run(spread: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    true, estimated, captures = drawn(spread)
    everything = np.ones(COUNT)
    found, df = moderate(estimated, DF * everything, everything, captures, everything.astype(bool))
    return true, estimated, found, df


def test_alike_functions_lend_as_much_as_each_has() -> None:
    true, estimated, found, df = run(0.0)
    assert np.allclose(df, 2 * DF)
    assert np.std(np.log(found / true)) < 0.6 * np.std(np.log(estimated / true))
    assert abs(np.mean(found / true) - 1) < 0.05


def test_unlike_functions_lend_little() -> None:
    _, _, _, df = run(1.5)
    assert (df < DF + 2).all()


def test_levels_hold_whatever_functions_are_like() -> None:
    for spread in (0.0, 0.3, 0.7, 1.5):
        true, _, found, df = run(spread)
        random = np.random.default_rng(5)
        z = np.sqrt(true) * random.standard_normal((50, COUNT))
        p = 2 * stats.t.sf(np.abs(z) / np.sqrt(found), df)
        assert 0.035 < (p < 0.05).mean() < 0.06
        assert (p < 1e-4).mean() < 3e-4, f"tails at a spread of {spread}"


def test_few_functions_keep_their_own() -> None:
    _, estimated, captures = drawn(0.0)
    few = slice(0, MIN_FUNCTIONS - 1)
    ones = np.ones(MIN_FUNCTIONS - 1)
    found, df = moderate(estimated[few], DF * ones, ones, captures[few], ones.astype(bool))
    assert (found == estimated[few]).all()
    assert (df == DF).all()
