"""Keeps the disk of the embedded store from filling: drops the oldest days, then refuses new windows.

A full disk stops everything, the oldest data included; so the oldest days go before that, samples and roll-ups
alike. Today's rows are never dropped: where nothing else is left, senders are told to come later and keep their
windows until there is room. What was cut short where another program filled the disk all the same is mended.
"""

import json
import logging
import shutil
import threading
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from collector.store.errors import StoreError
from collector.store.interface import Store
from collector.store.retention import PARTITIONED
from collector.store.snapshot import drop_snapshot
from fleetprof.setting_kinds import about_bytes

log = logging.getLogger("fleetprof.store")

LOOK_EVERY_S = 5.0
SETTLE_S = 60.0
"""ClickHouse removes a dropped partition's files a little later; until then no further day is dropped."""

MOST_OF_DISK = 0.1
"""Of a disk of a few GiB, the reserve would otherwise be all."""
_SMALL = {"windows", "series", "heartbeats"}
"""Tables that take next to nothing, or (series) have partitions by month; what makes a window count once stays."""

DROPPED_FILE = "dropped-days.json"
_DROPPED_KEPT = 400


@dataclass(frozen=True, slots=True)
class Reserve:
    """How much of the disk stays free: the larger of both, where that is not `most` of the disk."""

    least_bytes: int
    percent: float
    most: float = MOST_OF_DISK

    def of(self, total_bytes: int) -> int:
        """The bytes to keep free on a disk of this size."""
        wanted = max(self.least_bytes, int(total_bytes * self.percent / 100))
        return min(wanted, int(total_bytes * max(self.most, self.percent / 100)))


@dataclass(frozen=True, slots=True)
class DroppedDay:
    """A day, such as "2026-11-03", whose rows went for want of room, and when they did (Unix seconds)."""

    day: str
    at_s: int


@dataclass(frozen=True, slots=True)
class DiskStatus:
    """How full the embedded store's disk is, and what that has led to."""

    free_bytes: int
    total_bytes: int
    reserve_bytes: int
    refusal: str
    """Why windows are refused now; "" while they are taken."""
    dropped: tuple[DroppedDay, ...]
    """Oldest first."""


class DiskGuard:
    """Looks every few seconds, on a thread of its own; `refusal` may be asked from any."""

    def __init__(
        self, store: Store, folder: Path, reserve: Reserve, look_every_s: float = LOOK_EVERY_S
    ) -> None:
        """`folder` is where the store keeps its files."""
        self._store, self._folder, self._reserve = store, folder, reserve
        self._every_s = look_every_s
        self._settled_s = 0.0
        self._dropped = _read_dropped(folder / DROPPED_FILE)
        self.refusal = ""
        """Why new windows are refused now; "" while there is room."""
        self._stopping = threading.Event()
        self.look()
        self._thread = threading.Thread(target=self._run, name="disk-guard", daemon=True)
        self._thread.start()

    def change(self, reserve: Reserve) -> None:
        """Keep this much free from now on."""
        self._reserve = reserve

    @property
    def status(self) -> DiskStatus:
        """How things stand now."""
        usage = shutil.disk_usage(self._folder)
        reserve = self._reserve.of(usage.total)
        return DiskStatus(usage.free, usage.total, reserve, self.refusal, tuple(self._dropped))

    @property
    def free_bytes(self) -> int:
        """What is free on the disk now."""
        return shutil.disk_usage(self._folder).free

    def stop(self) -> None:
        """End; waits for a drop under way."""
        self._stopping.set()
        self._thread.join()

    def look(self) -> None:
        """Act on how much is free now: half the reserve is where windows are refused."""
        usage = shutil.disk_usage(self._folder)
        reserve = self._reserve.of(usage.total)
        if usage.free < reserve and time.monotonic() >= self._settled_s:
            self._make_room(usage.free, reserve)
        self._refuse(usage.free < reserve // 2, usage.free, reserve)

    def _run(self) -> None:
        while not self._stopping.wait(self._every_s):
            try:
                self._store.mend_parts()
                self.look()
            except (StoreError, OSError) as error:
                log.error("Cannot make room on the store's disk, trying again: %s", error)

    def _make_room(self, free: int, reserve: int) -> None:
        """Drop the oldest day but today's."""
        tables = [table for table in PARTITIONED if table not in _SMALL]
        today = int(datetime.fromtimestamp(time.time(), UTC).strftime("%Y%m%d"))
        found = [(table, day) for table, day in self._store.partitions(tables) if day < today]
        if not found:
            return
        if drop_snapshot(self._store):
            log.warning("Gave up the backup that is being made: it holds on to what is dropped now.")
        oldest = min(day for _, day in found)
        for table, day in found:
            if day == oldest:
                self._store.drop_partition(table, day)
        text = f"{oldest // 10_000}-{oldest // 100 % 100:02}-{oldest % 100:02}"
        self._note(DroppedDay(text, int(time.time())))
        self._settled_s = time.monotonic() + SETTLE_S
        log.warning(
            "Dropped all of %s: %s is left on the disk of %s, less than the %s to be kept free.",
            text, about_bytes(free), self._folder, about_bytes(reserve),
        )  # fmt: skip

    def _note(self, day: DroppedDay) -> None:
        """Remember a day, also after a restart."""
        self._dropped = [*self._dropped, day][-_DROPPED_KEPT:]
        path = self._folder / DROPPED_FILE
        part = path.with_suffix(".part")
        try:
            part.write_text(json.dumps([asdict(each) for each in self._dropped]))
            part.rename(path)
        except OSError as error:
            log.warning("Cannot write %s: %s", path, error)

    def _refuse(self, full: bool, free: int, reserve: int) -> None:
        was, self.refusal = self.refusal, ""
        if full:
            self.refusal = (
                f"The collector's disk is nearly full ({about_bytes(free)} free, {about_bytes(reserve)} are to be"
                " kept free): it takes no windows until there is room."
            )
        if bool(was) != full:
            log.warning("%s", self.refusal or "There is room on the disk again; windows are taken.")


def _read_dropped(path: Path) -> list[DroppedDay]:
    try:
        return [DroppedDay(**day) for day in json.loads(path.read_text())]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError) as error:
        log.warning("Cannot read %s, which days were dropped before is not known: %s", path, error)
        return []
