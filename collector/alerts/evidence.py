"""What an alert shows of its cause: callers, and values by host."""

import numpy as np

from collector.alerts.model import Json
from collector.query.flame import FlameTree
from collector.query.model import Profile, Query
from collector.query.querier import Querier
from collector.query.sandwich import callers_callees
from fleetprof.frames import Frame

MAX_CALLERS = 12
MAX_HOSTS = 500
_STEP_S = 10


def node_key(frame: Frame) -> str:
    """A name for a function that stays the same when the program is built anew: no address, no line."""
    mapping = frame.mapping.rsplit("/", 1)[-1]
    return f"{frame.kind.name.lower()}:{function_name(frame)}@{unicode_only(mapping)}"


def function_name(frame: Frame) -> str:
    """The frame's name as labels can hold it."""
    return unicode_only(frame.name)


def unicode_only(text: str) -> str:
    r"""`text` with each byte that was not UTF-8 as \udcXX: databases and receivers take Unicode only."""
    return text.encode("utf-8", "backslashreplace").decode()


def callers_of(profile: Profile, frame: Frame) -> list[Json]:
    """The function's direct callers with their part of the profile (0..1), largest first."""
    tree = callers_callees(profile, frame, min_share=0.005).callers
    whole = float(profile.total) or 1.0
    found = [
        {"function": tree.frames[tree.name[node]].name, "share": float(tree.total_value[node]) / whole}
        for node in _children_of_function(tree)
    ]
    return sorted(found, key=lambda each: -float(str(each["share"])))[:MAX_CALLERS]


def _children_of_function(tree: FlameTree) -> list[int]:
    """Nodes two below the root: the root's only child is the function itself."""
    return np.flatnonzero(tree.depth == 2).tolist()


def cores_by_host(querier: Querier, query: Query) -> dict[str, float]:
    """Average cores of each host of the query, over the time for which it reported."""
    answer = querier.series(query, _fitting_step(query), "host", MAX_HOSTS)
    found: dict[str, float] = {}
    for line in answer.series:
        known = ~np.isnan(line.values)
        seconds = int(known.sum()) * answer.step_s
        if seconds and "host" in line.labels and line.labels["host"] != "(other)":
            found[line.labels["host"]] = float(line.values[known].sum()) / 1e9 / seconds
    return found


def _fitting_step(query: Query) -> int:
    """Steps that start and end with the range, so that none is counted whole that is there in part."""
    for step_s in (60, _STEP_S):
        if query.range.start_s % step_s == 0 and query.range.end_s % step_s == 0:
            return step_s
    return _STEP_S
