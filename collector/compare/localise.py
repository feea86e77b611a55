"""From many changed functions to their causes: the deepest ones that explain what their callers show.

A function that calls a slower one grows with it. Of the functions that passed their test, one is a cause when
less than 80 % of its change lies in stacks that hold a deeper one that passed, too, and what is left outside
of these passes the test by itself; the others belong to the cause that explains most of them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

from collector.compare.evidence import Evidence, Side, Sparse, columns_of

F8 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

EXPLAINED = 0.8


@dataclass(frozen=True, slots=True)
class Causes:
    """Rows of functions that are causes, and for each the functions that changed because of it."""

    rows: list[int]
    callers: dict[int, list[int]]


Left = Callable[[Sparse], Flags]
"""For rows of stacks (row × stack, 1 where it counts): whether their sum passes the test."""


def stack_changes(evidence: Evidence, factor: float, factor_before: float | None) -> F8:
    """By stack: factor·share in B − share in A; less the same before, where that is known."""
    changes = factor * _shares(evidence.b) - _shares(evidence.a)
    if evidence.before and factor_before is not None:
        a, b = evidence.before
        changes = changes - (factor_before * _shares(b) - _shares(a))
    return changes


def _shares(side: Side) -> F8:
    whole = float(side.time.sum())
    sums = np.asarray(side.values.sum(axis=1)).ravel()
    return sums / whole if whole else sums


def find_causes(evidence: Evidence, candidates: I64, changes: F8, passes: Left) -> Causes:
    """The causes among functions that passed, given each stack's change (ascending rows, each once)."""
    deepest = _deepest(evidence, candidates)
    explained: dict[int, int] = {}
    outside: list[tuple[int, I64]] = []
    for row in candidates.tolist():
        held = columns_of(evidence.holds, row)
        below, change = deepest[held], changes[held]
        others = below != row
        if not others.any():
            continue
        whole = float(change.sum())
        amounts = np.bincount(below[others], np.sign(whole) * change[others])
        explained[row] = int(np.argmax(amounts))
        if whole == 0 or float(change[others].sum()) / whole < EXPLAINED:
            outside.append((row, held[~others]))
    own = passes(_members([stacks for _, stacks in outside], len(evidence.stacks)))
    for (row, _), left in zip(outside, own.tolist(), strict=True):
        if left:
            del explained[row]
    causes = [row for row in candidates.tolist() if row not in explained]
    return Causes(causes, _attribute(causes, explained))


def _members(groups: list[I64], stacks: int) -> Sparse:
    """Group × stack: 1 where the group has the stack."""
    rows = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    columns = np.concatenate([np.zeros(0, np.int64), *groups])
    return scipy.sparse.coo_array((np.ones(len(rows)), (rows, columns)), (len(groups), stacks)).tocsr()


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
