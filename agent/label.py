"""Gives each row its series: the labels of its process, its thread's name and what it waits for."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from agent.process import Process
from agent.samples import U32, Captures
from fleetprof.profile_types import ProfileType
from fleetprof.series import series_id, wait_label


class Labels(Protocol):
    """What is asked of agent.identify."""

    def labels(self, process: Process | None, comm: str) -> dict[str, str]:
        """Labels of a thread called `comm` of a process; None for a process that could not be read."""
        ...


KEPT_WINDOWS = 6

_Key = tuple[int, bytes, int]


@dataclass(slots=True)
class _Known:
    """A remembered series. Holding `owner` keeps its id(), which is in the key, from being reused."""

    owner: Process | None
    number: int
    labels: dict[str, str]
    window: int = 0


@dataclass(frozen=True, slots=True)
class RowSeries:
    """`index[row]` is the place of the row's series in `ids` and `labels`."""

    index: U32
    ids: list[int]
    labels: list[dict[str, str]]


class SeriesBook:
    """Series of rows, remembered while they keep appearing."""

    def __init__(self, identifier: Labels) -> None:
        self._identifier = identifier
        self._known: dict[_Key, _Known] = {}
        self._window = 0

    def series_of(self, captures: Captures, owners: list[Process | None]) -> RowSeries:
        """The series of each row; `owners` are the process images behind the rows."""
        waits = np.where(captures.type == ProfileType.OFFCPU, captures.wait.astype(np.int64), -1).tolist()
        index: dict[int, int] = {}
        labels: list[dict[str, str]] = []
        places: dict[_Key, int] = {}
        row_series = []
        for owner, comm, wait in zip(owners, captures.comm.tolist(), waits, strict=True):
            key = (id(owner), comm, wait)
            place = places.get(key)
            if place is None:
                number, found = self._series(key, owner)
                if number not in index:
                    index[number] = len(index)
                    labels.append(found)
                place = places[key] = index[number]
            row_series.append(place)
        return RowSeries(np.array(row_series, np.uint32), list(index), labels)

    def _series(self, key: _Key, owner: Process | None) -> tuple[int, dict[str, str]]:
        _, comm, wait = key
        known = self._known.get(key)
        if known is None:
            labels = dict(self._identifier.labels(owner, comm.decode("utf-8", "replace")))
            if wait >= 0:
                labels["wait"] = wait_label(wait)
            known = self._known[key] = _Known(owner, series_id(labels), labels)
        known.window = self._window
        return known.number, known.labels

    def turn(self) -> None:
        """Begin the next window: forget series that were not seen for KEPT_WINDOWS."""
        oldest = self._window - KEPT_WINDOWS
        self._known = {key: known for key, known in self._known.items() if known.window > oldest}
        self._window += 1
