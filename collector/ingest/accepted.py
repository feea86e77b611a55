"""Which windows are stored already: what makes a repeated Push change nothing.

Windows of the last hour are known in memory, as ranges of sequence numbers for each run of an agent; older ones
are looked up in table `windows`, those of a batch at once.
"""

import threading
import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Sequence

import numpy as np

from collector.ingest.window import Window, WindowKey
from collector.store.interface import Store

_STORED = (
    "SELECT agent_id, run_id, sequence FROM windows WHERE ts >= toDateTime(%(first)s)"
    " AND ts <= toDateTime(%(last)s) AND toUInt32(ts) IN %(starts)s AND agent_id IN %(agents)s"
)
LOADED_S = 3600
MAX_RANGES = 1_000_000
"""Bounds the memory to some 200 MB; a usual run is one range."""


class SequenceRanges:
    """A set of positive integers as sorted, disjoint, closed ranges."""

    def __init__(self) -> None:
        self._first: list[int] = []
        self._last: list[int] = []

    def __len__(self) -> int:
        return len(self._first)

    def __contains__(self, number: int) -> bool:
        place = bisect_right(self._first, number) - 1
        return place >= 0 and number <= self._last[place]

    def add(self, number: int) -> None:
        """Add one number."""
        if number in self:
            return
        place = bisect_right(self._first, number)
        joins_left = place > 0 and self._last[place - 1] == number - 1
        joins_right = place < len(self._first) and self._first[place] == number + 1
        if joins_left and joins_right:
            self._last[place - 1] = self._last.pop(place)
            del self._first[place]
        elif joins_left:
            self._last[place - 1] = number
        elif joins_right:
            self._first[place] = number
        else:
            self._first.insert(place, number)
            self._last.insert(place, number)


class AcceptedWindows:
    """Remembers accepted windows. Safe to use from several threads."""

    def __init__(self, store: Store, now_s: float | None = None, max_ranges: int = MAX_RANGES) -> None:
        """Load the windows of the last hour from the store."""
        self._store = store
        self._lock = threading.Lock()
        self._runs: OrderedDict[tuple[str, int], SequenceRanges] = OrderedDict()
        self._newest_s: dict[tuple[str, int], int] = {}
        self._ranges = 0
        self._max_ranges = max_ranges
        self._known_from_s = int(time.time() if now_s is None else now_s) - LOADED_S
        self._load()

    def __contains__(self, window: Window) -> bool:
        """Whether the window is known to be stored; of older ones only `look_up` can tell."""
        key = window.key
        with self._lock:
            run = self._runs.get((key.agent_id, key.run_id))
            return run is not None and key.sequence in run

    def look_up(self, windows: Sequence[Window]) -> set[WindowKey]:
        """Those of the windows that are stored and not known to be: asks the store, for older ones. StoreError."""
        older = [window for window in windows if window.start_s < self._known_from_s]
        if not older:
            return set()
        starts = sorted({window.start_s for window in older})
        asked = {
            "first": starts[0],
            "last": starts[-1],
            "starts": starts,
            "agents": sorted({window.key.agent_id for window in older}),
        }
        found = self._store.query((_STORED, asked))
        columns = (found["agent_id"], found["run_id"].tolist(), found["sequence"].tolist())
        stored = {WindowKey(str(agent), run, number) for agent, run, number in zip(*columns, strict=True)}
        return stored & {window.key for window in older}

    def add(self, windows: Iterable[Window]) -> None:
        """Remember windows that were stored."""
        with self._lock:
            for window in windows:
                self._add(window.key, window.start_s)
            while self._ranges > self._max_ranges:
                self._forget_one()

    def _add(self, key: WindowKey, start_s: int) -> None:
        name = (key.agent_id, key.run_id)
        run = self._runs.setdefault(name, SequenceRanges())
        self._runs.move_to_end(name)
        before = len(run)
        run.add(key.sequence)
        self._ranges += len(run) - before
        self._newest_s[name] = max(start_s, self._newest_s.get(name, 0))

    def _forget_one(self) -> None:
        """Drop the run used longest ago; what may have been in it is looked up from now on."""
        name, run = self._runs.popitem(last=False)
        self._ranges -= len(run)
        self._known_from_s = max(self._known_from_s, self._newest_s.pop(name) + 1)

    def _load(self) -> None:
        rows = self._store.query(
            (
                "SELECT agent_id, run_id, max(ts) AS newest, groupUniqArray(sequence) AS sequences"
                " FROM windows WHERE ts >= toDateTime(%(from)s) GROUP BY agent_id, run_id",
                {"from": max(self._known_from_s, 0)},
            )
        )
        columns = (rows["agent_id"], rows["run_id"], rows["newest"], rows["sequences"])
        for agent_id, run_id, newest, sequences in zip(*columns, strict=True):
            for sequence in np.sort(sequences).tolist():
                self._add(WindowKey(str(agent_id), int(run_id), sequence), int(newest))
