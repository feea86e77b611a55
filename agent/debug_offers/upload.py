"""Sends one debug file, part after part, each answered before the next: whatever else goes to the collector waits
for one part at most, and a link that is slow or full is never asked for more than it takes."""

import logging
import random
import threading
import time
import zlib
from collections.abc import Callable
from enum import Enum, auto
from hashlib import blake2b

import grpc

from agent.connection import Connection
from agent.debug_offers.candidate import Candidate
from agent.pushback import asked_s
from fleetprof.v1 import debuginfo_pb2, debuginfo_pb2_grpc

log = logging.getLogger("fleetprof.debug_files")

PART_BYTES = 256 << 10
MOST_PART_S = 4
"""A call wakes a dozen threads of gRPC here and there, however little it carries: parts are as large as what may be
sent in this time, but not larger than PART_BYTES."""
PART_S = 60.0
"""For an answer; ..."""
LAST_PART_S = 900.0
"""... to the last part it comes when the collector has checked the file."""
ATTEMPTS = 8
LONGEST_BACKOFF_S = 30.0
MOST_WAITING = 1
"""More windows than this on their way: they come first."""
DIGEST_BYTES = 32

_Sent = debuginfo_pb2.SendDebugInfoPartResponse
_AGAIN = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.DATA_LOSS,
    grpc.StatusCode.CANCELLED,
}


class End(Enum):
    """How it ended."""

    KEPT = auto()
    NOT_NEEDED = auto()
    """Another file came first."""
    LATER = auto()
    """The collector forgot that it asked, or is away: it may be offered again."""


class Refused(Exception):
    """The collector does not take the file; the message says why."""


class Upload:
    """Belongs to one thread. `rate` is in bytes a second; `waiting` are the windows to be sent."""

    def __init__(
        self, connection: Connection, rate: int, waiting: Callable[[], int], stopping: threading.Event
    ) -> None:
        self._connection, self._rate = connection, rate
        self._waiting, self._stopping = waiting, stopping
        self._free_s = 0.0
        self.sent_bytes = 0
        """Since start."""

    def send(self, candidate: Candidate, claim: int) -> End:
        """Send the file that the collector asked for; raises Changed, Refused."""
        digest = blake2b(digest_size=DIGEST_BYTES)
        left = candidate.sent_size
        for offset, data in candidate.read(min(PART_BYTES, MOST_PART_S * self._rate)):
            left -= len(data)
            digest.update(offset.to_bytes(8, "little") + data)
            part = debuginfo_pb2.SendDebugInfoPartRequest(
                claim=claim, offset=offset, data=data, crc32=zlib.crc32(data),
                digest=b"" if left else digest.digest(),
            )  # fmt: skip
            self._pace(len(data))
            answer = self._send(part, PART_S if left else LAST_PART_S)
            if answer is None:
                return End.LATER
            if answer.status != _Sent.STATUS_NEXT:
                return End.KEPT if answer.status == _Sent.STATUS_KEPT else End.NOT_NEEDED
        return End.LATER

    def _pace(self, size: int) -> None:
        """Wait until so many bytes may be sent, and no windows wait."""
        now_s = time.monotonic()
        start_s = max(self._free_s, now_s)
        self._free_s = start_s + size / self._rate
        self._stopping.wait(start_s - now_s)
        while self._waiting() > MOST_WAITING and not self._stopping.wait(1.0):
            pass

    def _send(self, part: debuginfo_pb2.SendDebugInfoPartRequest, timeout_s: float) -> _Sent | None:
        """The answer; None when the file is to be offered again. Raises Refused."""
        backoff_s = 1.0
        for _ in range(ATTEMPTS):
            if self._stopping.is_set():
                return None
            try:
                answer: _Sent = self._stub().SendPart(part, timeout=timeout_s)
                self.sent_bytes += len(part.data)
                return answer
            except grpc.RpcError as error:
                if error.code() not in _AGAIN:
                    _check_refused(error)
                    return None
                pause_s = asked_s(error) or backoff_s * random.uniform(0.8, 1.2)
            except ValueError as error:  # the channel was closed, or replaced for new certificates
                log.debug("A part ended: %s", error)
                pause_s = backoff_s
            backoff_s = min(2 * backoff_s, LONGEST_BACKOFF_S)
            self._stopping.wait(pause_s)
        return None

    def _stub(self) -> debuginfo_pb2_grpc.DebugOfferServiceStub:
        return debuginfo_pb2_grpc.DebugOfferServiceStub(self._connection.channel)  # type: ignore[no-untyped-call]


def _check_refused(error: grpc.RpcError) -> None:
    """Raises Refused where the file itself is what the collector does not take."""
    if error.code() == grpc.StatusCode.INVALID_ARGUMENT:
        raise Refused(str(error.details())) from error
    log.debug("The upload of a debug file ended: %s", error.details())
