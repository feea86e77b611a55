"""What stack ids and frame ids mean, fetched from the store as flat arrays and cached.

A stack's frames and a named frame never change (their ids are hashes of their content), so they are kept; a
frame without a function can gain a name later, so it is forgotten after half a minute.
"""

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from collector.query.asking import Asking
from collector.query.sources import Binds
from fleetprof.frames import Frame, FrameKind

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
_Number = TypeVar("_Number", bound=np.integer)

UNDEFINED_FRAME = Frame(FrameKind.LABEL, "(undefined frame)", "")

IDS_A_STATEMENT = 8_000
"""Ids have up to 21 characters with their comma, and a server reads at most 256 KiB of statement."""
_MAX_CACHED_FRAMES = 400_000
_UNNAMED_KEPT_S = 30.0
_KINDS = {int(kind): kind for kind in FrameKind}


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
    return _distinct(_joined(found["ids"]), _joined(found["depths"]), _joined(found["flat"]))


def _joined(parts: npt.NDArray[np.object_]) -> U64:
    arrays = [np.asarray(part, np.uint64) for part in parts]
    return np.concatenate(arrays) if arrays else np.empty(0, np.uint64)


def _distinct(ids: U64, depths: U64, flat: U64) -> StackFrames:
    """Each stack once, by ascending id (before a merge the table holds some twice)."""
    starts = _starts(depths)
    unique, first = np.unique(ids, return_index=True)
    frames, kept_starts = take_ragged(flat, starts, first)
    return StackFrames(unique, frames, kept_starts)


def _starts(lengths: npt.NDArray[np.integer]) -> I64:
    starts = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    return starts


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


class FrameNames:
    """Frames by id, cached. Safe to use from several threads."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        self._lock = threading.Lock()
        self._named: dict[int, Frame] = {}
        self._unnamed: dict[int, Frame] = {}
        self._chains: dict[int, tuple[int, ...]] = {}
        self._unnamed_since = time.monotonic()

    def load(self, ids: U64) -> list[Frame]:
        """The frame of each id, in order; UNDEFINED_FRAME where the store has none."""
        keys = ids.tolist()
        with self._lock:
            self._forget()
            known = {key: frame for key in keys if (frame := self._get(key))}
        fresh = self._fetch([key for key in keys if key not in known]) if len(known) < len(keys) else {}
        with self._lock:
            for key, frame in fresh.items():
                (self._named if frame.function else self._unnamed)[key] = frame
        known.update(fresh)
        return [known.get(key, UNDEFINED_FRAME) for key in keys]

    def chains(self, ids: list[int]) -> list[tuple[int, ...]]:
        """For each frame without a function, in order: the frames that stand for it since debug information came.

        Innermost inlined function first; () where there are none.
        """
        with self._lock:
            self._forget()
            known = {key: chain for key in ids if (chain := self._chains.get(key)) is not None}
        fresh = self._fetch_chains([key for key in ids if key not in known]) if len(known) < len(ids) else {}
        with self._lock:
            self._chains.update(fresh)
        known.update(fresh)
        return [known[key] for key in ids]

    def _get(self, key: int) -> Frame | None:
        return self._named.get(key) or self._unnamed.get(key)

    def _forget(self) -> None:
        if time.monotonic() - self._unnamed_since > _UNNAMED_KEPT_S:
            self._unnamed.clear()
            self._chains.clear()
            self._unnamed_since = time.monotonic()
        if len(self._named) + len(self._unnamed) > _MAX_CACHED_FRAMES:
            self._named.clear()
            self._unnamed.clear()
            self._chains.clear()

    def _fetch(self, ids: list[int]) -> dict[int, Frame]:
        """Frames by id, the latest definition of each."""
        frames: dict[int, Frame] = {}
        for start in range(0, len(ids), IDS_A_STATEMENT):
            binds = Binds()
            condition = f"id IN {binds.add(ids[start : start + IDS_A_STATEMENT])}"
            found = self._asking.ask(
                "SELECT id, kind, function, mapping, build_id, offset, file, line FROM frames "
                f"WHERE {condition} ORDER BY updated",
                binds,
            )
            frames.update(_frames(*(found[name].tolist() for name in _COLUMNS)))
        return frames

    def _fetch_chains(self, ids: list[int]) -> dict[int, tuple[int, ...]]:
        chains: dict[int, tuple[int, ...]] = dict.fromkeys(ids, ())
        for start in range(0, len(ids), IDS_A_STATEMENT):
            binds = Binds()
            condition = f"id IN {binds.add(ids[start : start + IDS_A_STATEMENT])}"
            found = self._asking.ask(
                f"SELECT id, functions FROM symbolized WHERE {condition} ORDER BY updated_ns", binds
            )
            for id_, functions in zip(found["id"].tolist(), found["functions"], strict=True):
                chains[id_] = tuple(np.asarray(functions, np.uint64).tolist())
        return chains


_COLUMNS = ("id", "kind", "function", "mapping", "build_id", "offset", "file", "line")


def _frames(ids: list[int], kinds: list[int], *columns: list[object]) -> Iterable[tuple[int, Frame]]:
    named = (_KINDS.get(kind, FrameKind.NATIVE) for kind in kinds)
    return zip(ids, map(Frame._make, zip(named, *columns, strict=True)), strict=True)
