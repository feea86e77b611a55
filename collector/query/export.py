"""Profiles in the formats of other tools."""

from dataclasses import dataclass

import numpy as np

from collector.query.model import Profile
from collector.query.selector import format_selector
from fleetprof.errors import InputError
from fleetprof.formats import folded, pprof, speedscope
from fleetprof.formats.stack_profile import SAMPLES_COUNT, StackProfile, ValueType

FORMATS = ("pprof", "folded", "speedscope")


@dataclass(frozen=True, slots=True)
class Export:
    """A file to hand out."""

    data: bytes
    content_type: str
    suffix: str
    """Of the file's name, e.g. "pb.gz"."""


def export(profile: Profile, format: str) -> Export:
    """`profile` as one of FORMATS; raises InputError for another name."""
    stacks = to_stack_profile(profile)
    value = len(stacks.value_types) - 1
    if format == "pprof":
        return Export(pprof.encode(stacks, comment=_title(profile)), "application/octet-stream", "pb.gz")
    if format == "folded":
        return Export(folded.encode(stacks, value), "text/plain; charset=utf-8", "folded")
    if format == "speedscope":
        return Export(speedscope.encode(stacks, _title(profile)), "application/json", "speedscope.json")
    raise InputError(f'Unknown format "{format}".', f"Known formats: json, {', '.join(FORMATS)}.")


def to_stack_profile(profile: Profile) -> StackProfile:
    """Columns samples/count (where known), then the profile's own type and unit, which tools show first."""
    selection = profile.query.selection
    value_type = ValueType(selection.name, selection.unit)
    columns = [profile.values.astype(np.int64)]
    value_types = [value_type]
    if profile.stack_captures is not None:
        columns.insert(0, profile.stack_captures.astype(np.int64))
        value_types.insert(0, SAMPLES_COUNT)
    return StackProfile(
        frames=profile.frames,
        frame_index=profile.frame_index,
        starts=profile.starts,
        value_types=tuple(value_types),
        values=np.stack(columns, axis=1),
        period_type=value_type,
        time_ns=profile.query.range.start_s * 10**9,
        duration_ns=profile.query.range.seconds * 10**9,
    )


def _title(profile: Profile) -> str:
    return f"{profile.query.selection.title} of {format_selector(profile.query.matchers)}"
