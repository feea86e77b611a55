"""A process of agents: the real shipper with its spool and connection, fed with simulated windows, quickly.

    python -m tests.faults.agents FOLDER NAME COLLECTOR_PORT AGENTS WINDOWS_IN_MEMORY

Each line on standard input steps the agents' wall clocks by so many seconds for their next windows. SIGTERM ends it
cleanly: what waits is delivered first. FOLDER/NAME.ledger tells what was handed over, acknowledged and dropped.
"""

import os
import secrets
import signal
import sys
import threading
import time
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import grpc

from agent.backlog import Backlog
from agent.connection import Connection
from agent.push import Sender
from agent.ship import Patience, Shipper
from fleetprof.losses import DropReason, Losses
from fleetprof.setting_kinds import Address
from fleetprof.v1 import ingest_pb2
from query_ui.simulate.draw import Drawer, Drawn
from query_ui.simulate.fleet import WINDOW_S, Fleet, Host, Plan, make_fleet
from tests.faults.ledger import Key, LedgerWriter

PACE_S = 0.8
"""Time between two windows of an agent."""
STEPPED_WINDOWS = 4
STUCK_S = 300.0
"""At the end, agents give up when so long nothing was delivered."""
SPOOL_AFTER_S = 1.0
CATCH_UP_RATE = 100.0
SPOOL_BYTES = 8 << 20
BACK_S = 20 * 3600
"""Windows begin so long ago, and come faster than time passes."""

_STORED = (ingest_pb2.PushResponse.STATUS_ACCEPTED, ingest_pb2.PushResponse.STATUS_DUPLICATE)
_WINDOW_DROPS = {
    DropReason.QUEUE_FULL,
    DropReason.REJECTED,
    *(reason for reason in DropReason if reason.name.startswith("SPOOL")),
}


class _NoteAnswers(grpc.UnaryUnaryClientInterceptor):
    """Writes down what the collector acknowledges."""

    def __init__(self, ledger: LedgerWriter) -> None:
        self._ledger = ledger

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        call = continuation(client_call_details, request)
        key = (request.agent_id, request.run_id, request.sequence)
        call.add_done_callback(lambda done: self._note(key, done))
        return call

    def _note(self, key: Key, call: Any) -> None:
        if call.code() == grpc.StatusCode.OK and call.result().status in _STORED:
            self._ledger.acknowledged(key)


class _Noted(Connection):
    """A connection whose answers are noted."""

    def __init__(self, address: Address, ledger: LedgerWriter) -> None:
        self._ledger = ledger
        super().__init__(address)

    def _open(self) -> grpc.Channel:
        return grpc.intercept_channel(super()._open(), _NoteAnswers(self._ledger))


class FaultyAgent:
    """One agent."""

    def __init__(
        self, fleet: Fleet, host: Host, folder: Path, port: int, ledger: LedgerWriter, in_memory: int
    ) -> None:
        self._fleet, self._host, self._ledger = fleet, host, ledger
        self.name = f"agent-{host.name}"
        self.run = secrets.randbits(62) + 1
        self._drawer = Drawer(fleet)
        self._drawn: list[Drawn] = []
        self._sequence = 0
        self._clock = folder / f"{host.name}.clock"
        self._next_s = int(self._clock.read_text()) if self._clock.exists() else fleet.plan.start_s
        # Every third agent has no disk to wait on: what does not fit into its memory is dropped and counted.
        spool = None if host.number % 3 == 2 else Backlog(folder / host.name, SPOOL_BYTES)
        connection = _Noted(Address("127.0.0.1", port), ledger)
        patience = Patience(in_memory, SPOOL_AFTER_S, CATCH_UP_RATE)
        self._shipper = Shipper(connection, Sender(self.name, self.run, host.name), patience, spool)

    def offer(self, stepped_s: int | None) -> None:
        """Hand over the next window; `stepped_s` is its start where the clock was stepped."""
        if not self._drawn:
            self._drawn = self._drawer.draw(self._host, self._fleet.plan.start_s, 20)
        window = self._drawn.pop().whole(self._fleet.book)
        second = self._next_s if stepped_s is None else stepped_s
        self._next_s += WINDOW_S
        self._keep_clock()
        window.times = type(window.times)(second * 10**9, 0, WINDOW_S * 10**9)
        window.losses = self.take_losses()
        self._sequence += 1
        self._ledger.window((self.name, self.run, self._sequence), second, window)
        self._shipper.offer(window)

    def _keep_clock(self) -> None:
        """Whole or not at all: SIGKILL may come at any moment."""
        part = self._clock.with_suffix(".part")
        part.write_text(str(self._next_s))
        part.replace(self._clock)

    def take_losses(self) -> Losses:
        """What the shipper dropped, noted."""
        losses = self._shipper.take_losses()
        drops = Losses({reason: count for reason, count in losses.items() if reason in _WINDOW_DROPS})
        self._ledger.dropped(self.name, self.run, drops)
        return losses

    @property
    def waiting(self) -> int:
        """Windows that are not acknowledged yet."""
        return self._shipper.waiting

    def end(self) -> None:
        """End, whatever waits."""
        left = self.waiting
        self._shipper.close(1.0)
        self.take_losses()
        self._ledger.left(self.name, self.run, left)


def drain(agents: list[FaultyAgent]) -> None:
    """Deliver what waits, in memory and on disk, then end."""
    left, since_s = -1, time.monotonic()
    while (waiting := sum(agent.waiting for agent in agents)) and time.monotonic() < since_s + STUCK_S:
        if waiting != left:
            left, since_s = waiting, time.monotonic()
        time.sleep(0.05)
    for agent in agents:
        agent.end()


def _listen(steps: "SimpleQueue[int]") -> None:
    for line in sys.stdin:
        steps.put(int(line))


def main() -> None:
    """Run until SIGTERM."""
    folder, name = Path(sys.argv[1]), sys.argv[2]
    port, count, in_memory = map(int, sys.argv[3:])
    start_s = (int(time.time()) - BACK_S) // WINDOW_S * WINDOW_S
    seed = sum(name.encode())
    fleet = make_fleet(Plan(count, 2, start_s, start_s + 3600, seed))
    ledger = LedgerWriter(folder / f"{name}.ledger")
    for host in fleet.hosts:
        host.name = f"{name}-{host.name}"
        for instance in host.instances:
            object.__setattr__(instance, "cores", instance.cores / 4)
    agents = [FaultyAgent(fleet, host, folder, port, ledger, in_memory) for host in fleet.hosts]
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    steps: SimpleQueue[int] = SimpleQueue()
    threading.Thread(target=_listen, args=(steps,), daemon=True).start()
    print("ready", flush=True)
    while not stopping.wait(PACE_S):
        step_s = None if steps.empty() else steps.get()
        for agent in agents:
            for place in range(STEPPED_WINDOWS if step_s is not None else 1):
                now_s = int(time.time()) // WINDOW_S * WINDOW_S
                agent.offer(None if step_s is None else now_s + step_s + place * WINDOW_S)
    drain(agents)
    os._exit(0)  # the thread that reads standard input holds up a usual end


if __name__ == "__main__":
    main()
