"""Slices of time are not independent as hosts are: what happens in one goes on in the next."""

import numpy as np
import numpy.typing as npt

from collector.compare.evidence import Evidence, Side

F8 = npt.NDArray[np.float64]

_HEAVIEST = 200
"""Functions that are looked at; the others follow them and are mostly sampling noise."""
_MOST = 0.8


def inflation(evidence: Evidence) -> float:
    """What variances between slices are multiplied with: (1 + ρ) / (1 − ρ), at least 1.

    ρ is the correlation of a slice's shares with those of the slice before it on the same host, over the
    heaviest functions of both sides (Kish's and Bartlett's factor for a first-order autoregression).
    """
    products, squares = 0.0, 0.0
    for side in (evidence.a, evidence.b):
        product, square = _lagged(evidence, side)
        products, squares = products + product, squares + square
    if squares <= 0:
        return 1.0
    correlation = min(max(products / squares, 0.0), _MOST)
    return (1 + correlation) / (1 - correlation)


def _lagged(evidence: Evidence, side: Side) -> tuple[float, float]:
    """(Σ of neighbouring residuals' products, Σ of their squares) of standardised shares."""
    columns = np.flatnonzero(side.time > 0)
    hosts = np.array([evidence.clusters[column][0] for column in columns.tolist()])
    neighbours = np.flatnonzero(hosts[1:] == hosts[:-1])
    if not len(neighbours):
        return 0.0, 0.0
    values = (evidence.ends_in @ side.values).tocsc()[:, columns]
    heavy = np.argsort(-np.asarray(values.sum(axis=1)).ravel())[:_HEAVIEST]
    shares = values.tocsr()[heavy, :].toarray() / side.time[columns]
    residuals = shares - shares.mean(axis=1, keepdims=True)
    spread = residuals.std(axis=1, keepdims=True)
    residuals = np.divide(residuals, spread, out=np.zeros_like(residuals), where=spread > 0)
    before, after = residuals[:, neighbours], residuals[:, neighbours + 1]
    return float((before * after).sum()), float((before**2).sum())
