"""What this collector knows by id: stacks and series, from recent requests, backed by the store."""

import logging
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from collector.ingest.definitions import EMPTY_STACK, Defined, Series, Stack, make_stack
from collector.ingest.recent import Recent
from collector.ingest.refusal import malformed
from collector.ingest.window import Window
from collector.store.columns import ragged
from collector.store.interface import Store
from fleetprof.frames import Frame
from fleetprof.series import KNOWN_LABELS

log = logging.getLogger("fleetprof.ingest")

STACK_BYTES = 128 << 20
"""Memory for known stacks: some 300,000 of usual depth."""
SERIES_COUNT = 400_000

_DAYS_BACK = 2
_STACK_OVERHEAD_BYTES = 200


@dataclass(frozen=True, slots=True)
class Resolved:
    """A window whose references all have a meaning."""

    window: Window
    series: list[Series]
    """By place in the window's series_ids."""
    stacks: list[Stack]
    """By place in the window's stack_ids."""


@dataclass(frozen=True, slots=True)
class Missing:
    """What the sender must define before the window can be stored."""

    stacks: list[int]
    series: list[int]


def _weight(stack: Stack) -> int:
    own = 0 if stack.functions is stack.frames else len(stack.functions)
    return _STACK_OVERHEAD_BYTES + len(stack.frames) + own


class KnownDefinitions:
    """Resolves ids. Safe to use from several threads."""

    def __init__(
        self, store: Store, stack_bytes: int = STACK_BYTES, series_count: int = SERIES_COUNT
    ) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._stacks: Recent[int, Stack] = Recent(stack_bytes, _weight)
        self._series: Recent[int, Series] = Recent(series_count)
        self._frames: dict[int, Frame] = {}

    def resolve(self, window: Window, defined: Defined) -> Resolved | Missing:
        """Learn what a request defines and resolve its window; raises Refused for a series of another host.

        Ids that are in neither are looked up in the store.
        """
        self._learn(defined)
        series = self._resolve_series(window)
        stacks = self._resolve_stacks(window, series)
        missing = Missing(
            [number for number, stack in zip(window.stack_ids, stacks, strict=True) if stack is None],
            [number for number, found in zip(window.series_ids, series, strict=True) if found is None],
        )
        if missing.stacks or missing.series:
            return missing
        known = [found for found in series if found]
        if any(found.label("host") != window.host for found in known):
            raise malformed("A series' host label is not the window's host.")
        return Resolved(window, known, [stack for stack in stacks if stack])

    def take_frames(self) -> dict[int, Frame]:
        """The frames learned since the last call, for the store."""
        with self._lock:
            taken, self._frames = self._frames, {}
            return taken

    def give_back(self, frames: dict[int, Frame]) -> None:
        """Keep frames that were taken but could not be stored."""
        with self._lock:
            self._frames = frames | self._frames

    def _learn(self, defined: Defined) -> None:
        with self._lock:
            self._frames.update(defined.frames)
            for number, stack in defined.stacks.items():
                self._stacks.put(number, stack)
            for number, found in defined.series.items():
                self._series.put(number, found)

    def _resolve_series(self, window: Window) -> list[Series | None]:
        with self._lock:
            found = self._series.get_all(window.series_ids)
        unknown = _unknown(window.series_ids, found)
        if not unknown:
            return found
        loaded = load_series(self._store, unknown, window.start_s)
        with self._lock:
            for number, series in loaded.items():
                self._series.put(number, series)
        return [known or loaded.get(number) for number, known in zip(window.series_ids, found, strict=True)]

    def _resolve_stacks(self, window: Window, series: list[Series | None]) -> list[Stack | None]:
        with self._lock:
            self._stacks.put(0, EMPTY_STACK)
            found = self._stacks.get_all(window.stack_ids)
        unknown = _unknown(window.stack_ids, found)
        if not unknown:
            return found
        services = {known.label("service") for known in series if known}
        loaded = load_stacks(self._store, services, unknown)
        with self._lock:
            for number, stack in loaded.items():
                self._stacks.put(number, stack)
        return [known or loaded.get(number) for number, known in zip(window.stack_ids, found, strict=True)]


def _unknown(ids: list[int], found: list[Any]) -> list[int]:
    return sorted({number for number, known in zip(ids, found, strict=True) if known is None})


def load_stacks(store: Store, services: Iterable[str], ids: list[int]) -> dict[int, Stack]:
    """Those of the stacks that the store has for one of the services."""
    table = store.query_arrow(
        (
            "SELECT stack, any(frames) AS ids FROM stacks"
            " WHERE service IN %(services)s AND stack IN %(stacks)s GROUP BY stack",
            {"services": sorted(services), "stacks": ids},
        )
    )
    frames, starts = ragged(table.column("ids"))
    rows = np.split(frames, starts[1:-1]) if table.num_rows else []
    numbers = table.column("stack").to_pylist()
    return {number: make_stack(row.tolist()) for number, row in zip(numbers, rows, strict=True)}


def load_series(store: Store, ids: list[int], around_s: int) -> dict[int, Series]:
    """Those of the series that the store has from the days before a time."""
    labels = ", ".join(KNOWN_LABELS)
    found = store.query(
        (
            f"SELECT DISTINCT series, {labels}, free_names, free_values FROM series"  # noqa: S608 (own names)
            " WHERE day >= toDate(%(first)s) AND series IN %(series)s",
            {"first": around_s // 86400 - _DAYS_BACK, "series": ids},
        )
    )
    series = {}
    for place, number in enumerate(found["series"].tolist()):
        known = {name: str(found[name][place]) for name in KNOWN_LABELS}
        free = dict(zip(found["free_names"][place], found["free_values"][place], strict=True))
        series[number] = Series(number, {name: text for name, text in (known | free).items() if text})
    return series
