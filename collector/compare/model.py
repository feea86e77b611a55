"""What a comparison of two selections says. Arrays by function all have the order of `Comparison.frames`."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from collector.compare.design import Design
from collector.compare.estimate import LEVEL, quantile
from collector.compare.evidence import Evidence
from collector.compare.smallest_effect import SmallestEffect
from collector.compare.units import Clusters, Unit
from collector.query.model import Completeness, Query
from fleetprof.frames import Frame

F8 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Arm:
    """One of the two selections."""

    query: Query
    hosts: int
    clusters: int
    total_ns: int
    captures: int
    host_seconds: float
    """Seconds for which hosts that ran the selection reported, added up."""
    completeness: Completeness

    @property
    def cores(self) -> float:
        """Average over the range."""
        return self.total_ns / 1e9 / self.query.range.seconds

    @property
    def cores_per_host(self) -> float:
        """Average over the time in which a host ran the selection."""
        return self.total_ns / 1e9 / self.host_seconds if self.host_seconds else 0.0


@dataclass(frozen=True, slots=True)
class Effects:
    """What changed, a row a function; in shares (0..1) or cores per host."""

    a: F8
    b: F8
    delta: F8
    """b − a."""
    low: F8
    high: F8
    """95 % interval of `delta`; NaN where there are too few clusters."""
    net: F8
    """The change that is left when all functions' common factor is taken out: shares add up to 1, so that one
    function's growth shrinks all others. Equal to `delta` for cores. The tests are about this one."""
    net_se: F8
    df: F8
    """Degrees of freedom of the standard errors."""
    margin: F8
    """The smallest effect, H0's edge."""
    p: F8
    """Of H0: |net| ≤ margin."""
    q: F8
    """False discovery rate at which the function is among the changed ones (Benjamini-Hochberg)."""
    detectable: F8
    """The smallest change of this function that would have been seen with a chance of 80 %."""
    captures_a: F8
    captures_b: F8
    tested: Mask
    """False where there are too few samples to tell anything."""
    significant: Mask

    @property
    def net_low(self) -> F8:
        """Lower end of the 95 % interval of `net`; NaN where there are too few clusters."""
        return self.net - quantile((1 + LEVEL) / 2, self.df) * self.net_se

    @property
    def net_high(self) -> F8:
        """Its upper end."""
        return self.net + quantile((1 + LEVEL) / 2, self.df) * self.net_se


@dataclass(frozen=True, slots=True)
class CpuChange:
    """CPU per host as a whole: a uniform slowdown shows here only."""

    a: float
    b: float
    delta: float
    """Cores per host."""
    low: float
    high: float
    p: float
    """Of H0: |delta| ≤ margin."""
    p_more: float
    """Of H0: delta ≤ margin."""
    margin: float
    detectable: float
    significant: bool


@dataclass(frozen=True, slots=True)
class Method:
    """How the comparison was made, for its reader to judge it."""

    clusters: Clusters
    """What varies: between hosts, or within the hosts over time (which says nothing about other hosts)."""
    paired: bool
    """The same hosts (or slices) stand on both sides, so that their differences are compared."""
    concurrent: bool
    """Both sides ran at the same time; else whatever changed meanwhile (traffic, time of day) counts, too."""
    adjusted: bool
    """How the sides differed before is taken out (difference in differences)."""
    slice_s: int
    """Length of a time slice; 0 for hosts."""
    factor: float
    """What B's shares are multiplied with for `net`."""
    q: float
    """The false discovery rate of `significant`."""
    sentence: str
    """All this in words."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A and B, function by function, with what this comparison can and cannot see."""

    unit: Unit
    a: Arm
    b: Arm
    frames: list[Frame]
    own: Effects
    """By function: its own CPU."""
    total: Effects
    """By function: its CPU with all it calls, once a stack."""
    cpu: CpuChange
    method: Method
    effect: SmallestEffect
    verdict: str
    """One sentence or two: what changed, or why that cannot be told."""
    visible: str
    """The smallest change that this comparison can see, in words."""
    design: Design
    """How the sums behind all this are judged; for further questions to them."""

    @property
    def evidence(self) -> Evidence:
        """The sums behind all this."""
        return self.design.evidence

    @property
    def can_tell(self) -> bool:
        """False when there is too little data for any statement."""
        return bool(self.total.tested.any())


@dataclass(frozen=True, slots=True)
class Finding:
    """A regression: one cause, with the callers that it makes grow."""

    frame: Frame
    kind: Literal["self", "total", "cpu"]
    """Whether the function's own CPU grew, or that of what it calls; "cpu": the selection as a whole."""
    row: int
    """Place in Comparison.frames; -1 for "cpu"."""
    a: float
    b: float
    delta: float
    low: float
    high: float
    net: float
    p: float
    q: float
    callers: tuple[Frame, ...] = ()
    """Functions that grew because of this one, largest first."""
    moved_from: tuple[Frame, ...] = ()
    """Where part of the growth came from: it moved here, and what is left is the finding."""


@dataclass(frozen=True, slots=True)
class Shift:
    """Cost that moved from one function to another and is no regression."""

    source: Frame
    target: Frame
    amount: float
    """How much the target grew."""
    net: float
    """What is left of it."""


@dataclass(frozen=True, slots=True)
class Regressions:
    """The alert rules' view of a comparison."""

    findings: list[Finding]
    """Largest first; one a cause."""
    shifts: list[Shift]
    tested: int
    """Tests made."""
    passed: int
    """Functions that passed, before callers were folded into causes and shifts taken out."""
    suspect: Finding | None = None
    """Where only the whole grew: the function that grew most clearly, by a test that is enough to name the cause
    of a change that is certain, not to raise an alert."""
