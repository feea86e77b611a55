"""What cannot be compared, told in plain words."""

from collections.abc import Sequence

import numpy as np

from collector.query.asking import Asking
from collector.query.explain import explain_empty
from collector.query.model import Query, TimeRange
from collector.query.selector import format_selector
from collector.query.sources import Binds, series_sql
from collector.query.together import Owned
from fleetprof.errors import InputError


def check_comparable(a: Query, b: Query) -> None:
    """Raises InputError for two selections that say the same or measure different things."""
    if a.selection != b.selection:
        raise InputError(
            f"A is {a.selection.title}, B is {b.selection.title}: they cannot be compared.",
            "Choose one profile type for both.",
        )
    if a.matchers == b.matchers and a.range == b.range:
        raise InputError(
            "A and B are the same selection of the same time.",
            "Change a label (such as version) or the range of one of them.",
        )


def check_disjoint(asking: Asking, sides: tuple[Query, Query], owned: Sequence[Owned]) -> None:
    """Raises InputError when a sample can belong to both: then they are not two measurements.

    `owned`: the series of each side.
    """
    a, b = sides
    shared_s = min(a.range.end_s, b.range.end_s) - max(a.range.start_s, b.range.start_s)
    if shared_s <= 0:
        return
    if a.matchers == b.matchers:
        raise InputError(
            f"The ranges of A and B overlap by {shared_s} s, and both select {format_selector(a.matchers)}.",
            "Choose ranges that do not overlap, or selections that differ in a label.",
        )
    if not np.isin(owned[0].ids, owned[1].ids).any():
        return
    binds = Binds()
    # One statement names series of both; matchers of different labels can hold for the same series.
    both = (*a.matchers, *b.matchers)
    found = asking.ask(
        "SELECT uniqExact(series) AS shared, uniqExact(host) AS hosts "
        f"{series_sql(both, _shared_range(a, b), binds)}",
        binds,
    )
    if shared := int(found["shared"].sum()):
        raise InputError(
            f"A and B overlap: {shared} series on {int(found['hosts'].sum())} hosts belong to both, so their "
            "samples would be compared with themselves.",
            'Leave them out of one side, e.g. with host!="…" or version!="…", or choose ranges that do not '
            "overlap.",
        )


def _shared_range(a: Query, b: Query) -> TimeRange:
    return TimeRange(max(a.range.start_s, b.range.start_s), min(a.range.end_s, b.range.end_s))


def check_filled(asking: Asking, side: str, query: Query, hosts: int) -> None:
    """Raises InputError when a selection has no samples, with the reason."""
    if not hosts:
        raise InputError(
            f"{side} has nothing to compare: {explain_empty(asking, query)}",
            f"{side} is {format_selector(query.matchers)}; change its selector or range.",
        )
