"""A profile of another profiler, as every receiver makes it and as windows are made of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from collector.ingest.refusal import malformed
from collector.receivers.measured import choose, period_in_ns
from fleetprof.formats.stack_profile import StackProfile
from fleetprof.frames import Frame
from fleetprof.profile_types import ProfileType

MAX_DEPTH = 1024
MAX_VALUE = 10**15
"""As for our own windows (collector/ingest/limits.py)."""

Labels = tuple[tuple[str, str], ...]
"""Labels of one sample, under our names."""


class Row(NamedTuple):
    """What one stack cost, in nanoseconds."""

    stack: int
    value: int
    captures: int
    labels: Labels = ()
    at_ns: int = 0
    """When, Unix time; 0: at any time of the profile."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """Rows of one profile type from one source. Stacks are places in `frames`, leaf first."""

    labels: Mapping[str, str]
    type: ProfileType
    frames: Sequence[Frame]
    stacks: Sequence[Sequence[int]]
    rows: Sequence[Row]
    start_ns: int
    """Unix time; 0 when the sender does not say."""
    end_ns: int
    period_ns: int = 0
    cut_stacks: int = 0
    """Samples whose stack was cut to MAX_DEPTH frames, from the leaf."""


@dataclass(slots=True)
class StackTable:
    """Collects stacks, each once, cut to MAX_DEPTH."""

    stacks: list[Sequence[int]] = field(default_factory=list)
    _places: dict[tuple[int, ...], int] = field(default_factory=dict)

    def place(self, stack: Iterable[int]) -> tuple[int, bool]:
        """The place of a stack, and whether it was cut."""
        whole = tuple(stack)
        found = whole[:MAX_DEPTH]
        place = self._places.setdefault(found, len(self.stacks))
        if place == len(self.stacks):
            self.stacks.append(found)
        return place, len(whole) > MAX_DEPTH


def checked(value: int, factor: int = 1) -> int:
    """`value` × `factor`; raises Refused for what no window holds."""
    if value < 0:
        raise malformed("A value is negative: differences of profiles cannot be added up.")
    if value * factor > MAX_VALUE:
        raise malformed(f"A value is larger than {MAX_VALUE} ns.")
    return value * factor


def from_profile(
    profile: StackProfile, labels: Mapping[str, str], start_ns: int, end_ns: int
) -> list[Foreign]:
    """The parts of a decoded file that are kept, one a profile type; raises Unsupported, Refused.

    Labels of samples are added to the profile's; empty rows are left out.
    """
    period_ns = period_in_ns(profile.period_type, profile.period)
    of_row = profile.labels or [()] * len(profile)
    found = []
    for column in choose(profile.value_types, profile.period_type, profile.period):
        table, cuts = StackTable(), 0
        values = profile.values[:, column.place].tolist()
        counts = _captures(profile, column.captures, values, 0 if column.counted else period_ns)
        index, starts = profile.frame_index.tolist(), profile.starts.tolist()
        rows = []
        for place, (value, captures) in enumerate(zip(values, counts, strict=True)):
            if value or captures:
                stack, cut = table.place(index[starts[place] : starts[place + 1]])
                cuts += cut * captures
                rows.append(Row(stack, checked(value, column.factor), captures, of_row[place]))
        found.append(
            Foreign(
                labels, column.type, profile.frames, table.stacks, rows, start_ns, end_ns, period_ns, cuts
            )
        )
    return found


def _captures(profile: StackProfile, column: int | None, values: list[int], period_ns: int) -> list[int]:
    """How many samples stand behind each row: as counted, else by the period, else one."""
    if column is not None:
        counts = profile.values[:, column]
        return [int(count) for count in np.clip(counts, 0, 2**32 - 1).tolist()]
    if period_ns:
        return [min(max(round(value / period_ns), 1), 2**32 - 1) if value > 0 else 0 for value in values]
    return [int(value > 0) for value in values]
