"""Sums by stack and cluster from the store, and what functions the stacks hold.

One statement a side groups the samples by stack and cluster; functions are added up here, once a stack.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

from collector.compare.clusters import Layout, Presence
from collector.compare.evidence import Evidence, Side, Sparse
from collector.compare.functions import unify
from collector.compare.part import Part, with_host
from collector.query.asking import Asking
from collector.query.definitions import FrameNames, load_stacks, take_ragged
from collector.query.model import Query
from collector.query.named import load_named
from collector.query.profiles import UNDEFINED_STACK
from collector.query.sources import Binds, series_sql
from fleetprof.frames import UNSAMPLED, Frame

F8 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Sums:
    """Values by cluster and stack; row i belongs to keys[cluster[i]]."""

    keys: list[tuple[str, int]]
    cluster: I64
    stack: U64
    value: U64
    captures: U64


def load_sums(asking: Asking, part: Part, layout: Layout) -> Sums:
    """The samples of a selection, or of a part of it, summed by cluster and stack."""
    binds = Binds()
    source = (
        f"(SELECT series, stack, {layout.bucket_sql(binds)}, sum(value) AS v, sum(captures) AS c "
        f"FROM samples WHERE {part.condition(binds)} GROUP BY series, stack, bucket)"
    )
    found = asking.ask(
        "SELECT on_host, bucket, groupArray(stack) AS stacks, groupArray(value) AS values, "
        "groupArray(captures) AS counts FROM "
        "(SELECT on_host, bucket, stack, sum(v) AS value, sum(c) AS captures "
        f"{with_host(source, part.query, binds)} GROUP BY on_host, bucket, stack) "
        "GROUP BY on_host, bucket ORDER BY on_host, bucket",
        binds,
    )
    keys = [(str(host), int(bucket)) for host, bucket in zip(found["on_host"], found["bucket"], strict=True)]
    lengths = [len(stacks) for stacks in found["stacks"]]
    stack, value, captures = (_joined(found[name]) for name in ("stacks", "values", "counts"))
    return Sums(keys, np.repeat(np.arange(len(keys)), lengths), stack, value, captures)


def _joined(parts: npt.NDArray[np.object_]) -> U64:
    return np.concatenate([np.empty(0, np.uint64), *(np.asarray(part, np.uint64) for part in parts)])


def gather(
    asking: Asking,
    names: FrameNames,
    parts: list[Part],
    presence: list[dict[str, Presence]],
    layout: Layout,
) -> tuple[Evidence, list[Frame]]:
    """The evidence of A, B and, where given, of both sides' hosts before; and the functions that it indexes."""
    sums = [load_sums(asking, part, layout) for part in parts]
    seconds = [layout.keys(there) for there in presence]
    clusters = sorted({key for keys in (*seconds, *(each.keys for each in sums)) for key in keys})
    stacks: U64 = np.unique(np.concatenate([each.stack for each in sums]))
    sides = [_side(*each, clusters, stacks) for each in zip(sums[:2], seconds, strict=False)]
    # One query tells the history of both: a host that is on both sides has it on both.
    of = [_only(sums[2], seconds[2], keys) for keys in seconds[:2]] if len(sums) > 2 else []
    before = [_side(*each, clusters, stacks) for each in of]
    frames, frame_index, starts = _load_frames(asking, names, parts, stacks)
    in_a, in_b = (_seen(side, frame_index, starts, len(frames)) for side in sides)
    functions, codes = unify(frames, in_a, in_b)
    index = codes[frame_index]
    return (
        Evidence(
            clusters=clusters,
            stacks=stacks,
            frame_index=index,
            starts=starts,
            a=sides[0],
            b=sides[1],
            before=(before[0], before[1]) if before else None,
            holds=_holds(index, starts, len(functions)),
            ends_in=_incidence(index[starts[:-1]], np.arange(len(stacks)), len(functions), len(stacks)),
        ),
        functions,
    )


def _only(
    sums: Sums, seconds: dict[tuple[str, int], float], clusters: Iterable[tuple[str, int]]
) -> tuple[Sums, dict[tuple[str, int], float]]:
    """The part of some clusters."""
    wanted = set(clusters)
    rows = np.array([key in wanted for key in sums.keys], np.bool_)[sums.cluster]
    part = Sums(sums.keys, sums.cluster[rows], sums.stack[rows], sums.value[rows], sums.captures[rows])
    return part, {key: value for key, value in seconds.items() if key in wanted}


def _side(
    sums: Sums, seconds: dict[tuple[str, int], float], clusters: list[tuple[str, int]], stacks: U64
) -> Side:
    place = {key: number for number, key in enumerate(clusters)}
    column = np.array([place[key] for key in sums.keys], np.int64)[sums.cluster]
    row = np.searchsorted(stacks, sums.stack)
    shape = (len(stacks), len(clusters))
    values = scipy.sparse.coo_array((sums.value.astype(np.float64), (row, column)), shape).tocsr()
    covered = np.array([seconds.get(key, 0.0) for key in clusters])
    time = np.bincount(column, sums.value.astype(np.float64), len(clusters)).astype(np.float64)
    return Side(
        values=values,
        captures=np.bincount(row, sums.captures.astype(np.float64), len(stacks)).astype(np.float64),
        time=time,
        seconds=covered,
        present=(covered > 0) | (time > 0),
    )


def _load_frames(
    asking: Asking,
    names: FrameNames,
    parts: list[Part],
    stacks: U64,
) -> tuple[list[Frame], npt.NDArray[np.int32], I64]:
    """(frames, frame_index, starts) of `stacks`; every stack has at least one frame."""
    services = sorted({name for part in parts for name in _load_services(asking, part.query)})
    binds = Binds()
    chosen = " UNION ALL ".join(f"SELECT stack FROM samples WHERE {part.condition(binds)}" for part in parts)
    defined = load_stacks(asking, services, stacks, (chosen, binds))
    frames, codes, defined_starts = load_named(names, defined)
    unsampled, undefined = len(frames), len(frames) + 1
    frames += [UNSAMPLED, UNDEFINED_STACK]
    # Two more rows stand behind the defined stacks: the empty stack and the undefined one.
    flat = np.append(codes, np.array([unsampled, undefined], np.int32))
    bounds = np.append(defined_starts, defined_starts[-1] + np.array([1, 2]))
    rows = np.searchsorted(defined.ids, stacks)
    known = rows < len(defined.ids)
    known[known] = defined.ids[rows[known]] == stacks[known]
    rows = np.where(known, rows, len(defined.ids) + 1)
    rows[stacks == 0] = len(defined.ids)
    frame_index, starts = take_ragged(flat, bounds, rows)
    used, index = np.unique(frame_index, return_inverse=True)
    return [frames[code] for code in used.tolist()], index.astype(np.int32), starts


def _load_services(asking: Asking, query: Query) -> list[str]:
    binds = Binds()
    found = asking.ask(f"SELECT DISTINCT service {series_sql(query.matchers, query.range, binds)}", binds)
    return [str(name) for name in found["service"]]


def _seen(side: Side, frame_index: npt.NDArray[np.int32], starts: I64, frames: int) -> npt.NDArray[np.bool_]:
    """Which frames are in a stack that this side has."""
    there = np.diff(side.values.indptr) > 0
    seen = np.zeros(frames, np.bool_)
    seen[frame_index[np.repeat(there, np.diff(starts))]] = True
    return seen


def _holds(index: npt.NDArray[np.int32], starts: I64, functions: int) -> Sparse:
    """Function × stack; a function that recurs in a stack counts once."""
    stacks = len(starts) - 1
    stack_of = np.repeat(np.arange(stacks, dtype=np.int64), np.diff(starts))
    pairs = np.unique(index.astype(np.int64) * max(stacks, 1) + stack_of)
    return _incidence(pairs // max(stacks, 1), pairs % max(stacks, 1), functions, stacks)


def _incidence(
    functions: npt.NDArray[np.integer], stacks: npt.NDArray[np.integer], rows: int, columns: int
) -> Sparse:
    ones = np.ones(len(functions))
    return scipy.sparse.coo_array((ones, (functions, stacks)), (rows, columns)).tocsr()
