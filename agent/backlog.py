"""Windows that wait on disk: each as the whole request it will be, so that any later run can send it.

A disk that cannot be written is told once, and windows then stay in memory.
"""

import logging
import zlib
from collections.abc import Collection
from pathlib import Path

from google.protobuf.message import DecodeError

from agent.spool import Spool
from fleetprof.losses import DropReason, Losses
from fleetprof.setting_kinds import format_bytes
from fleetprof.v1 import ingest_pb2

log = logging.getLogger("fleetprof.spool")

FOLDER = "spool"
_LEVEL = 1
_MAX_REQUEST_BYTES = 256 << 20


class Backlog:
    """The windows on disk, oldest first. Belongs to one thread; `waiting` may be read from any."""

    def __init__(self, state_dir: Path, limit_bytes: int) -> None:
        """Find what an earlier run left; `limit_bytes` 0 keeps nothing on disk."""
        self._spool: Spool | None = None
        self._failing = False
        self._losses = Losses()
        if not limit_bytes:
            return
        try:
            self._spool = Spool(state_dir / FOLDER, limit_bytes)
        except OSError as error:
            log.warning(
                "Cannot use %s: %s. Windows wait in memory only while the collector is away.",
                state_dir / FOLDER, error.strerror,
            )  # fmt: skip
            return
        if self.waiting:
            log.info(
                "%d windows of an earlier run wait on disk (%s).",
                self.waiting, format_bytes(self._spool.size_bytes),
            )  # fmt: skip

    @property
    def waiting(self) -> int:
        """Windows on disk."""
        return self._spool.waiting if self._spool else 0

    @property
    def size_bytes(self) -> int:
        """Bytes on disk."""
        return self._spool.size_bytes if self._spool else 0

    def keep(self, request: ingest_pb2.PushRequest) -> bool:
        """Write a request to disk; false where that is not possible. Durable after `sync`."""
        if not self._spool:
            return False
        try:
            self._spool.append(zlib.compress(request.SerializeToString(), _LEVEL))
        except OSError as error:
            self._cannot_write(error)
            return False
        if self._failing:
            log.info("Windows can be written to disk again.")
        self._failing = False
        return True

    def sync(self) -> None:
        """Force what was kept to disk."""
        try:
            if self._spool:
                self._spool.sync()
        except OSError as error:
            self._cannot_write(error)

    def oldest(self, count: int = 1) -> list[ingest_pb2.PushRequest]:
        """The requests of the oldest windows, up to `count`; none when nothing waits."""
        while self._spool and (payloads := self._spool.oldest(count)):
            requests = [_request(payload) for payload in payloads]
            damaged = {place for place, request in enumerate(requests) if request is None}
            if not damaged:
                return [request for request in requests if request]
            self._losses[DropReason.SPOOL_DAMAGED] += len(damaged)
            self._spool.take(damaged)
        return []

    def done(self, places: Collection[int] = (0,)) -> None:
        """Those of the windows that `oldest` gave, by place, are done with."""
        if self._spool and places:
            self._spool.take(places)

    def take_losses(self) -> Losses:
        """What was dropped since the last call."""
        losses, self._losses = self._losses, Losses()
        if self._spool:
            losses.update(self._spool.take_losses())
        return losses

    def close(self) -> None:
        """Force what was kept to disk, and leave the folder to others."""
        try:
            if self._spool:
                self._spool.close()
        except OSError as error:
            self._cannot_write(error)

    def _cannot_write(self, error: OSError) -> None:
        if not self._failing:
            log.error(
                "Cannot write windows to disk: %s. They wait in memory; the oldest are dropped.",
                error.strerror,
            )
        self._failing = True


def _request(payload: bytes) -> ingest_pb2.PushRequest | None:
    """None for one that is whole, but of no version that this agent reads."""
    try:
        data = zlib.decompressobj().decompress(payload, _MAX_REQUEST_BYTES)
        return ingest_pb2.PushRequest.FromString(data)
    except (zlib.error, DecodeError):
        return None
