"""Typed questions to the store and their answers. Every page, API route and command goes through these."""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fleetprof.frames import Frame
from fleetprof.profile_types import Selection

MatchOp = Literal["=", "!=", "=~", "!~"]


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition of a selector, e.g. `service="checkout"`. Regular expressions are RE2, fully anchored."""

    label: str
    op: MatchOp
    value: str


@dataclass(frozen=True, slots=True)
class TimeRange:
    """Half-open range of Unix seconds, start included."""

    start_s: int
    end_s: int

    @property
    def seconds(self) -> int:
        """Length of the range."""
        return self.end_s - self.start_s


@dataclass(frozen=True, slots=True)
class Query:
    """What to look at: a profile type, the series that match all `matchers`, and when."""

    selection: Selection
    matchers: tuple[Matcher, ...]
    range: TimeRange


@dataclass(frozen=True, slots=True)
class Completeness:
    """How much of what should be there is there, over the query's hosts and range."""

    hosts: int
    windows_expected: int
    windows_received: int
    losses: dict[str, int] = field(default_factory=dict)
    """DropReason label → count."""

    @property
    def share(self) -> float:
        """0..1; 1 when nothing was expected."""
        return self.windows_received / self.windows_expected if self.windows_expected else 1.0


@dataclass(frozen=True, slots=True)
class Profile:
    """Stacks with their summed values. Stack i is frame_index[starts[i]:starts[i + 1]], leaf first; it
    indexes `frames`.

    When the selection spans several services the last (outermost) frame of each stack is a LABEL frame with
    the service's name, so that a fleet's flame graph is split by service at its root.
    """

    query: Query
    frames: list[Frame]
    frame_index: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int64]
    values: npt.NDArray[np.uint64]
    captures: int
    """How many captured samples stand behind the values."""
    resolution: str
    """Which table answered: "10s", "1m" or "1h"."""
    exact: bool
    """True when all values were scaled to exact scheduler times."""
    completeness: Completeness
    stack_captures: npt.NDArray[np.uint64] | None = None
    """The captured samples of each stack, where known."""

    @property
    def total(self) -> int:
        """Sum of all values."""
        return int(self.values.sum())


@dataclass(frozen=True, slots=True)
class TopRow:
    """A function's own value and its value with everything it calls (counted once per stack)."""

    frame: Frame
    self_value: int
    total_value: int


@dataclass(frozen=True, slots=True)
class SeriesPoints:
    """Values over time: seconds since the epoch at each step's start, and the summed value in the step.

    A step in which no selected host reported is NaN (a gap, not zero).
    """

    labels: dict[str, str]
    start_s: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SeriesAnswer:
    """Lines of a chart, all on the same steps."""

    step_s: int
    series: list[SeriesPoints]
    resolution: str


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures above a profile: how much, of what, and how well it is known."""

    seconds: float
    """The selected time in seconds, summed over threads (CPU-seconds when the type is cpu)."""
    average: float
    """`seconds` per second of the range: cores in use, or threads waiting."""
    share: float
    """0..1 of the same type and range without matchers; 0 when there is nothing."""
    hosts: int
    """Hosts that have series of the selection and reported in the range."""
    hosts_total: int
    """Hosts that reported in the range."""
    captures: int
    """Captured stacks behind the values."""


CompletionKind = Literal["label", "operator", "value", "separator"]


@dataclass(frozen=True, slots=True)
class Completion:
    """What can stand at the cursor: each of `candidates` replaces characters start..end of the text."""

    kind: CompletionKind
    start: int
    end: int
    candidates: tuple[str, ...]


Json = dict[str, Any]
