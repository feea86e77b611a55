"""From many changed functions to their causes: the deepest ones that explain what their callers show.

A function that calls a slower one grows with it. Of the functions that passed their test, one is a cause when
less than 80 % of its change lies in stacks that hold a deeper one that passed, too; the others belong to the
cause that explains most of them.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from collector.compare.evidence import Evidence, Side

F8 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

EXPLAINED = 0.8


@dataclass(frozen=True, slots=True)
class Causes:
    """Rows of functions that are causes, and for each the functions that changed because of it."""

    rows: list[int]
    callers: dict[int, list[int]]


def stack_changes(evidence: Evidence, factor: float) -> F8:
    """By stack: factor·share in B − share in A."""
    return factor * _shares(evidence.b) - _shares(evidence.a)


def _shares(side: Side) -> F8:
    whole = float(side.time.sum())
    sums = np.asarray(side.values.sum(axis=1)).ravel()
    return sums / whole if whole else sums


def find_causes(evidence: Evidence, passed: I64, own: I64, changes: F8) -> Causes:
    """The causes among functions `passed` (by total) and `own` (by their own value).

    `changes` is each stack's change.
    """
    candidates = np.unique(np.concatenate([passed, own]))
    deepest = _deepest(evidence, candidates)
    causes: list[int] = []
    explained: dict[int, int] = {}
    for row in candidates.tolist():
        held = evidence.holds[[row], :].indices
        change = changes[held]
        whole = float(change.sum())
        below = deepest[held]
        inside = float(change[below != row].sum())
        if whole == 0 or inside / whole < EXPLAINED:
            causes.append(row)
            continue
        others = below[below != row]
        amounts = np.bincount(others, np.sign(whole) * change[below != row])
        explained[row] = int(np.argmax(amounts))
    return Causes(causes, _attribute(causes, explained))


def _deepest(evidence: Evidence, candidates: I64) -> I64:
    """By stack: which candidate is nearest to its leaf; -1 where there is none."""
    member = np.zeros(evidence.holds.shape[0], np.bool_)
    member[candidates] = True
    places = np.flatnonzero(member[evidence.frame_index])
    stack_of = np.searchsorted(evidence.starts, places, side="right") - 1
    found = np.full(len(evidence.stacks), -1, np.int64)
    found[stack_of[::-1]] = evidence.frame_index[places[::-1]]  # leaf first: the first of each stack stays
    return found


def _attribute(causes: list[int], explained: dict[int, int]) -> dict[int, list[int]]:
    """For each cause the functions whose chain of explanations ends in it."""
    callers: dict[int, list[int]] = {row: [] for row in causes}
    for row in explained:
        at, seen = row, set[int]()
        while at in explained and at not in seen:
            seen.add(at)
            at = explained[at]
        if at in callers:
            callers[at].append(row)
    return callers
