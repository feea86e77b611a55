"""Names for stored frames without one: found by a worker, written to the store, so that old data has them too.

Each named frame is one row of table symbolized, which leads to the functions' own rows in table frames.
"""

import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from collector.debuginfo.files import DebugFile, DebugFiles
from collector.debuginfo.look_ups import LookUps
from collector.debuginfo.workers import Function, Workers
from collector.ingest.definition_blocks import frame_block
from collector.query.definitions import IDS_A_STATEMENT
from collector.store.columns import from_ragged
from collector.store.interface import Store
from fleetprof.frames import Frame, FrameKind, frame_id

_PAGE = 20_000
"""Frames of one statement, and of one block of answers."""
_BUILDS_A_STATEMENT = 1_000

_ALL = """SELECT DISTINCT id, mapping, build_id, offset FROM frames
WHERE function = '' AND build_id IN %(builds)s AND id > %(after)s ORDER BY id LIMIT %(rows)s"""
_NEW = """SELECT DISTINCT id, mapping, build_id, offset FROM frames
WHERE function = '' AND build_id IN %(builds)s AND id > %(after)s AND id GLOBAL NOT IN (SELECT id FROM symbolized)
ORDER BY id LIMIT %(rows)s"""
_UNNAMED_BUILDS = """SELECT build_id, count() AS frames FROM frames
WHERE function = '' AND build_id != '' AND id GLOBAL NOT IN (SELECT id FROM symbolized)
GROUP BY build_id ORDER BY frames DESC, build_id LIMIT %(rows)s"""
_DEFINED = """SELECT id, kind, function, mapping, build_id, offset, file, line FROM frames
WHERE id IN %(ids)s ORDER BY updated"""


class Nameless(NamedTuple):
    """A stored frame without a function."""

    id: int
    mapping: str
    build_id: str
    offset: int


class Naming:
    """Names the frames of debug files."""

    def __init__(self, store: Store, files: DebugFiles, workers: Workers) -> None:
        self._store, self._look_ups = store, LookUps(files, workers)
        self.named = 0
        """Frames that got names since start."""

    def name_all(self, file: DebugFile) -> None:
        """Name all stored frames of a file's build, those that have names already anew.

        Raises WorkerFailed where the file cannot be used, and UnavailableError.
        """
        for page in self._nameless([file.build_id], again=True):
            self.name(file, page)

    def name_new(self, files: list[DebugFile]) -> Iterator[tuple[DebugFile, list[Nameless]]]:
        """(file, frames) of frames that came since they were looked at; pass each to `name`."""
        by_build = {file.build_id: file for file in files}
        builds = list(by_build)
        for start in range(0, len(builds), _BUILDS_A_STATEMENT):
            for page in self._nameless(builds[start : start + _BUILDS_A_STATEMENT], again=False):
                groups: dict[str, list[Nameless]] = {}
                for frame in page:
                    groups.setdefault(frame.build_id, []).append(frame)
                for build_id, frames in groups.items():
                    yield by_build[build_id], frames

    def unnamed_builds(self) -> list[str]:
        """Builds with frames that nothing is known of, those with most of them first."""
        found = self._store.query((_UNNAMED_BUILDS, {"rows": _BUILDS_A_STATEMENT}))
        return [str(build_id) for build_id in found["build_id"]]

    def _nameless(self, builds: list[str], again: bool) -> Iterator[list[Nameless]]:
        """Pages of frames without a function; without `again` only those that nothing is known of."""
        after = 0
        while True:
            values = {"builds": builds, "after": after, "rows": _PAGE}
            found = self._store.query((_ALL if again else _NEW, values))
            columns = (found[name].tolist() for name in ("id", "mapping", "build_id", "offset"))
            page = [Nameless(*row) for row in zip(*columns, strict=True)]
            if page:
                yield page
            if len(page) < _PAGE:
                return
            after = page[-1].id

    def name(self, file: DebugFile, frames: list[Nameless]) -> None:
        """Name these frames of a file's build; raises as `name_all`."""
        found = self._look_ups.functions(file, [frame.offset for frame in frames])
        if found is None:
            return  # the file was removed meanwhile
        chains = [_chain(frame, functions) for frame, functions in zip(frames, found, strict=True)]
        self._define({id_: frame for chain in chains for id_, frame in chain.items()})
        self._store.insert("symbolized", _block(frames, chains, found), uuid.uuid4().hex)
        self.named += sum(map(bool, chains))

    def _define(self, functions: dict[int, Frame]) -> None:
        """Write rows of functions that lack one, or whose row knows less."""
        known = self._defined(list(functions))
        new = {}
        for id_, frame in functions.items():
            better = _merged(known[id_], frame) if id_ in known else frame
            if known.get(id_) != better:
                new[id_] = better
        if new:
            self._store.insert("frames", frame_block(new), uuid.uuid4().hex)

    def _defined(self, ids: list[int]) -> dict[int, Frame]:
        found: dict[int, Frame] = {}
        for start in range(0, len(ids), IDS_A_STATEMENT):
            rows = self._store.query((_DEFINED, {"ids": ids[start : start + IDS_A_STATEMENT]}))
            for id_, kind, *rest in zip(*(rows[name].tolist() for name in rows), strict=True):
                found[id_] = Frame(FrameKind(kind), *rest)
        return found


def _chain(frame: Nameless, functions: list[Function]) -> dict[int, Frame]:
    """The frames that stand for `frame`, by id, innermost first; recursion that was inlined counts once."""
    chain: dict[int, Frame] = {}
    for function in functions:
        named = Frame(
            function.kind, function.name, frame.mapping,
            file=function.file, line=function.start_line or function.line,
        )  # fmt: skip
        id_ = frame_id(named)
        chain[id_] = _merged(chain[id_], named) if id_ in chain else named
    return chain


def _merged(known: Frame, found: Frame) -> Frame:
    """One row of a function that was met at several of its lines: the first of them, as it does not move."""
    if not known.file:
        return found
    if known.file == found.file and 0 < found.line < (known.line or 1 << 32):
        return known._replace(line=found.line)
    return known


def _block(
    frames: list[Nameless], chains: list[dict[int, Frame]], found: list[list[Function]]
) -> Mapping[str, Any]:
    """Rows of table symbolized."""
    lengths = [len(chain) for chain in chains]
    lines = [
        line for chain, functions in zip(chains, found, strict=True) for line in _lines(chain, functions)
    ]
    return {
        "id": np.array([frame.id for frame in frames], np.uint64),
        "functions": from_ragged(np.array([id_ for chain in chains for id_ in chain], np.uint64), lengths),
        "lines": from_ragged(np.array(lines, np.uint32), lengths),
        "updated_ns": np.full(len(frames), time.time_ns(), np.uint64),
    }


def _lines(chain: dict[int, Frame], functions: list[Function]) -> list[int]:
    """The line that runs in each function of `chain`: of one that recurs, the innermost."""
    first: dict[tuple[str, FrameKind], int] = {}
    for function in functions:
        first.setdefault((function.name, function.kind), function.line)
    return [first[frame.function, frame.kind] for frame in chain.values()]
