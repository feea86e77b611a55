"""Writes what agents would have sent of a service whose versions change, straight into the store."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from collector.store.chdb import ChdbStore
from fleetprof.frames import Frame, FrameKind
from fleetprof.series import series_id
from tests.store.generate import WINDOW_S, Fleet, Rows, insert

DAY_START_S = 1_760_054_400
"""2025-10-10, midnight UTC."""


@dataclass(frozen=True)
class Spell:
    """A version on a host: each window holds `stacks` (names leaf first, with ; → nanoseconds)."""

    host: str
    version: str
    start_s: int
    end_s: int
    stacks: dict[str, int] = field(default_factory=lambda: {"work;main": 10**10})
    captures: int = 100
    """By stack and window."""
    mapping: str = "app"


def insert_spells(store: ChdbStore, service: str, spells: Sequence[Spell]) -> None:
    """All windows of the spells; a host in several spells at once runs both versions."""
    labels: list[dict[str, str]] = []
    frames: dict[Frame, int] = {}
    stacks: dict[tuple[int, ...], int] = {(): 0}
    columns: list[tuple[int, int, int, int, int, int]] = []
    for spell in spells:
        label = {"host": spell.host, "service": service, "version": spell.version}
        if label not in labels:
            labels.append(label)
        series = labels.index(label)
        for names, value in spell.stacks.items():
            stack = tuple(
                frames.setdefault(Frame(FrameKind.NATIVE, name, spell.mapping), len(frames))
                for name in names.split(";")
            )
            place = stacks.setdefault(stack, len(stacks))
            columns += [
                (second, series, 0, place, value, spell.captures)
                for second in range(spell.start_s, spell.end_s, WINDOW_S)
            ]
    rows = np.array(columns, np.int64)
    reported = sorted({(labels[series]["host"], second) for second, series, *_ in columns})
    fleet = Fleet(min(spell.start_s for spell in spells), 1, (service,), undefined_stacks=0)
    assert len({series_id(label) for label in labels}) == len(labels)
    insert(
        store,
        Rows(
            fleet,
            labels,
            list(frames),
            list(stacks),
            *(rows[:, place] for place in range(4)),
            value=rows[:, 4].astype(np.uint64),
            captures=rows[:, 5].astype(np.uint64),
            reported=reported,
        ),
    )
