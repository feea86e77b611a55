"""The change that is too small to be of interest. On its own, so that rules are read without the statistics."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SmallestEffect:
    """A change up to this is of no interest, so it is part of the null hypothesis: H0: |Δ| ≤ the largest of
    `absolute` (of the selection's CPU, 0..1), `relative` (of A's value) and `cores` (per host).
    """

    absolute: float = 0.00002
    relative: float = 0.02
    cores: float = 0.0
