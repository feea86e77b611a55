"""What frame ids mean, fetched from the store and cached.

A named frame never changes (its id is a hash of its content), so it is kept; one without a function can gain a name
later, so it is forgotten after half a minute.
"""

import threading
import time
from collections.abc import Iterable

import numpy as np

from collector.query.asking import Asking
from collector.query.definitions import IDS_A_STATEMENT, U64
from collector.query.known_stacks import KnownStacks
from collector.query.sources import Binds
from fleetprof.frames import Frame, FrameKind

UNDEFINED_FRAME = Frame(FrameKind.LABEL, "(undefined frame)", "")

_MAX_CACHED_FRAMES = 400_000
_UNNAMED_KEPT_S = 30.0
_KINDS = {int(kind): kind for kind in FrameKind}


class FrameNames:
    """Frames by id, cached, and with them the stacks that they are in. Safe to use from several threads."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        self.stacks = KnownStacks(asking)
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
