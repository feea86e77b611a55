"""Decides which of the debug files that agents offer are asked for, and takes them in.

Each build id is asked of one agent at a time (`claims.py`). What agents cannot name is asked for first; what one of
them names itself may still name frames of other hosts, or tell lines: it is asked for while half of
debuginfo_size is free. Nothing that is there is ever replaced by what an agent sends, and nothing that other
sources brought gives way to it.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection
from enum import StrEnum

from collector.debuginfo.arrival import Arrival
from collector.debuginfo.claims import MAX_CLAIMS, Claim, Claims
from collector.debuginfo.files import Kept
from collector.debuginfo.intake import Intake, plain_name
from collector.debuginfo.offered import Offered, Question
from collector.debuginfo.origin import Origin
from collector.ingest.refusal import Later
from fleetprof.errors import InputError, UnavailableError

log = logging.getLogger("fleetprof.debuginfo")

SOON_MS, SELDOM_MS = 60_000, 600_000
"""When to offer again what another agent sends, and what nobody needs yet or no agent may send."""
LOOK_EVERY_S = 10.0
"""How much room the files leave is looked at so often."""


class Answer(StrEnum):
    """What an agent is told of an offer: the label `answer` of the metric."""

    WANTED = "wanted"
    BUSY = "busy"
    """Another agent sends it, or this one sends another file."""
    UNNEEDED = "not_needed"
    NEVER = "never"


class Unknown(Exception):
    """The claim is over, or was never given."""


class Offers:
    """Answers agents. Safe to use from several threads. `nameless` tells the builds of which frames lack names."""

    def __init__(
        self,
        intake: Intake,
        nameless: Callable[[], Collection[str]],
        changed: Callable[[], None],
        accepting: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`changed` is called when there is a new file; `clock` is monotonic, in seconds."""
        self._intake, self._files = intake, intake.files
        self._nameless, self._changed, self._clock = nameless, changed, clock
        self._accepting = accepting
        self._claims = Claims(clock)
        self._arrivals: dict[int, Arrival] = {}
        self._lock = threading.Lock()
        self._checking: set[int] = set()
        self._looked_s = float("-inf")
        self._room = self._used = 0
        self.answers: Counter[Answer] = Counter()
        """Since start, as `kept`, `refused` and `taken_bytes`."""
        self.kept = self.refused = self.taken_bytes = 0

    @property
    def open_claims(self) -> int:
        """Files that agents are asked for now."""
        return len(self._claims)

    @property
    def limit_bytes(self) -> int:
        """The largest file taken."""
        return self._intake.limit_bytes

    @property
    def refusal(self) -> str:
        """Why agents' files are not taken at all; "" when they are."""
        if not self._accepting:
            return "debuginfo_from_agents is off."
        return "" if self.limit_bytes else "debuginfo_size is 0."

    def ask(self, question: Question) -> list[tuple[Answer, int]]:
        """(answer, claim or 0) for each offer, in order."""
        with self._lock:
            self._end_overdue()
            self._end_given_up(question.agent_id)
            self._look()
            found = [self._answer(question, offer) for offer in question.offers]
        self.answers.update(answer for answer, _ in found)
        return found

    def take_part(
        self, number: int, offset: int, data: bytes, crc32: int, digest: bytes, pay: Callable[[int], None]
    ) -> Kept | None:
        """Take a part, the last one with a `digest`; what became of the file then. `pay` accounts for the bytes.

        Raises Unknown, Damaged, Later, UnavailableError, and InputError when the file is refused.
        """
        claim, arrival = self._begin(number)
        try:
            pay(len(data))
            self.taken_bytes += arrival.add(offset, data, crc32)
            return self._finish(claim, arrival, digest) if digest or not arrival.missing else None
        except InputError as error:
            self._refuse(claim, error)
            raise
        finally:
            with self._lock:
                self._checking.discard(number)
                self._claims.extend(claim)

    def close(self) -> None:
        """Remove what is not whole."""
        with self._lock:
            for claim in self._claims:
                self._end(claim)

    def _answer(self, question: Question, offer: Offered) -> tuple[Answer, int]:
        file = self._files.find(offer.build_id)
        there = file is not None and not (file.origin is Origin.AGENT and file.problem)
        if there or offer.size > self.limit_bytes or self._files.past.has(offer.build_id):
            return Answer.NEVER, 0
        if self._claims.given_up(offer.build_id):
            return Answer.NEVER, 0
        if offer.sent_size > self._room or not self._needed(offer):
            return Answer.UNNEEDED, 0
        if not self._claims.may_have(question.agent_id, offer.build_id):
            return Answer.BUSY, 0
        claim = self._claims.grant(
            offer.build_id,
            question.agent_id,
            question.host,
            plain_name(offer.name),
            offer.size,
            offer.sent_size,
        )
        log.info("Asking host %s for debug file %s (%s).", claim.host, claim.build_id, claim.name)
        return Answer.WANTED, claim.number

    def _needed(self, offer: Offered) -> bool:
        if offer.nameless or offer.build_id in self._nameless():
            return True
        return offer.has_lines and self._used + offer.sent_size < self._files.limit_bytes // 2

    def _look(self) -> None:
        """How much room the files leave, once in a while."""
        if self._clock() - self._looked_s >= LOOK_EVERY_S:
            self._looked_s = self._clock()
            self._used, self._room = self._files.used_bytes(), self._files.room_for_agents()

    def _begin(self, number: int) -> tuple[Claim, Arrival]:
        """The claim and the file of a part, which no other thread may use until `take_part` ends."""
        with self._lock:
            self._end_overdue()
            claim = self._claims.find(number)
            if claim is None:
                raise Unknown("This file is not asked for (any more).")
            if number in self._checking:
                raise Later("The part before is still being written.", retry_ms=5000, overloaded=True)
            arrival = self._arrivals.get(number)
            if arrival is None:
                self._check_room(claim)
                arrival = self._arrivals[number] = Arrival(self._files, claim.size, claim.sent_size)
            self._checking.add(number)
        return claim, arrival

    def _check_room(self, claim: Claim) -> None:
        """All that is under way must find room, not only each file by itself."""
        with self._files.incoming(claim.sent_size + sum(each.missing for each in self._arrivals.values())):
            pass

    def _finish(self, claim: Claim, arrival: Arrival, digest: bytes) -> Kept:
        arrival.complete(digest)
        kept = self._intake.keep(arrival.file, claim.name, claim.build_id, Origin.AGENT, claim.host)
        with self._lock:
            self._end(claim)
            self._looked_s = float("-inf")
        if claim.build_id in kept.evicted:
            raise UnavailableError("There is no room for the file beside others.", "Raise debuginfo_size.")
        if not kept.better:
            self.kept += 1
            log.info("Keeping debug file %s (%s) from host %s.", claim.build_id, claim.name, claim.host)
            self._changed()
        return kept

    def _refuse(self, claim: Claim, error: InputError) -> None:
        with self._lock:
            if self._claims.find(claim.number):
                self.refused += 1
                self._claims.refuse(claim)
                self._drop(claim)
                log.warning(
                    "Debug file %s from host %s is refused: %s", claim.build_id, claim.host, error.message
                )

    def _end_given_up(self, agent_id: str) -> None:
        """An agent sends one file at a time: one that offers has given up what it sent, or was started anew."""
        claim = self._claims.of_agent(agent_id)
        if claim and claim.number not in self._checking:
            self._claims.fail(claim)
            self._drop(claim)

    def _end_overdue(self) -> None:
        for claim in self._claims.overdue():
            if claim.number not in self._checking:
                log.info("Host %s does not send debug file %s; others may.", claim.host, claim.build_id)
                self._claims.fail(claim)
                self._drop(claim)

    def _end(self, claim: Claim) -> None:
        self._claims.end(claim)
        self._drop(claim)

    def _drop(self, claim: Claim) -> None:
        if arrival := self._arrivals.pop(claim.number, None):
            arrival.close()


def retry_ms(answers: Collection[Answer]) -> int:
    """When to offer again what was not taken."""
    return SOON_MS if Answer.BUSY in answers else SELDOM_MS


assert MAX_CLAIMS < 1000  # parts are small, but each claim may hold a file of gigabytes
