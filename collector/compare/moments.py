"""Sums by stack and cluster from the store, and what functions the stacks hold.

One statement a side groups the samples by stack and cluster; functions are added up here, once a stack.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

from collector.compare.clusters import Layout, Presence
from collector.compare.evidence import Evidence, Side, Sparse
from collector.compare.functions import unify
from collector.compare.part import Part, parts_where
from collector.query.asking import Asking
from collector.query.definitions import encode_ids, find_sorted, take_ragged
from collector.query.frame_names import FrameNames
from collector.query.named import load_named
from collector.query.profiles import UNDEFINED_STACK
from collector.query.sources import Binds
from collector.query.together import Owned, answered_together, of_hosts, together
from collector.store.interface import Columns
from fleetprof.frames import UNSAMPLED, Frame

F8 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Sums:
    """Values by cluster and stack, which several rows may share; row i belongs to keys[cluster[i]]."""

    keys: list[tuple[str, int]]
    cluster: npt.NDArray[np.int32]
    stack: U64
    value: U64
    captures: U64


def load_sums(asking: Asking, parts: Sequence[Part], owned: Sequence[Owned], layout: Layout) -> list[Sums]:
    """The samples of what is read of each selection, summed by cluster and stack; `owned`: their series."""

    def answer(places: list[int]) -> Iterable[Sums]:
        binds = Binds()
        rows = asking.ask(
            f"SELECT series, stack, {layout.bucket_sql(binds)}, sum(value) AS v, sum(captures) AS c "
            f"FROM samples {parts_where([parts[place] for place in places], binds)} GROUP BY series, stack, bucket",
            binds,
        )
        return [_sums(rows, owned[place]) for place in places]

    return answered_together([part.query for part in parts], answer)


def _sums(rows: Columns, owned: Owned) -> Sums:
    mine, host = of_hosts(rows["series"], owned)
    stack, value, captures, bucket = (rows[name][mine] for name in ("stack", "v", "c", "bucket"))
    cluster, clusters = encode_ids((host.astype(np.uint64) << np.uint64(33)) | bucket.astype(np.uint64))
    keys = [(owned.hosts[key >> 33], key & ((1 << 33) - 1)) for key in clusters.tolist()]
    return Sums(keys, cluster, stack, value, captures)


def gather(
    asking: Asking,
    names: FrameNames,
    parts: list[Part],
    owned: list[Owned],
    presence: list[dict[str, Presence]],
    layout: Layout,
) -> tuple[Evidence, list[Frame]]:
    """The evidence of A, B and, where given, of both sides' hosts before; and the functions that it indexes."""
    sums = load_sums(asking, parts, owned, layout)
    seconds = [layout.keys(there) for there in presence]
    clusters = sorted({key for keys in (*seconds, *(each.keys for each in sums)) for key in keys})
    stacks: U64 = np.sort(encode_ids(np.concatenate([each.stack for each in sums]))[1])
    sides = [_side(*each, clusters, stacks) for each in zip(sums[:2], seconds, strict=False)]
    # One query tells the history of both: a host that is on both sides has it on both.
    of = [_only(sums[2], seconds[2], keys) for keys in seconds[:2]] if len(sums) > 2 else []
    before = [_side(*each, clusters, stacks) for each in of]
    services = _services(parts, owned)
    frames, frame_index, starts = _load_frames(names, parts, services, stacks)
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
    codes, distinct = encode_ids(sums.stack)
    row = np.searchsorted(stacks, distinct)[codes]
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


def _services(parts: list[Part], owned: list[Owned]) -> list[str]:
    """Those that have series in what is read."""
    found: set[str] = set()
    for part, each in zip(parts, owned, strict=True):
        hosts = part.activity.keys() if part.activity is not None else None
        found.update(name for name, its in each.services.items() if hosts is None or hosts & its)
    return sorted(found)


def _load_frames(
    names: FrameNames, parts: list[Part], services: list[str], stacks: U64
) -> tuple[list[Frame], npt.NDArray[np.int32], I64]:
    """(frames, frame_index, starts) of `stacks`; every stack has at least one frame."""
    binds = Binds()
    chosen = " UNION ALL ".join(
        f"SELECT stack FROM samples {parts_where([parts[place] for place in places], binds)}"
        for places in together([part.query for part in parts])
    )
    defined = names.stacks.load(services, stacks, (chosen, binds))
    frames, codes, defined_starts = load_named(names, defined)
    unsampled, undefined = len(frames), len(frames) + 1
    frames += [UNSAMPLED, UNDEFINED_STACK]
    # Two more rows stand behind the defined stacks: the empty stack and the undefined one.
    flat = np.append(codes, np.array([unsampled, undefined], np.int32))
    bounds = np.append(defined_starts, defined_starts[-1] + np.array([1, 2]))
    rows, known = find_sorted(defined.ids, stacks)
    rows = np.where(known, rows, len(defined.ids) + 1)
    rows[stacks == 0] = len(defined.ids)
    frame_index, starts = take_ragged(flat, bounds, rows)
    used, index = np.unique(frame_index, return_inverse=True)
    return [frames[code] for code in used.tolist()], index.astype(np.int32), starts


def _seen(side: Side, frame_index: npt.NDArray[np.int32], starts: I64, frames: int) -> npt.NDArray[np.bool_]:
    """Which frames are in a stack that this side has."""
    there = np.diff(side.values.indptr) > 0
    seen = np.zeros(frames, np.bool_)
    seen[frame_index[np.repeat(there, np.diff(starts))]] = True
    return seen


def _holds(index: npt.NDArray[np.int32], starts: I64, functions: int) -> Sparse:
    """Function × stack; a function that recurs in a stack counts once."""
    stacks = len(starts) - 1
    by_stack = scipy.sparse.csr_array((np.ones(len(index)), index, starts), (stacks, functions))
    found = by_stack.T.tocsr()  # without sorting: stacks ascend already
    found.sum_duplicates()
    found.data[:] = 1.0
    return found


def _incidence(
    functions: npt.NDArray[np.integer], stacks: npt.NDArray[np.integer], rows: int, columns: int
) -> Sparse:
    ones = np.ones(len(functions))
    return scipy.sparse.coo_array((ones, (functions, stacks)), (rows, columns)).tocsr()
