"""Profile types, their units, and windows."""

from dataclasses import dataclass
from enum import IntEnum

from fleetprof.errors import InputError

WINDOW_NS = 10_000_000_000
OFFSET_STEP_NS = 10_000_000
"""CPU samples remember when inside their window they fell, in steps of this size."""


class ProfileType(IntEnum):
    """What was measured; the numbers are those of fleetprof.v1.ProfileType and the store's `type`."""

    CPU = 1
    RUNQ = 2
    OFFCPU = 3
    IDLE = 4

    @property
    def label(self) -> str:
        """The lower-case name that people, URLs and the store use."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Selection:
    """A profile type as a user selects it: one stored type or the sum of several."""

    name: str
    title: str
    types: tuple[ProfileType, ...]
    unit: str = "nanoseconds"


SELECTIONS = {
    selection.name: selection
    for selection in (
        Selection("cpu", "CPU time", (ProfileType.CPU,)),
        Selection("runq", "Run-queue wait", (ProfileType.RUNQ,)),
        Selection("offcpu", "Off-CPU time", (ProfileType.OFFCPU,)),
        Selection("wall", "Wall time", (ProfileType.CPU, ProfileType.RUNQ, ProfileType.OFFCPU)),
    )
}


def selection(name: str) -> Selection:
    """The selection called `name`; raises InputError naming the known ones."""
    try:
        return SELECTIONS[name]
    except KeyError:
        known = ", ".join(SELECTIONS)
        raise InputError(f'Unknown profile type "{name}".', f"Known types: {known}.") from None
