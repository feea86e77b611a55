"""Which of our profile types a foreign value is, and by what it is multiplied.

Profilers name what they measure freely (type and unit, as in pprof). What is not in the tables here is refused by
name: a wrong guess would mix bytes with nanoseconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fleetprof.formats.stack_profile import ValueType
from fleetprof.profile_types import ProfileType

_TYPES = {
    ProfileType.CPU: ("cpu", "process_cpu", "on_cpu", "oncpu", "cpu_time", "itimer"),
    # OpenTelemetry's eBPF profiler sends blocked time as ("events", "nanoseconds").
    ProfileType.OFFCPU: ("offcpu", "off_cpu", "events"),
    ProfileType.RUNQ: ("runq", "run_queue"),
}
_OF_NAME = {name: type_ for type_, names in _TYPES.items() for name in names}
_NANOSECONDS = {
    **dict.fromkeys(("nanoseconds", "nanosecond", "ns"), 1),
    **dict.fromkeys(("microseconds", "microsecond", "us", "µs", "μs"), 10**3),
    **dict.fromkeys(("milliseconds", "millisecond", "ms"), 10**6),
    **dict.fromkeys(("seconds", "second", "s"), 10**9),
}
_COUNTS = ("samples", "sample", "cpu_samples", "cpu", "process_cpu", "count")
_COUNT_UNITS = ("count", "samples", "sample", "")

SUPPORTED = (
    "cpu, offcpu and runq in ns, us, ms or s, and counts of CPU samples with their period in such a unit"
)


class Unsupported(Exception):
    """None of a profile's values is of a type that is kept; says which are there."""

    def __init__(self, value_types: Sequence[ValueType]) -> None:
        names = ", ".join(f"{each.type or '(none)'}/{each.unit or '(none)'}"[:80] for each in value_types[:8])
        super().__init__(f"Values of type {names or '(none)'} are not supported; supported: {SUPPORTED}.")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of values that is kept: value × factor is nanoseconds of `type`."""

    type: ProfileType
    place: int
    factor: int
    captures: int | None = None
    """The column that counts the samples behind it."""
    counted: bool = False
    """Whether the column itself counts samples."""


def choose(value_types: Sequence[ValueType], period_type: ValueType, period: int) -> list[Column]:
    """The columns to keep, at most one a type; raises Unsupported when there is none.

    Times are taken as they are. Counts of samples are multiplied by the period where there are no CPU times.
    """
    counts = next((place for place, each in enumerate(value_types) if _is_count(each)), None)
    found: dict[ProfileType, Column] = {}
    for place, each in enumerate(value_types):
        type_, factor = _OF_NAME.get(_plain(each.type)), _NANOSECONDS.get(_plain(each.unit))
        if type_ and factor:
            captures = counts if type_ is ProfileType.CPU else None
            found.setdefault(type_, Column(type_, place, factor, captures))
    period_ns = period_in_ns(period_type, period)
    if not found and counts is not None and period_ns:
        found[ProfileType.CPU] = Column(ProfileType.CPU, counts, period_ns, counts, counted=True)
    if not found:
        raise Unsupported(value_types)
    return list(found.values())


def period_in_ns(period_type: ValueType, period: int) -> int:
    """Nanoseconds between two CPU samples; 0 when the period is none or of something else."""
    of_cpu = _plain(period_type.type) in ("", "wall", *_TYPES[ProfileType.CPU])
    factor = _NANOSECONDS.get(_plain(period_type.unit), 0) if of_cpu else 0
    return period * factor if 0 < period < 2**40 else 0


def _is_count(value_type: ValueType) -> bool:
    return _plain(value_type.type) in _COUNTS and _plain(value_type.unit) in _COUNT_UNITS


def _plain(text: str) -> str:
    return text.strip().lower().replace("-", "_")
