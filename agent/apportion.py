"""Splitting whole numbers in given proportions so that the parts add up exactly."""

import numpy as np
import numpy.typing as npt

from agent.samples import I64

Groups = npt.NDArray[np.intp]


def sums(values: I64, group: Groups, groups: int) -> I64:
    """Sum of the values of each group 0..groups-1, exact."""
    result = np.zeros(groups, np.int64)
    np.add.at(result, group, values)
    return result


def apportion(weights: I64, group: Groups, targets: I64) -> I64:
    """Split each group's target among its members by weight, by the largest remainder method (Hamilton's).

    `weights` >= 0 and `group` are member-wise, `targets` >= 0 group-wise. The members' parts add up to their
    group's target exactly, and each is within 1 of its proportional part as long as values stay below 2**52.
    Groups whose weights are all 0 get nothing.
    """
    if not len(weights):
        return np.zeros(0, np.int64)
    totals = sums(weights, group, len(targets))
    ratio = np.divide(targets, totals, out=np.zeros(len(targets)), where=totals > 0)
    ideal = weights * ratio[group]
    parts = np.floor(ideal).astype(np.int64)
    order = np.lexsort((parts - ideal, group))
    missing = np.where(totals > 0, targets, 0) - sums(parts, group, len(targets))
    parts[order] += _rank(group[order]) < missing[group[order]]
    # What rounding of the ratio leaves over, a few units at most, goes to the largest part.
    missing = np.where(totals > 0, targets, 0) - sums(parts, group, len(targets))
    if missing.any():
        order = np.lexsort((-parts, group))
        largest = order[_rank(group[order]) == 0]
        parts[largest] += missing[group[largest]]
    return parts


def _rank(ordered: Groups) -> Groups:
    """Position of each element of a sorted array within its run of equal elements."""
    begins = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    lengths = np.diff(np.append(begins, len(ordered)))
    return np.arange(len(ordered)) - np.repeat(begins, lengths)
