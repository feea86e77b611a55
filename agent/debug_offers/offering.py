"""The thread that offers debug files to the collector, and sends the ones it asks for.

It sees what the pipeline sampled a second ago or ten, never holds it up, and yields to windows. Files are held open
while they are offered: what was deleted meanwhile can still be read, and what was changed is seen to be another.
"""

import logging
import os
import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import grpc

from agent.connection import Connection
from agent.debug_offers.candidate import Candidate, Changed, candidate_of
from agent.debug_offers.limits import OfferLimits
from agent.debug_offers.sightings import Sighting, Sightings
from agent.debug_offers.upload import MOST_WAITING, End, Refused, Upload
from agent.push import Sender
from fleetprof.losses import DropReason, Losses
from fleetprof.v1 import debuginfo_pb2, debuginfo_pb2_grpc

log = logging.getLogger("fleetprof.debug_files")

LOOK_EVERY_S = 2.0
CALL_S = 20.0
AGAIN_S = 60.0
"""After a failure."""
UNKNOWN_S = 3600.0
"""A collector that knows of no offers may be replaced by a newer one."""
MAX_HELD = 64
HELD_S = 900.0
"""A file is held open for so long: that keeps a deleted one on the disk."""
SETTLED_S = 86400.0
MAX_SETTLED = 8192
NICENESS = 15
"""Of its thread: whatever runs on the host comes first, the pipeline too."""

_Status = debuginfo_pb2.DebugInfoAnswer


class Sent(NamedTuple):
    """What was sent since start."""

    files: int = 0
    bytes: int = 0


class DebugOffers:
    """Runs until `close`. `waiting` are the windows to be sent."""

    def __init__(
        self,
        connection: Connection,
        sender: Sender,
        sightings: Sightings,
        limits: OfferLimits,
        waiting: Callable[[], int],
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        self._connection, self._sender, self._sightings = connection, sender, sightings
        self._limits, self._waiting, self._look_every_s = limits, waiting, look_every_s
        self._stopping = threading.Event()
        self._upload = Upload(connection, limits.rate, waiting, self._stopping)
        self._held: OrderedDict[str, Candidate] = OrderedDict()
        self._settled: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()
        self._losses = Losses()
        self._files = 0
        self._due_s = 0.0
        self._largest = 1 << 63
        self._thread = threading.Thread(target=self._run, name="debug files", daemon=True)
        self._thread.start()

    @property
    def sent(self) -> Sent:
        """What was sent since start."""
        return Sent(self._files, self._upload.sent_bytes)

    def take_losses(self) -> Losses:
        """Files that could not be sent, since the last call."""
        with self._lock:
            losses, self._losses = self._losses, Losses()
        return losses

    def close(self) -> None:
        """End; a part that is on its way is given up."""
        self._stopping.set()
        self._thread.join(1.0)

    def _run(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        self._sightings.turn(True)
        while not self._stopping.is_set():
            for sighting in self._sightings.take():
                self._hold(sighting)
            self._release_old()
            if time.monotonic() >= self._due_s:
                self._due_s = time.monotonic() + self._offer() * random.uniform(1.0, 1.25)
            self._stopping.wait(self._look_every_s)
        self._sightings.close()
        self._release_all()

    def _hold(self, sighting: Sighting) -> None:
        """Find what is worth offering of a file that was sampled."""
        candidate = candidate_of(sighting)
        if candidate is None:
            return
        if self._is_settled(candidate.build_id) or not self._fits(candidate):
            candidate.close()
            return
        self._release(candidate.build_id)
        if len(self._held) >= MAX_HELD:
            least = next((each for each in self._held.values() if not each.nameless), None)
            self._release((least or next(iter(self._held.values()))).build_id)
        candidate.held_s = time.monotonic()
        self._held[candidate.build_id] = candidate
        self._due_s = min(self._due_s, time.monotonic())

    def _fits(self, candidate: Candidate) -> bool:
        if candidate.sent_size <= self._limits.file_bytes and candidate.size <= self._largest:
            return True
        self._drop(candidate, "it is larger than debug_file_limit, or the collector, allows")
        return False

    def _offer(self) -> float:
        """Offer what is held, and send what is wanted; seconds until the next time."""
        if self._waiting() > MOST_WAITING:
            return self._look_every_s
        offered = sorted(self._held.values(), key=lambda candidate: not candidate.nameless)
        try:
            answer = self._ask(offered)
        except grpc.RpcError as error:
            return self._failed(error)
        except ValueError as error:  # the channel was closed, or replaced for new certificates
            log.debug("An offer ended: %s", error)
            return AGAIN_S
        self._sightings.turn(answer.accepting)
        pause_s = max(answer.retry_ms / 1000, 1.0)
        if not answer.accepting:
            self._release_all()
            return pause_s
        self._largest = answer.limit_bytes or self._largest
        for candidate, each in zip(offered, answer.answers, strict=False):
            if each.status == _Status.STATUS_NEVER:
                self._settle(candidate.build_id)
            elif each.status == _Status.STATUS_WANTED:
                pause_s = self._send(candidate, each.claim)
        return pause_s

    def _ask(self, offered: list[Candidate]) -> debuginfo_pb2.OfferDebugInfoResponse:
        offers = [
            debuginfo_pb2.DebugInfoOffer(
                build_id=each.build_id, name=each.name, size=each.size, sent_size=each.sent_size,
                has_lines=each.lines, nameless=each.nameless,
            )
            for each in offered
        ]  # fmt: skip
        request = debuginfo_pb2.OfferDebugInfoRequest(
            agent_id=self._sender.agent_id, host=self._sender.host, offers=offers
        )
        stub = debuginfo_pb2_grpc.DebugOfferServiceStub(self._connection.channel)  # type: ignore[no-untyped-call]
        answer: debuginfo_pb2.OfferDebugInfoResponse = stub.Offer(request, timeout=CALL_S)
        return answer

    def _send(self, candidate: Candidate, claim: int) -> float:
        """Send a file; seconds until others may be offered."""
        log.info(
            "Sending %d bytes of debug information of %s (%s) to the collector, which asks for it.",
            candidate.sent_size, candidate.name, candidate.build_id,
        )  # fmt: skip
        try:
            end = self._upload.send(candidate, claim)
        except (Changed, Refused) as failed:
            self._drop(candidate, str(failed))
            return 0.0
        if end is End.LATER:
            return AGAIN_S
        self._files += end is End.KEPT
        self._settle(candidate.build_id)
        return 0.0

    def _failed(self, error: grpc.RpcError) -> float:
        """What concerns windows too is logged where those are sent."""
        if error.code() not in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.INVALID_ARGUMENT):
            return AGAIN_S
        self._sightings.turn(False)
        self._release_all()
        log.debug("The collector takes no debug files: %s", error.details())
        return UNKNOWN_S

    def _drop(self, candidate: Candidate, why: str) -> None:
        """A file that will not be sent: said once, since it is settled then, and counted."""
        log.warning(
            "Debug information of %s (%s) is not sent: %s.",
            candidate.name,
            candidate.build_id,
            why.rstrip("."),
        )
        with self._lock:
            self._losses[DropReason.DEBUG_FILE] += 1
        self._settle(candidate.build_id)

    def _is_settled(self, build_id: str) -> bool:
        return time.monotonic() < self._settled.get(build_id, 0.0)

    def _settle(self, build_id: str) -> None:
        """Do not offer it again today."""
        self._settled[build_id] = time.monotonic() + SETTLED_S
        self._settled.move_to_end(build_id)
        if len(self._settled) > MAX_SETTLED:
            self._settled.popitem(last=False)
        self._release(build_id)

    def _release(self, build_id: str) -> None:
        if held := self._held.pop(build_id, None):
            held.close()

    def _release_old(self) -> None:
        oldest_s = time.monotonic() - HELD_S
        for build_id in [each.build_id for each in self._held.values() if each.held_s < oldest_s]:
            self._release(build_id)

    def _release_all(self) -> None:
        for build_id in list(self._held):
            self._release(build_id)
