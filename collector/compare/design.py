"""How sums become rates: what they are divided by, and what varies independently."""

from dataclasses import dataclass, field

import numpy as np
import scipy

from collector.compare.clusters import Layout
from collector.compare.estimate import F8, Factor, Measured, Pair, common_factor
from collector.compare.evidence import Evidence, Side, Sparse
from collector.compare.time_slices import inflation
from collector.compare.units import Unit


@dataclass(frozen=True, slots=True)
class Design:
    """The plan by which a comparison's evidence is judged."""

    evidence: Evidence
    unit: Unit
    layout: Layout
    concurrent: bool
    paired: bool = field(init=False)
    """Every cluster is on both sides."""
    inflation: float = field(init=False)
    factors: tuple[Factor, Factor | None] = field(init=False)
    """The common factors of shares now and before; 1 for cores, None where before is not known."""

    def __post_init__(self) -> None:
        present_a, present_b = self.evidence.a.present, self.evidence.b.present
        object.__setattr__(self, "paired", bool((present_a == present_b).all()))
        object.__setattr__(self, "inflation", inflation(self.evidence) if self.layout.slice_s else 1.0)
        object.__setattr__(self, "factors", self._factors())

    def pair(self, own: bool, earlier: bool = False) -> Pair:
        """Both sides, functions' own values or those with calls; `earlier`: as they were before."""
        return self.sums(self.evidence.ends_in if own else self.evidence.holds, earlier)

    def sums(self, members: Sparse, earlier: bool = False) -> Pair:
        """Both sides, summed by rows of stacks (row × stack)."""
        a, b = (
            Measured((members @ side.values).tocsr(), self._base(side), members @ side.captures)
            for side in self._sides(earlier)
        )
        return Pair(a, b, paired=self.paired, inflation=self.inflation)

    def whole(self, earlier: bool = False) -> Pair:
        """The selections' CPU as one function, in cores per host."""
        a, b = (
            Measured(
                scipy.sparse.csr_array(side.time[None, :]),
                side.seconds * 1e9,
                np.array([side.captures.sum()]),
            )
            for side in self._sides(earlier)
        )
        return Pair(a, b, paired=self.paired, inflation=self.inflation)

    def _factors(self) -> tuple[Factor, Factor | None]:
        if self.unit != "share":
            none = Factor.none(len(self.evidence.clusters))
            return none, none if self.evidence.before else None
        before = common_factor(self.pair(own=True, earlier=True)) if self.evidence.before else None
        return common_factor(self.pair(own=True)), before

    def _sides(self, earlier: bool) -> tuple[Side, Side]:
        if earlier and self.evidence.before:
            return self.evidence.before
        return self.evidence.a, self.evidence.b

    def _base(self, side: Side) -> F8:
        return side.time if self.unit == "share" else side.seconds * 1e9
