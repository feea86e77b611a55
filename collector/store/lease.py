"""One collector writes to a server's database at a time: a lease with fencing, on the server itself.

A lease is a table `collector_lease_N`. `CREATE TABLE` succeeds for exactly one of those who try, so epoch N has
one holder, and the highest N is in force. The holder adds a beat every 3 s; who sees no new beat for 15 s of its
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

from collector.store.errors import TABLE_ALREADY_EXISTS, StoreError, StoreTaken
from collector.store.interface import Columns, Statement

log = logging.getLogger("fleetprof.store")

BEAT_S = 3.0
EXPIRY_S = 15.0

_PREFIX = "collector_lease_"
_NEWEST: Statement = (
    "SELECT name FROM system.tables WHERE database = currentDatabase() AND name LIKE %(like)s"
    " ORDER BY name DESC LIMIT 1",
    {"like": f"{_PREFIX}%"},
)


@dataclass(frozen=True, slots=True)
class Server:
    """What a lease needs of a store, on connections that inserts cannot exhaust."""

    query: Callable[[Statement], Columns]
    execute: Callable[[Statement], None]
    settle: Callable[[], None]
    """Waits until no insert is under way."""


@dataclass(frozen=True, slots=True)
class _Seen:
    epoch: int
    holder: str
    where: str
    beat: int
    released: bool


class Lease:
    """This collector's right to write. Safe to use from several threads."""

    def __init__(
        self,
        server: Server,
        holder: str,
        beat_s: float,
        expiry_s: float,
    ) -> None:
        """`holder` names the collector across restarts: what it left behind it takes over at once."""
        self._server = server
        self._holder = holder
        self._beat_s, self._expiry_s = beat_s, expiry_s
        self._where = f"{socket.gethostname()}, process {os.getpid()}"
        self._epoch = 0
        self._beat = 0
        self._told = False
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self.lost = False
        """True once another collector has the lease."""

    def take(self, wait: bool, stopping: threading.Event | None = None) -> None:
        """Get the lease; with `wait` after its holder is gone, however long that takes.

        Raises StoreTaken when a live collector has it (which takes up to 15 s to know) or, while waiting, when
        `stopping` is set.
        """
        while not self._try(self._read(), wait):
            if stopping and stopping.is_set():
                raise StoreTaken(0, "Stopped while another collector had the store.")
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise StoreTaken unless the lease is in force now; StoreError when the server cannot be asked."""
        names = self._server.query(_NEWEST)["name"]
        if not len(names) or names[0] != _table(self._epoch):
            self.lost = True
            where = self._read().where
            raise StoreTaken(0, f"Another collector ({where}) has taken over the store.", _HINT)

    def release(self) -> None:
        """Let the next one in at once; more calls do nothing."""
        if not self._thread:
            return
        self._ending.set()
        self._thread.join()
        self._thread = None
        try:
            if not self.lost:
                self._add_beat(released=True)
        except StoreError as error:
            log.warning("Cannot give the store's lease back; it ends by itself: %s", error)

    def _try(self, seen: _Seen, wait: bool) -> bool:
        """Claim what follows the lease that was seen if that is free; false when it is not, or no more."""
        if self._claimable(seen):
            return self._claim(seen.epoch + 1)
        if not wait:
            raise StoreTaken(0, f"The store is in use by another collector ({seen.where}).", _HINT)
        if not self._told:
            log.info("Another collector (%s) has the store; waiting to take over.", seen.where)
            self._told = True
        return False

    def _claimable(self, seen: _Seen) -> bool:
        """Whether nobody uses the lease that was seen; takes EXPIRY_S to find a dead holder out."""
        if not seen.epoch or seen.released or seen.holder == self._holder:
            return True
        deadline = time.monotonic() + self._expiry_s
        while time.monotonic() < deadline:
            self._ending.wait(min(self._beat_s, self._expiry_s) / 4)
            now = self._read()
            if now != seen:
                return now.released
        return True

    def _claim(self, epoch: int) -> bool:
        """Try to be the one of `epoch`; afterwards nobody of an older one writes."""
        columns = "holder String, at_where String, beat UInt64, released UInt8"
        try:
            self._server.execute(
                (
                    f"CREATE TABLE {_table(epoch)} ({columns})"
                    " ENGINE = ReplacingMergeTree(beat) ORDER BY holder",
                    {},
                )
            )
        except StoreError as error:
            if error.code == TABLE_ALREADY_EXISTS:
                return False
            raise
        self._epoch = epoch
        self._add_beat()
        self._server.settle()
        self._drop_older()
        return True

    def _drop_older(self) -> None:
        statement: Statement = (
            "SELECT name FROM system.tables WHERE database = currentDatabase() AND name LIKE %(like)s"
            " AND name < %(mine)s",
            {"like": f"{_PREFIX}%", "mine": _table(self._epoch)},
        )
        for name in self._server.query(statement)["name"]:
            self._server.execute((f"DROP TABLE IF EXISTS {name}", {}))

    def _read(self) -> _Seen:
        """The lease in force; epoch 0 where there is none."""
        names = self._server.query(_NEWEST)["name"]
        if not len(names):
            return _Seen(0, "", "nobody", 0, False)
        statement: Statement = (
            f"SELECT holder, at_where, beat, released FROM {names[0]} ORDER BY beat DESC LIMIT 1",  # noqa: S608 (own name)
            {},
        )
        try:
            row = self._server.query(statement)
        except StoreError as error:
            if error.code == 60:  # dropped meanwhile by the next holder
                return self._read()
            raise
        epoch = int(names[0].removeprefix(_PREFIX))
        if not len(row["beat"]):
            return _Seen(epoch, "", "just starting", 0, False)
        return _Seen(
            epoch, row["holder"][0], row["at_where"][0], int(row["beat"][0]), bool(row["released"][0])
        )

    def _run(self) -> None:
        while not self._ending.wait(self._beat_s) and not self.lost:
            try:
                self.check()
                self._add_beat()
            except StoreTaken as error:
                log.error("%s", error)
            except StoreError as error:
                log.warning("Cannot renew the store's lease, trying again: %s", error)

    def _add_beat(self, released: bool = False) -> None:
        self._beat += 1
        self._server.execute(
            (
                f"INSERT INTO {_table(self._epoch)} SELECT %(holder)s, %(where)s,"
                " toUInt64(%(beat)s), toUInt8(%(released)s)",
                {
                    "holder": self._holder,
                    "where": self._where,
                    "beat": self._beat,
                    "released": int(released),
                },
            )
        )


_HINT = "Stop that one, give this one a database of its own, or let it wait (standby = true)."


def _table(epoch: int) -> str:
    return f"{_PREFIX}{epoch:010}"
