"""Two profiles for other tools: folded lines with two values, and pprof with B against A as its base."""

import numpy as np
import numpy.typing as npt

from collector.compare.diff_flame import Joined, join
from collector.query.definitions import take_ragged
from collector.query.model import Profile
from collector.query.selector import format_selector
from fleetprof.formats import folded, pprof
from fleetprof.formats.stack_profile import StackProfile, ValueType

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]


def diff_folded(profile_a: Profile, profile_b: Profile) -> bytes:
    """Lines "frame;frame;… a b", as difffolded.pl writes and flamegraph.pl reads them."""
    joined = join(profile_a, profile_b)
    unit = ValueType(profile_a.query.selection.name, profile_a.query.selection.unit)
    profile = _profile(joined, (unit, unit), np.stack([_signed(joined.a), _signed(joined.b)], axis=1))
    return folded.encode_two(profile)


def diff_pprof(profile_a: Profile, profile_b: Profile) -> bytes:
    """A pprof with the types a, b and their difference.

    As `pprof -diff_base` makes it: samples of A have negated values in the difference and carry the label
    pprof::base = true, so that tools take percentages of the base.
    """
    joined = join(profile_a, profile_b)
    selection = profile_a.query.selection
    types = tuple(ValueType(name, selection.unit) for name in ("a", "b", selection.name))
    a, b = _signed(joined.a), _signed(joined.b)
    in_a, in_b = np.flatnonzero(a), np.flatnonzero(b)
    zero_a, zero_b = np.zeros(len(in_a), np.int64), np.zeros(len(in_b), np.int64)
    values = np.concatenate(
        [np.stack([a[in_a], zero_a, -a[in_a]], axis=1), np.stack([zero_b, b[in_b], b[in_b]], axis=1)]
    )
    rows = np.concatenate([in_a, in_b])
    comment = "B {} against A {}".format(
        *(format_selector(profile.query.matchers) for profile in (profile_b, profile_a))
    )
    base = [True] * len(in_a) + [False] * len(in_b)
    return pprof.encode(_profile(joined, types, values, rows), comment=comment, base=base)


def _signed(values: U64) -> I64:
    return values.astype(np.int64)


def _profile(
    joined: Joined, types: tuple[ValueType, ...], values: I64, rows: npt.NDArray[np.integer] | None = None
) -> StackProfile:
    """The stacks `rows` (None: all) with these values."""
    rows = np.arange(len(joined.a)) if rows is None else rows
    frame_index, starts = take_ragged(joined.frame_index, joined.starts, rows)
    return StackProfile(joined.frames, frame_index, starts, types, values, period_type=types[-1])
