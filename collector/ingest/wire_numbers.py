"""The numbers by which agents name stacks and frames they have sent before (ingest.proto, stack_numbers).

Nothing depends on them: they live in memory only, each window proves by a hash that its numbers were understood,
and an agent whose numbers are lost sends ids again.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from collector.ingest.window import I64, U64, Sender
from fleetprof.wire_numbers import MOST_NUMBERS, number_check

LIMIT_BYTES = 256 << 20
"""Memory for the numbers of all agents' stacks, and for those of their frames: 1,500 agents of 20,000 each, as busy
hosts have after an hour. Others send ids."""
IDLE_S = 600.0
"""An agent that was silent for so long makes room for others."""

_STEP = 256
"""Room is made for a multiple of so many ids, and for an eighth more than are needed."""


class NumbersLost(Exception):
    """A request names things by numbers that this collector does not have, or has for others."""


NOBODY = Sender("", 0)


@dataclass(slots=True)
class _Run:
    run_id: int
    used_s: float = 0.0
    ids: U64 = field(default_factory=lambda: np.zeros(0, np.uint64))
    """ids[n - 1] has number n; room for more beyond `count`."""
    count: int = 0


class WireNumbers:
    """The numbers of each agent's latest run. Safe to use from several threads."""

    def __init__(self, limit_bytes: int = LIMIT_BYTES, clock: Callable[[], float] = time.monotonic) -> None:
        """A limit of 0 keeps none."""
        self._limit, self._clock = limit_bytes, clock
        self._held = 0
        self._lock = threading.Lock()
        self._runs: OrderedDict[str, _Run] = OrderedDict()
        """The one used longest ago first."""

    def known(self, sender: Sender) -> int:
        """How many numbers of the run are held, from 1 on."""
        with self._lock:
            run = self._runs.get(sender.agent_id)
            return run.count if run and run.run_id == sender.run_id else 0

    def take(self, sender: Sender, steps: I64, first: int, listed: bytes, check: int) -> bytes:
        """All ids that a request refers to, packed little endian: the numbered ones, then those `listed`.

        `steps` are differences of numbers; the listed ids have numbers from `first` on (0: none). Raises
        NumbersLost where the ids' hash is not `check`.
        """
        if not len(steps):
            self._keep(sender, first, listed)
            return listed
        ids = self._find(sender, steps.cumsum()) + listed
        if number_check(ids) != check:
            raise NumbersLost
        self._keep(sender, first, listed)
        return ids

    def _find(self, sender: Sender, numbers: I64) -> bytes:
        with self._lock:
            run = self._runs.get(sender.agent_id)
            if not run or run.run_id != sender.run_id or numbers.min() < 1 or numbers.max() > run.count:
                raise NumbersLost
            return run.ids[numbers - 1].astype("<u8").tobytes()

    def _keep(self, sender: Sender, first: int, listed: bytes) -> None:
        """Number ids from `first` on, and forget higher numbers; none where there is no room."""
        agent_id, run_id = sender
        if not first:
            return
        last = first - 1 + len(listed) // 8
        with self._lock:
            run = self._runs.get(agent_id)
            if run is None or run.run_id != run_id:
                self._drop(agent_id)
                run = _Run(run_id)
            if first > run.count + 1:
                return
            run.count, run.used_s = first - 1, self._clock()
            if agent_id in self._runs:
                self._runs.move_to_end(agent_id)
            if last <= MOST_NUMBERS and (last <= len(run.ids) or self._grow(run, last)):
                run.ids[first - 1 : last] = np.frombuffer(listed, "<u8")
                run.count = last
                self._runs[agent_id] = run

    def _grow(self, run: _Run, least: int) -> bool:
        """Make room for `least` numbers or more; false where memory does not allow it."""
        size = -(-(least + least // 8) // _STEP) * _STEP
        more = (size - len(run.ids)) * 8
        while self._held + more > self._limit and self._runs:
            longest_ago = next(iter(self._runs))
            if self._clock() - self._runs[longest_ago].used_s < IDLE_S:
                return False
            self._drop(longest_ago)
        if self._held + more > self._limit:
            return False
        run.ids = np.concatenate([run.ids[: run.count], np.zeros(size - run.count, np.uint64)])
        self._held += more
        return True

    def _drop(self, agent_id: str) -> None:
        if run := self._runs.pop(agent_id, None):
            self._held -= len(run.ids) * 8


@dataclass(frozen=True, slots=True)
class AgreedNumbers:
    """Those of stacks and those of frames."""

    stacks: WireNumbers = field(default_factory=WireNumbers)
    frames: WireNumbers = field(default_factory=WireNumbers)
