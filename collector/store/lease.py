"""One collector writes to a database at a time: a lease with fencing, on the server or the cluster itself.

A lease is an epoch N that exactly one of those who try can claim; the highest N is in force. Its holder adds a
beat every 3 s; who sees no new beat for 15 s of its
own monotonic clock (so that no stepped clock matters) claims N + 1.

Who was taken for dead may only sleep. It cannot write any more: each insert, once the server lists it among its
processes and before it has a row, asks whether its lease is still in force. A claimer waits after its claim until
no insert is listed. So an insert of the older epoch either was listed, and is waited for, or sees the new lease.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from collector.store.errors import StoreBusy, StoreError, StoreTaken

log = logging.getLogger("fleetprof.store")

BEAT_S = 3.0
EXPIRY_S = 15.0


@dataclass(frozen=True, slots=True)
class Beat:
    """What a holder says: who and where it is, how often it said so, and whether it has let go."""

    holder: str
    where: str
    count: int
    released: bool


class Epochs(Protocol):
    """Where leases are kept (lease_tables.py, cluster_lease.py); all raise StoreError."""

    def newest(self) -> int:
        """The epoch in force; 0 where there never was one."""
        ...

    def claim(self, epoch: int, holder: str) -> bool:
        """Make `epoch` this holder's; false when another one has it. True for exactly one caller."""
        ...

    def last_beat(self, epoch: int) -> Beat | None:
        """What the holder of an epoch said last; None when nothing yet, or when the epoch is gone."""
        ...

    def beat(self, epoch: int, beat: Beat) -> None:
        """Say that the holder lives."""
        ...

    def settle(self) -> None:
        """Wait until no insert is under way that was listed before."""
        ...

    def drop_before(self, epoch: int) -> None:
        """Forget older epochs."""
        ...


@dataclass(frozen=True, slots=True)
class _Seen:
    epoch: int
    beat: Beat | None

    @property
    def where(self) -> str:
        return self.beat.where if self.beat else "just starting"


class Lease:
    """This collector's right to write. Safe to use from several threads."""

    def __init__(
        self,
        epochs: Epochs,
        holder: str,
        beat_s: float,
        expiry_s: float,
    ) -> None:
        """`holder` names the collector across restarts: what it left behind it takes over at once."""
        self._epochs = epochs
        self._holder = holder
        self._beat_s, self._expiry_s = beat_s, expiry_s
        self._where = f"{socket.gethostname()}, process {os.getpid()}"
        self._epoch = 0
        self._count = 0
        self._told = False
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self.lost = False
        """True once another collector has the lease."""

    def take(
        self,
        wait: bool,
        stopping: threading.Event | None = None,
        after_other: Callable[[], object] = lambda: None,
    ) -> bool:
        """Get the lease; with `wait` after its holder is gone, however long that takes.

        Returns false when another holder had it since this one had it last, and has called `after_other` then.
        That is done before the lease is this one's: who dies in between does it at its next start.

        Raises StoreTaken when a live collector has it (which takes up to 15 s to know) or, while waiting, when
        `stopping` is set.
        """
        while not self._try(seen := self._read(), wait, after_other):
            if stopping and stopping.is_set():
                raise StoreTaken(0, "Stopped while another collector had the store.")
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self._thread.start()
        return self._continues(seen)

    def check(self) -> None:
        """Raise StoreTaken unless the lease is in force now; StoreError when the server cannot be asked."""
        if self._epochs.newest() != self._epoch:
            self.lost = True
            message = f"Another collector ({self._read().where}) has taken over the store."
            raise StoreTaken(0, message, _HINT)

    def release(self) -> None:
        """Let the next one in at once; more calls do nothing."""
        if not self._thread:
            return
        self._ending.set()
        self._thread.join()
        self._thread = None
        try:
            if not self.lost:
                self._say(released=True)
        except StoreError as error:
            log.warning("Cannot give the store's lease back; it ends by itself: %s", error)

    def _continues(self, seen: _Seen) -> bool:
        """Whether nobody else had the store since this one had it."""
        return not seen.epoch or (seen.beat is not None and seen.beat.holder == self._holder)

    def _try(self, seen: _Seen, wait: bool, after_other: Callable[[], object]) -> bool:
        """Claim what follows the lease that was seen if that is free; false when it is not, or no more."""
        if self._claimable(seen):
            if not self._continues(seen):
                after_other()
            return self._claim(seen.epoch + 1, wait)
        if not wait:
            raise StoreTaken(0, f"The store is in use by another collector ({seen.where}).", _HINT)
        if not self._told:
            log.info("Another collector (%s) has the store; waiting to take over.", seen.where)
            self._told = True
        return False

    def _claimable(self, seen: _Seen) -> bool:
        """Whether nobody uses the lease that was seen; takes EXPIRY_S to find a dead holder out."""
        if not seen.epoch or (seen.beat and (seen.beat.released or seen.beat.holder == self._holder)):
            return True
        deadline = time.monotonic() + self._expiry_s
        while time.monotonic() < deadline:
            self._ending.wait(min(self._beat_s, self._expiry_s) / 4)
            now = self._read()
            if now != seen:
                return now.epoch == seen.epoch and now.beat is not None and now.beat.released
        return True

    def _claim(self, epoch: int, wait: bool) -> bool:
        """Try to be the one of `epoch`; afterwards nobody of an older one writes."""
        if not self._epochs.claim(epoch, self._holder):
            return False
        self._epoch = epoch
        while not self._settled(wait):
            pass
        self._epochs.drop_before(epoch)
        return True

    def _settled(self, wait: bool) -> bool:
        """Wait until no older insert is under way; with `wait` false when there still is one after a long while."""
        self._say()
        try:
            self._epochs.settle()
        except StoreBusy as error:
            if not wait:
                raise
            log.warning("Not taking over yet: %s", error.message)
            return False
        return True

    def _read(self) -> _Seen:
        epoch = self._epochs.newest()
        return _Seen(epoch, self._epochs.last_beat(epoch) if epoch else None)

    def _run(self) -> None:
        while not self._ending.wait(self._beat_s) and not self.lost:
            try:
                self.check()
                self._say()
            except StoreTaken as error:
                log.error("%s", error)
            except StoreError as error:
                log.warning("Cannot renew the store's lease, trying again: %s", error)

    def _say(self, released: bool = False) -> None:
        self._count += 1
        self._epochs.beat(self._epoch, Beat(self._holder, self._where, self._count, released))


_HINT = "Stop that one, give this one a database of its own, or let it wait (standby = true)."
