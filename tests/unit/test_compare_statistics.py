"""The statistics of a comparison against straightforward versions of themselves, and against chance."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, stats

from collector.compare.decide import estimate_effects, false_discovery_rates, one_sided, two_sided
from collector.compare.estimate import Factor, Measured, Pair, common_factor, difference
from collector.compare.influence import Influence
from collector.compare.words import plain

F8 = npt.NDArray[np.float64]


def measured(values: F8, captures: float = 1e12) -> Measured:
    """Functions × clusters, with so many captures that sampling is no matter."""
    base = values.sum(axis=0)
    return Measured(sparse.csr_array(values), base, np.full(len(values), captures))


def side(random: np.random.Generator, hosts: int, columns: int, first: int, noise: float = 0.1) -> F8:
    """30 functions' time on `hosts` of `columns` clusters."""
    share = 1 / np.arange(1, 31)
    values = np.zeros((30, columns))
    drawn = share[:, None] * np.exp(noise * random.standard_normal((30, hosts)))
    values[:, first : first + hosts] = drawn / drawn.sum(axis=0) * 1e12
    return values


def test_with_equal_hosts_the_test_is_welchs() -> None:
    random = np.random.default_rng(1)
    a, b = side(random, 7, 16, 0), side(random, 9, 16, 7)
    pair = Pair(measured(a), measured(b), paired=False)
    found = difference(pair, Factor.none(16))
    se, df = found.spread(pair)
    share_a, share_b = a[:, :7] / 1e12, b[:, 7:] / 1e12
    expected = stats.ttest_ind(share_b, share_a, axis=1, equal_var=False)
    assert np.allclose(found.value / se, expected.statistic)
    assert np.allclose(df, expected.df)


def test_with_the_same_hosts_the_test_is_of_pairs() -> None:
    random = np.random.default_rng(2)
    a, b = side(random, 9, 9, 0), side(random, 9, 9, 0)
    pair = Pair(measured(a), measured(b), paired=True)
    se, df = difference(pair, Factor.none(9)).spread(pair)
    expected = stats.ttest_rel(b / 1e12, a / 1e12, axis=1)
    assert np.allclose((pair.b.rate - pair.a.rate) / se, expected.statistic)
    assert set(df.tolist()) == {8.0}


def test_difference_in_differences_is_welchs_test_of_each_hosts_change() -> None:
    random = np.random.default_rng(3)
    values = [side(random, 6, 12, first) for first in (0, 6, 0, 6)]
    now, before = (Pair(measured(values[i]), measured(values[i + 1]), paired=False) for i in (0, 2))
    none = Factor.none(12)
    found = difference(now, none).minus(difference(before, none))
    se, _ = found.spread(now)
    change = [(values[i] - values[i + 2])[:, 6 * i : 6 * i + 6] / 1e12 for i in (0, 1)]
    expected = stats.ttest_ind(change[1], change[0], axis=1, equal_var=False)
    assert np.allclose(found.value / se, expected.statistic)


def test_influence_sums_are_those_of_the_dense_matrix() -> None:
    random = np.random.default_rng(4)
    parts = []
    for _ in range(2):
        x = random.poisson(0.5, (8, 11)).astype(np.float64)
        parts.append((x, random.standard_normal((8, 2)), random.standard_normal((11, 2))))
    dense = [x + u @ v.T for x, u, v in parts]
    found = [Influence(sparse.csr_array(x), u, v) for x, u, v in parts]
    assert np.allclose(found[0].squares(), (dense[0] ** 2).sum(axis=1))
    assert np.allclose(found[0].products(found[1]), (dense[0] * dense[1]).sum(axis=1))
    assert np.allclose(
        found[0].plus(found[1], -0.5).squares(), ((dense[0] - 0.5 * dense[1]) ** 2).sum(axis=1)
    )


def test_one_function_s_growth_does_not_make_the_others_shrink() -> None:
    random = np.random.default_rng(5)
    a, b = side(random, 40, 80, 0, 0.02), side(random, 40, 80, 40, 0.02)
    b[0] *= 2
    pair = Pair(measured(a), measured(b), paired=False)
    effects = estimate_effects((pair, common_factor(pair)), None, 0.00002, 0.02)
    q = false_discovery_rates(effects.p, effects.tested)
    assert np.flatnonzero(q <= 0.01).tolist() == [0]
    assert (effects.delta[1:] < 0).all(), "all shares shrank, and their intervals say so"
    raw = estimate_effects((pair, Factor.none(80)), None, 0.00002, 0.02)
    assert (false_discovery_rates(raw.p, raw.tested) <= 0.01).sum() > 5, "which is what the factor is for"


@pytest.mark.parametrize("hosts", [5, 20])
def test_null_p_values_of_net_change_are_not_too_small(hosts: int) -> None:
    """Without a smallest effect the tests are at their level, the common factor's noise included."""
    random = np.random.default_rng(6)
    small = []
    for _ in range(60):
        a, b = side(random, hosts, 2 * hosts, 0), side(random, hosts, 2 * hosts, hosts)
        pair = Pair(measured(a), measured(b), paired=False)
        effects = estimate_effects((pair, common_factor(pair)), None, 0.0, 0.0)
        small.append((effects.p <= 0.05).mean())
    assert 0.025 < np.mean(small) < 0.07


def test_slices_and_hosts_of_one_sample_vary_by_sampling_at_least() -> None:
    values = np.full((3, 4), 100.0)
    a = Measured(sparse.csr_array(values), values.sum(axis=0), np.full(3, 4.0))
    se, _ = difference(Pair(a, a, paired=False), Factor.none(4)).spread(Pair(a, a, paired=False))
    assert np.allclose(se, np.sqrt(0.5 * 2 * (1 / 9) / 4)), "equal by chance, of four captures"


P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=40)


@given(P_VALUES, st.sampled_from([0.01, 0.05, 0.2]))
def test_false_discovery_rates_are_those_of_benjamini_hochberg(values: list[float], q: float) -> None:
    p = np.array(values)
    rates = false_discovery_rates(p, np.ones(len(p), np.bool_))
    order = np.sort(p)
    passing = np.flatnonzero(order <= q * np.arange(1, len(p) + 1) / len(p))
    expected = passing[-1] + 1 if len(passing) else 0
    assert abs(int((rates <= q).sum()) - expected) <= (np.abs(rates - q) < 1e-12).sum()
    assert np.allclose(rates, stats.false_discovery_control(p))


@given(P_VALUES)
def test_untested_functions_do_not_count(values: list[float]) -> None:
    p = np.array([*values, 0.0, 0.0])
    tested = np.array([True] * len(values) + [False, False])
    rates = false_discovery_rates(p, tested)
    assert rates[-2:].tolist() == [1.0, 1.0]
    assert np.allclose(rates[:-2], stats.false_discovery_control(p[:-2]))


@settings(max_examples=60)
@given(st.floats(-1, 1), st.floats(0, 0.5), st.floats(0.01, 1), st.floats(1, 100))
def test_tests_against_a_smallest_effect(net: float, margin: float, se: float, df: float) -> None:
    at = (np.array([x]) for x in (net, margin, se, df))
    both = float(two_sided(*at)[0])
    more = float(one_sided(*(np.array([x]) for x in (net, margin, se, df)))[0])
    wider = float(two_sided(*(np.array([x]) for x in (net, margin + 0.1, se, df)))[0])
    assert 0 <= both <= 1
    assert both <= wider + 1e-9, "a larger smallest effect is harder to exceed"
    assert more <= both + 1e-12 or net < margin
    if margin == 0:
        assert both == pytest.approx(2 * stats.t.sf(abs(net) / se, df), abs=1e-9)


@pytest.mark.parametrize(
    ("value", "said"),
    [(3012.3, "3000"), (100.0, "100"), (0.0345, "0.035"), (2e-5, "0.00002"), (1e-7, "0.0000001"), (0.0, "0")],
)
def test_numbers_are_said_as_people_write_them(value: float, said: str) -> None:
    assert plain(value) == said
