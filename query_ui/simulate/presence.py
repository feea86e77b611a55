"""Registers simulated agents with the collector and sends their heartbeats."""

import heapq
from typing import Any

import grpc

from agent.connection import Connection
from fleetprof.protocol import HEARTBEAT_S
from fleetprof.v1 import agent_pb2, agent_pb2_grpc
from query_ui.simulate.agents import heartbeat, registration
from query_ui.simulate.fleet import WINDOW_S, Fleet, Host, Run
from query_ui.simulate.totals import Totals

CALL_TIMEOUT_S = 10.0


class Presence:
    """Belongs to one thread. Calls that fail are made again with the next heartbeat."""

    def __init__(self, fleet: Fleet, connection: Connection, totals: Totals) -> None:
        self._fleet, self._connection, self._totals = fleet, connection, totals
        self._registered: dict[int, int] = {}
        """Host → the run that the collector knows."""
        self._calls: list[Any] = []
        spread_s = HEARTBEAT_S / max(len(fleet.hosts), 1)
        self._due = [(fleet.plan.start_s + spread_s * host.number, host.number) for host in fleet.hosts]

    def beat(self, now_s: float) -> None:
        """Send the heartbeats that are due; a run's first is its registration."""
        while self._due and self._due[0][0] <= now_s:
            due_s, number = heapq.heappop(self._due)
            heapq.heappush(self._due, (max(due_s, now_s - HEARTBEAT_S) + HEARTBEAT_S, number))
            host = self._fleet.hosts[number]
            run = host.run_at(int(now_s))
            if run and not host.is_away(int(now_s)):
                self._call(host, run, now_s)

    def introduce(self, now_s: float) -> None:
        """Register every host that is there at a time and send one heartbeat, and wait for the answers."""
        for _ in range(2):
            for host in self._fleet.hosts:
                if run := host.run_at(int(now_s)):
                    self._call(host, run, now_s)
            self._settle()

    def _call(self, host: Host, run: Run, now_s: float) -> None:
        stub = agent_pb2_grpc.AgentServiceStub(self._connection.channel)  # type: ignore[no-untyped-call]
        if self._registered.get(host.number) != run.run_id:
            call = stub.Register.future(registration(host, run), timeout=CALL_TIMEOUT_S)
        else:
            closed = int(now_s - run.start_s) // WINDOW_S
            acknowledged = min(self._totals.windows_of_host[host.number], closed)
            request = heartbeat(host, run, now_s, closed, acknowledged)
            call = stub.Heartbeat.future(request, timeout=CALL_TIMEOUT_S)
        call.add_done_callback(lambda done: self._answered(host, run, done))
        self._calls = [each for each in self._calls if not each.done()] + [call]

    def _answered(self, host: Host, run: Run, call: Any) -> None:
        """Runs on gRPC's thread; it only changes one entry of a dictionary."""
        if call.code() != grpc.StatusCode.OK:
            return
        answer = call.result()
        if isinstance(answer, agent_pb2.RegisterResponse):
            if answer.status == agent_pb2.RegisterResponse.STATUS_ACCEPTED:
                self._registered[host.number] = run.run_id
        elif answer.status == agent_pb2.HeartbeatResponse.STATUS_REGISTER:
            self._registered.pop(host.number, None)

    def _settle(self) -> None:
        for call in self._calls:
            call.exception()  # waits; a failed call is no news here: windows tell what is wrong
        self._calls = []
