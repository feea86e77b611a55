"""Slices of time depend on each other: the widened intervals still cover, the plain ones would not."""

import numpy as np
import numpy.typing as npt
from scipy import sparse

from collector.compare.clusters import Layout
from collector.compare.decide import estimate_design
from collector.compare.design import Design
from collector.compare.evidence import Evidence, Side
from collector.compare.time_slices import inflation

FUNCTIONS, SLICES = 20, 40


def drifting(random: np.random.Generator, correlation: float) -> npt.NDArray[np.float64]:
    """Function × slice: shares whose logarithms follow a first-order autoregression."""
    noise = np.zeros((FUNCTIONS, SLICES))
    noise[:, 0] = random.standard_normal(FUNCTIONS)
    for at in range(1, SLICES):
        fresh = np.sqrt(1 - correlation**2) * random.standard_normal(FUNCTIONS)
        noise[:, at] = correlation * noise[:, at - 1] + fresh
    drawn = np.exp(0.1 * noise)
    return drawn / drawn.sum(axis=0) * 1e10


def side(values: npt.NDArray[np.float64], first: int) -> Side:
    whole = np.zeros((FUNCTIONS, 2 * SLICES))
    whole[:, first : first + SLICES] = values
    time = whole.sum(axis=0)
    captures = np.full(FUNCTIONS, 1e9)
    return Side(sparse.csr_array(whole), captures, time, 10.0 * (time > 0), time > 0)


def evidence(random: np.random.Generator, correlation: float) -> Evidence:
    """One host a side; each function is a stack of its own."""
    every = sparse.csr_array(sparse.eye(FUNCTIONS))
    return Evidence(
        clusters=[(host, 10 * at) for host in ("a", "b") for at in range(SLICES)],
        stacks=np.arange(FUNCTIONS, dtype=np.uint64),
        frame_index=np.arange(FUNCTIONS, dtype=np.int32),
        starts=np.arange(FUNCTIONS + 1),
        a=side(drifting(random, correlation), 0),
        b=side(drifting(random, correlation), SLICES),
        before=None,
        holds=every,
        ends_in=every,
    )


def coverage(correlation: float, slice_s: int) -> float:
    """How often the interval of a null difference holds 0. A slice of 0 s stands for independent clusters."""
    random = np.random.default_rng(31)
    found = []
    for _ in range(60):
        made = evidence(random, correlation)
        kind = "time slices" if slice_s else "hosts"
        design = Design(made, "share", Layout(kind, slice_s), concurrent=True)
        effects = estimate_design(design, made.ends_in, 0.0, 0.0)
        found.append(((effects.low <= 0) & (effects.high >= 0)).mean())
    return float(np.mean(found))


def test_intervals_cover_although_slices_depend_on_each_other() -> None:
    assert coverage(0.6, 0) < 0.85, "as if they were independent"
    assert 0.92 < coverage(0.6, 10) < 0.99


def test_independent_slices_are_hardly_widened() -> None:
    assert 0.92 < coverage(0.0, 10) < 0.98
    assert inflation(evidence(np.random.default_rng(1), 0.0)) < 1.1
