"""What the store knows of the inside of a function: places (build and offset) with their time, and lines.

Two kinds of frames say where time was spent. A frame without a name is a place itself, and table `symbolized` says
which functions and lines run there. Of named frames, table `places` has what agents with `source_lines` send.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from collector.query.asking import Asking
from collector.query.definitions import IDS_A_STATEMENT
from collector.query.model import Query
from collector.query.segments import function_segments
from collector.query.sources import Binds, Segment, match_sql, segment_condition, series_sql, sums_sql
from fleetprof.frames import Frame, FrameKind

MAX_FRAMES = 1_000
"""Frames of one name: of several mappings and kinds of code."""
MAX_NAMELESS = 100_000
_KINDS = {int(kind): kind for kind in FrameKind}


class Nameless(NamedTuple):
    """A stored frame without a name, and what debug information says of it: functions innermost first, each with
    the line that runs in it (0: not known)."""

    id: int
    functions: tuple[int, ...]
    lines: tuple[int, ...]


class Place(NamedTuple):
    """Time at one instruction of a named function."""

    build_id: str
    offset: int
    value: int


@dataclass(frozen=True, slots=True)
class Inside:
    """All that is known of a function's own time, in nanoseconds."""

    named: dict[int, Frame]
    """The frames of that name, by id."""
    nameless: list[Nameless]
    own: dict[int, int]
    """Frame id → its own time, of both."""
    services: list[str]
    """Those that spend it, the heaviest first."""
    places: list[Place]


def load_inside(asking: Asking, query: Query, function: str, mapping: str) -> Inside:
    """The function called `function` in `mapping` ("": in any), as far as `query` has it."""
    named = _load_named(asking, function, mapping)
    nameless = _load_nameless(asking, list(named)) if named else []
    ids = [*named, *(frame.id for frame in nameless)]
    own, services = _load_own(asking, query, ids)
    places = _load_places(asking, query, list(named)) if named else []
    return Inside(named, [frame for frame in nameless if frame.id in own], own, services, places)


def load_versions(asking: Asking, query: Query, inside: Inside, build_id: str) -> list[tuple[str, str]]:
    """(service, version) of what runs the function: of the build, where places tell, else all of the services."""
    if not inside.services:
        return []
    binds = Binds()
    condition = f"{series_sql(query.matchers, query.range, binds)} "
    condition += (
        f"{'AND' if ' WHERE ' in condition else 'WHERE'} service IN {binds.add(tuple(inside.services))}"
    )
    if any(place.build_id == build_id for place in inside.places):
        part = segment_condition(query, Segment("places", query.range), binds)
        some, build = binds.add(np.array(list(inside.named), np.uint64)), binds.add(build_id)
        condition += " AND series GLOBAL IN (SELECT series FROM places "
        condition += f"WHERE {part} AND func IN {some} AND build_id = {build})"
    found = asking.ask(f"SELECT DISTINCT service, version {condition} LIMIT 1000", binds)
    pairs = [
        (str(name), str(version)) for name, version in zip(found["service"], found["version"], strict=True)
    ]
    return sorted(pairs, key=lambda pair: inside.services.index(pair[0]))


def _load_named(asking: Asking, function: str, mapping: str) -> dict[int, Frame]:
    binds = Binds()
    condition = f"function = {binds.add(function)}"
    if mapping:
        condition += f" AND mapping = {binds.add(mapping)}"
    found = asking.ask(
        "SELECT id, kind, function, mapping, build_id, offset, file, line FROM frames "
        f"WHERE {condition} ORDER BY updated LIMIT {MAX_FRAMES}",
        binds,
    )
    names = ("function", "mapping", "build_id", "offset", "file", "line")
    columns = (found[name].tolist() for name in names)
    kinds = (_KINDS.get(kind, FrameKind.NATIVE) for kind in found["kind"].tolist())
    rows = zip(found["id"].tolist(), kinds, *columns, strict=True)
    return {id_: Frame(*rest) for id_, *rest in rows}


def _load_nameless(asking: Asking, functions: list[int]) -> list[Nameless]:
    """The frames without a name that have one of these functions; as they were looked up last."""
    binds = Binds()
    some = binds.add(np.array(functions, np.uint64))
    found = asking.ask(
        "SELECT id, functions, lines FROM symbolized WHERE id GLOBAL IN (SELECT id FROM "
        f"(SELECT id, arrayJoin(functions) AS function FROM symbolized) WHERE function IN {some}) "
        f"ORDER BY updated_ns LIMIT {MAX_NAMELESS}",
        binds,
    )
    wanted = set(functions)
    latest = {
        id_: Nameless(id_, tuple(map(int, ids)), tuple(map(int, lines)))
        for id_, ids, lines in zip(found["id"].tolist(), found["functions"], found["lines"], strict=True)
    }
    return [frame for frame in latest.values() if wanted.intersection(frame.functions)]


def _load_own(asking: Asking, query: Query, ids: list[int]) -> tuple[dict[int, int], list[str]]:
    """The own time of these frames, those that have any, and the services that spend it."""
    of_frame, of_service = Counter[int](), Counter[str]()
    segments = function_segments(asking, query) if ids else []
    for some in _chunks(ids):
        for segment in segments:
            for service, id_, value in _own_of(asking, query, segment, some):
                of_frame[id_] += value
                of_service[str(service)] += value
    return dict(+of_frame), [service for service, _ in (+of_service).most_common()]


def _own_of(asking: Asking, query: Query, segment: Segment, ids: list[int]) -> Iterator[tuple[str, int, int]]:
    binds = Binds()
    some = binds.add(np.array(ids, np.uint64))
    if segment.table == "func_1h":
        sums = sums_sql(query, segment, ("service", "func"), {"own": "self"}, binds)
        sql = f"SELECT service, func AS leaf, own FROM ({sums}) WHERE func IN {some}"
    else:
        sums = sums_sql(query, segment, ("service", "stack"), {"v": "value"}, binds)
        services = [match_sql(m, "service", binds) for m in query.matchers if m.label == "service"]
        which = " AND ".join([*services, f"frames[1] IN {some}"])
        sql = (
            f"SELECT service, leaf, sum(v) AS own FROM ({sums}) AS x ALL INNER JOIN "
            f"(SELECT stack, any(frames[1]) AS leaf FROM stacks WHERE {which} GROUP BY stack) AS y "
            "USING stack GROUP BY service, leaf"
        )
    found = asking.ask(sql, binds)
    return zip(found["service"].tolist(), found["leaf"].tolist(), found["own"].tolist(), strict=True)


def _load_places(asking: Asking, query: Query, ids: list[int]) -> list[Place]:
    binds = Binds()
    condition = segment_condition(query, Segment("places", query.range), binds)
    found = asking.ask(
        "SELECT build_id, offset, sum(value) AS v FROM places "
        f"WHERE {condition} AND func IN {binds.add(np.array(ids, np.uint64))} GROUP BY build_id, offset",
        binds,
    )
    columns = (found[name].tolist() for name in ("build_id", "offset", "v"))
    return [Place(str(build_id), offset, value) for build_id, offset, value in zip(*columns, strict=True)]


def _chunks(ids: list[int]) -> Iterable[list[int]]:
    return (ids[start : start + IDS_A_STATEMENT] for start in range(0, len(ids), IDS_A_STATEMENT))
