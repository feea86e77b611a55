"""The frames of stacks, fetched from the store as flat arrays."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from collector.query.asking import Asking
from collector.query.sources import Binds

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
_Number = TypeVar("_Number", bound=np.integer)

IDS_A_STATEMENT = 8_000
"""Ids have up to 21 characters with their comma, and a server reads at most 256 KiB of statement."""


@dataclass(frozen=True, slots=True)
class StackFrames:
    """Frame ids of stacks: stack ids[i] (ascending) is frames[starts[i]:starts[i + 1]], leaf first."""

    ids: U64
    frames: U64
    starts: I64


def load_stacks(
    asking: Asking, services: list[str], wanted: U64, chosen_by: tuple[str, Binds]
) -> StackFrames:
    """The definitions of the stack ids `wanted`, which `services` have sent; undefined ones are left out.

    Many ids are not listed but selected by `chosen_by`, a subquery of stack ids and its values.
    """
    ids = np.unique(wanted)
    if len(ids) <= IDS_A_STATEMENT:
        binds = Binds()
        condition = f"stack IN {binds.add(ids)}" if len(ids) else "0"
    else:
        subquery, values = chosen_by
        binds = Binds(dict(values.values))
        condition = f"stack GLOBAL IN ({subquery})"
    if len(services) <= 200:
        condition = f"service IN {binds.add(tuple(services))} AND {condition}" if services else "0"
    # 16 rows of long arrays: no Python object per stack.
    found = asking.ask(
        "SELECT bitAnd(stack, 15) AS part, groupArray(stack) AS ids, groupArray(length(frames)) AS depths, "
        "groupArrayArray(frames) AS flat FROM "
        f"(SELECT stack, frames FROM stacks WHERE {condition} LIMIT 1 BY stack) GROUP BY part",
        binds,
    )
    return distinct_stacks(_joined(found["ids"]), _joined(found["depths"]), _joined(found["flat"]))


def _joined(parts: npt.NDArray[np.object_]) -> U64:
    arrays = [np.asarray(part, np.uint64) for part in parts]
    return np.concatenate(arrays) if arrays else np.empty(0, np.uint64)


def distinct_stacks(ids: U64, depths: npt.NDArray[np.integer], flat: U64) -> StackFrames:
    """Each stack once, by ascending id (before a merge the table holds some twice)."""
    starts = _starts(depths)
    unique, first = np.unique(ids, return_index=True)
    frames, kept_starts = take_ragged(flat, starts, first)
    return StackFrames(unique, frames, kept_starts)


def _starts(lengths: npt.NDArray[np.integer]) -> I64:
    starts = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    return starts


def find_sorted(
    ids: U64, wanted: npt.NDArray[np.integer]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """(place, found) of each wanted id among `ids`, which ascend; the place means nothing where it is not found."""
    places = np.searchsorted(ids, wanted)
    found = places < len(ids)
    found[found] = ids[places[found]] == wanted[found]
    return places, found


def take_ragged(
    flat: npt.NDArray[_Number], starts: I64, rows: npt.NDArray[np.integer], gap: int = 0
) -> tuple[npt.NDArray[_Number], I64]:
    """Rows of a ragged array, in the order of `rows`, each followed by `gap` free (zero) places."""
    lengths = starts[rows + 1] - starts[rows]
    new_starts = _starts(lengths + gap)
    result = np.zeros(new_starts[-1], flat.dtype)
    source = np.repeat(starts[rows] - _starts(lengths)[:-1], lengths) + np.arange(lengths.sum())
    if gap:
        target = np.repeat(new_starts[:-1] - _starts(lengths)[:-1], lengths) + np.arange(len(source))
        result[target] = flat[source]
    else:
        result = flat[source]
    return result, new_starts


def encode_ids(ids: U64) -> tuple[npt.NDArray[np.int32], U64]:
    """(codes, distinct ids) with ids == distinct[codes]; hashing is several times faster than np.unique."""
    encoded = pa.array(ids).dictionary_encode()
    return encoded.indices.to_numpy().astype(np.int32, copy=False), encoded.dictionary.to_numpy()
