"""Which agent is asked for which debug file: one in the whole fleet at a time, and not for ever.

All of it lives in memory. A collector that was started anew asks again for what it has not got whole.
"""

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

CLAIM_S = 120.0
"""A claim ends when no part came for so long."""
MAX_CLAIMS = 32
"""Files that are sent at a time, one an agent."""
FAILED_S = 600.0
"""An agent that let its claim run out is not asked for that file again for so long: another may do better."""
REFUSED_S = 86400.0
"""The same for one that sent a file that is none."""
REFUSALS = 3
"""After so many agents sent what is none, a build is given up, for REFUSED_S too."""
MAX_REMEMBERED = 10_000


@dataclass(slots=True, eq=False)
class Claim:
    """The right of an agent to send one file. `until_s` is monotonic."""

    number: int
    build_id: str
    agent_id: str
    host: str
    name: str
    size: int
    """Bytes of the whole file, and those that are to be sent."""
    sent_size: int
    until_s: float


class Claims:
    """Not safe to use from several threads: its owner has a lock. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._by_number: dict[int, Claim] = {}
        self._refused: OrderedDict[str, dict[str, float]] = OrderedDict()
        self._failed: OrderedDict[tuple[str, str], float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_number)

    def __iter__(self) -> Iterator[Claim]:
        return iter(list(self._by_number.values()))

    def of_agent(self, agent_id: str) -> Claim | None:
        """The claim that an agent has."""
        return next((claim for claim in self._by_number.values() if claim.agent_id == agent_id), None)

    def may_have(self, agent_id: str, build_id: str) -> bool:
        """Whether an agent may be asked for a file: nobody sends it now, nor this agent another one."""
        if len(self) >= MAX_CLAIMS or any(
            claim.build_id == build_id or claim.agent_id == agent_id for claim in self
        ):
            return False
        not_before_s = (
            self._failed.get((build_id, agent_id), 0.0),
            self._refused.get(build_id, {}).get(agent_id, 0.0),
        )
        return self._clock() >= max(not_before_s)

    def given_up(self, build_id: str) -> bool:
        """Whether agents sent too often what is no file of this build."""
        now_s = self._clock()
        return sum(until_s > now_s for until_s in self._refused.get(build_id, {}).values()) >= REFUSALS

    def grant(self, build_id: str, agent_id: str, host: str, name: str, size: int, sent_size: int) -> Claim:
        """Ask an agent for a file."""
        claim = Claim(secrets.randbits(63) + 1, build_id, agent_id, host, name, size, sent_size, 0.0)
        self._by_number[claim.number] = claim
        self.extend(claim)
        return claim

    def find(self, number: int) -> Claim | None:
        """The claim of this number; None when it is over."""
        return self._by_number.get(number)

    def extend(self, claim: Claim) -> None:
        """The agent goes on sending."""
        claim.until_s = self._clock() + CLAIM_S

    def end(self, claim: Claim) -> None:
        """It is over, without blame."""
        self._by_number.pop(claim.number, None)

    def fail(self, claim: Claim) -> None:
        """It is over, and the file did not come."""
        self.end(claim)
        _remember(self._failed, (claim.build_id, claim.agent_id), self._clock() + FAILED_S)

    def refuse(self, claim: Claim) -> None:
        """It is over, and what came is no such file."""
        self.end(claim)
        refused = self._refused.setdefault(claim.build_id, {})
        if len(refused) >= REFUSALS:
            del refused[next(iter(refused))]
        refused[claim.agent_id] = self._clock() + REFUSED_S
        _remember(self._refused, claim.build_id, refused)

    def overdue(self) -> list[Claim]:
        """Those whose agent went silent."""
        now_s = self._clock()
        return [claim for claim in self._by_number.values() if claim.until_s < now_s]


_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


def _remember(memory: "OrderedDict[_Key, _Value]", key: _Key, value: _Value) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > MAX_REMEMBERED:
        memory.popitem(last=False)
