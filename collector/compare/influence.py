"""Clusters' influences on functions' rates, and sums of their products, without a dense matrix.

An influence by function f and cluster c is x[f, c] + Σ_k u[f, k]·v[c, k]: sparse data and a few products of a
number of the function and one of the cluster (what is subtracted to centre it).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from collector.compare.evidence import Sparse

F8 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Influence:
    """Influences of clusters on one number a function."""

    x: Sparse
    """Function × cluster."""
    u: F8
    """Function × term."""
    v: F8
    """Cluster × term."""

    def plus(self, other: "Influence", weight: float = 1.0) -> "Influence":
        """The influence on the sum of this number and `weight` times the other."""
        return Influence(
            self.x + weight * other.x,
            np.concatenate([self.u, weight * other.u], axis=1),
            np.concatenate([self.v, other.v], axis=1),
        )

    def squares(self) -> F8:
        """By function: the sum of squares over clusters."""
        return np.maximum(self.products(self), 0.0)

    def products(self, other: "Influence") -> F8:
        """By function: the sum over clusters of the products with the other's."""
        found: F8 = np.asarray(self.x.multiply(other.x).sum(axis=1)).ravel()
        found = found + (other.u * (self.x @ other.v)).sum(axis=1)
        found = found + (self.u * (other.x @ self.v)).sum(axis=1)
        found = found + ((self.u @ (self.v.T @ other.v)) * other.u).sum(axis=1)
        return found
