"""Cost that moved: what one function gained and another lost is no regression.

A rename, a split or an inlined function looks like growth in one place. Each cause is matched with at most
one function that shrank by a similar amount and had the same caller, or called the cause or was called by it;
what is left of both together is tested as one.
"""

from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np
import numpy.typing as npt

from collector.compare.evidence import Evidence, columns_of
from fleetprof.frames import Frame

F8 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

LEAST_PART = 0.4
"""Of the growth, that a source has to have lost."""


@dataclass(frozen=True, slots=True)
class Match:
    """A cause and the function that its cost came from (both places in Comparison.frames)."""

    target: int
    source: int


def match_sources(
    evidence: Evidence, frames: list[Frame], causes: I64, shrunk: I64, net: F8, changes: F8
) -> list[Match]:
    """At most one source a cause and one cause a source, closest amounts and names first.

    `shrunk`: functions that fell beyond noise (chance alone always offers some that fell a little); `net`:
    each function's change of its own value; `changes`: each stack's.
    """
    if not len(causes) or not len(shrunk):
        return []
    kin = {int(row): _kin(evidence, int(row), changes) for row in (*causes, *shrunk)}
    scored = []
    for target in causes.tolist():
        for source in shrunk.tolist():
            part = -net[source] / net[target] if net[target] > 0 else 0.0
            if part < LEAST_PART or target == source or not _related(target, source, kin):
                continue
            names = SequenceMatcher(None, frames[target].name, frames[source].name).ratio()
            scored.append((abs(np.log(part)) - names, target, source))
    matches: list[Match] = []
    taken: set[int] = set()
    for _, target, source in sorted(scored):
        if not {target, source} & taken:
            matches.append(Match(target, source))
            taken |= {target, source}
    return matches


def _kin(evidence: Evidence, row: int, changes: F8) -> set[int]:
    """Direct callers of a function in the stacks that end in it and changed most."""
    ends = columns_of(evidence.ends_in, row)
    ends = ends[np.argsort(-np.abs(changes[ends]))[:50]]
    starts, lengths = evidence.starts[ends], np.diff(evidence.starts)[ends]
    return set(evidence.frame_index[starts[lengths > 1] + 1].tolist())


def _related(target: int, source: int, kin: dict[int, set[int]]) -> bool:
    """Same caller, or one calls the other."""
    return bool(kin[target] & kin[source]) or source in kin[target] or target in kin[source]
