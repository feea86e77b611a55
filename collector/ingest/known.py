"""What this collector knows by id: stacks and series, from recent requests, backed by the store."""

import logging
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from collector.ingest.decode_definitions import Encoded, decode_definitions
from collector.ingest.definitions import EMPTY_STACK, Defined, Series, Stack, make_stack
from collector.ingest.interned import Interned
from collector.ingest.limits import Limits
from collector.ingest.recent import Recent
from collector.ingest.refusal import Refused
from collector.ingest.window import Window
from collector.ingest.wire_numbers import AgreedNumbers, NumbersLost
from collector.store.columns import ragged
from collector.store.interface import Store
from fleetprof.frames import Frame
from fleetprof.series import KNOWN_LABELS

log = logging.getLogger("fleetprof.ingest")

STACK_BYTES = 128 << 20
"""Memory for known stacks: some 300,000 of usual depth."""
SERIES_COUNT = 400_000

SLICE_BYTES = 1 << 20
"""Definitions that are decoded at a time: some 200 requests of usual size, or a large one (in 60 MB)."""

_DAYS_BACK = 2
_STACK_OVERHEAD_BYTES = 200


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
        self._interned = Interned()
        self.numbers = AgreedNumbers()
        """By which agents name stacks and frames."""

    def learn(self, windows: Sequence[Window], limits: Limits) -> dict[int, Refused | NumbersLost]:
        """Keep what came with the windows; says, by their place, why some of it cannot be understood."""
        faults = dict[int, Refused | NumbersLost]()
        for places in _slices(windows):
            encoded = [Encoded(windows[place].definitions, windows[place].key.sender) for place in places]
            defined, some = decode_definitions(encoded, limits, self.numbers.frames, self._interned)
            self._keep(defined)
            faults |= {places[place]: why for place, why in some.items()}
        return faults

    def _keep(self, defined: Defined) -> None:
        with self._lock:
            self._frames.update(defined.frames)
            # Most stacks that are new to an agent are not new to its fleet, and looking takes less than keeping.
            for number, known in zip(defined.stacks, self._stacks.get_all(defined.stacks), strict=True):
                if known is None:
                    self._stacks.put(number, defined.stacks[number])
            for number, found in defined.series.items():
                self._series.put(number, found)

    def find_series(self, ids: list[int], around_s: int) -> list[Series | None]:
        """The series of each id, None for an unknown one; what is not in memory is looked up in the store.

        `around_s`: the time of their windows.
        """
        with self._lock:
            found = self._series.get_all(ids)
        if all(found):
            return found
        unknown = _unknown(ids, found)
        loaded = load_series(self._store, unknown, around_s)
        with self._lock:
            for number, series in loaded.items():
                self._series.put(number, series)
        return [known or loaded.get(number) for number, known in zip(ids, found, strict=True)]

    def find_stacks(self, ids: list[int], services: Iterable[str]) -> list[Stack | None]:
        """The stack of each id, None for an unknown one; the store is asked for those of `services`."""
        with self._lock:
            self._stacks.put(0, EMPTY_STACK)
            found = self._stacks.get_all(ids)
        if all(found):
            return found
        unknown = _unknown(ids, found)
        loaded = load_stacks(self._store, services, unknown)
        with self._lock:
            for number, stack in loaded.items():
                self._stacks.put(number, stack)
        return [known or loaded.get(number) for number, known in zip(ids, found, strict=True)]

    def take_frames(self) -> dict[int, Frame]:
        """The frames learned since the last call, for the store."""
        with self._lock:
            taken, self._frames = self._frames, {}
            return taken

    def give_back(self, frames: dict[int, Frame]) -> None:
        """Keep frames that were taken but could not be stored."""
        with self._lock:
            self._frames = frames | self._frames


def _slices(windows: Sequence[Window]) -> Iterator[list[int]]:
    """The places of windows that came with definitions, in runs of some SLICE_BYTES of them."""
    some, size = list[int](), 0
    for place, window in enumerate(windows):
        if window.definitions:
            some.append(place)
            size += len(window.definitions)
        if size >= SLICE_BYTES:
            yield some
            some, size = [], 0
    if some:
        yield some


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
