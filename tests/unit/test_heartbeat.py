"""Registration and heartbeats against a real gRPC server: what fails is tried again, and is said once."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest

from agent import heartbeat as beating
from agent.aggregate import Cost
from agent.backends.interface import Unavailable
from agent.config import TABLE, AgentConfig
from agent.connection import Connection
from agent.heartbeat import Heartbeat
from agent.push import Acknowledged, Sender
from agent.registration import registration
from agent.totals import RunningTotals, Totals
from fleetprof.losses import DropReason, Losses
from fleetprof.protocol import PROTOCOL_VERSION
from fleetprof.setting_kinds import Address
from fleetprof.settings import load_settings
from fleetprof.v1 import agent_pb2, agent_pb2_grpc
from tests.unit.rows import Row
from tests.unit.test_encode import window

Registered, Beaten = agent_pb2.RegisterResponse, agent_pb2.HeartbeatResponse
SENDER = Sender("agent-1", 42, "host-1")
DESCRIPTION = agent_pb2.RegisterRequest(protocol_version=1, agent_id="agent-1", run_id=42, host="host-1")
PACE_MS = 100


class Collector(agent_pb2_grpc.AgentServiceServicer):
    """Keeps what it hears, in order; `script` answers are used up first."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.script: list[Any] = []
        self.clock_s = time.time
        self.changed = threading.Condition()

    def _answer(self, request: Any, context: grpc.ServicerContext, usual: Any) -> Any:
        with self.changed:
            self.heard.append(request)
            self.changed.notify_all()
            answer = self.script.pop(0) if self.script else usual
        if isinstance(answer, grpc.StatusCode):
            context.abort(answer, "as the test wants it")
        answer.server_unix_ns = round(self.clock_s() * 1e9)
        return answer

    def Register(self, request: agent_pb2.RegisterRequest, context: grpc.ServicerContext) -> Registered:
        usual = Registered(status=Registered.STATUS_ACCEPTED, heartbeat_interval_ms=PACE_MS)
        return self._answer(request, context, usual)

    def Heartbeat(self, request: agent_pb2.HeartbeatRequest, context: grpc.ServicerContext) -> Beaten:
        return self._answer(request, context, Beaten(status=Beaten.STATUS_OK, heartbeat_interval_ms=PACE_MS))

    def wait_for(self, count: int) -> list[str]:
        """Names of the first `count` calls."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.heard) >= count, timeout=20)
            return [type(request).__name__.removesuffix("Request").lower() for request in self.heard[:count]]


@pytest.fixture
def collector() -> Iterator[tuple[Collector, Address]]:
    servicer = Collector()
    server = grpc.server(futures.ThreadPoolExecutor(2))
    agent_pb2_grpc.add_AgentServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer, Address("127.0.0.1", port)
    server.stop(None)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beating, "FIRST_BACKOFF_S", 0.02)
    monkeypatch.setattr(beating, "REFUSED_PAUSE_S", 0.05)


@pytest.fixture
def beat(collector: tuple[Collector, Address]) -> Iterator[Callable[..., Heartbeat]]:
    started: list[Heartbeat] = []
    connection = Connection(collector[1])

    def start(totals: Totals | None = None, waiting: int = 0) -> Heartbeat:
        heartbeat = Heartbeat(
            connection,
            SENDER,
            lambda: DESCRIPTION,
            lambda: totals or Totals(0, Cost(), Losses()),
            lambda: waiting,
            lambda: Acknowledged(3, 12345, 1.0),
        )
        started.append(heartbeat)
        return heartbeat

    yield start
    for heartbeat in started:
        heartbeat.close(last=False)
    connection.close()


def said(caplog: pytest.LogCaptureFixture, level: int = logging.INFO) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= level]


def test_it_registers_then_beats_with_totals_since_start(
    collector: tuple[Collector, Address], beat: Callable[..., Heartbeat]
) -> None:
    servicer, _ = collector
    losses = Losses({DropReason.RING_FULL: 2, DropReason.REJECTED: 1})
    beat(Totals(5, Cost(1, 2, 3, 4), losses), waiting=2)
    assert servicer.wait_for(3) == ["register", "heartbeat", "heartbeat"]
    assert servicer.heard[0] == DESCRIPTION
    request = servicer.heard[1]
    assert (request.agent_id, request.run_id, request.queue_windows) == ("agent-1", 42, 2)
    assert (request.windows_closed, request.windows_acknowledged) == (5, 3)
    assert request.acknowledged_start_unix_ns == 12345
    assert {loss.reason: loss.count for loss in request.losses} == {1: 2, 12: 1}
    cost = request.cost
    assert (cost.cpu_ns, cost.bpf_ns, cost.rss_bytes, cost.map_bytes) == (1, 2, 3, 4)
    assert abs(request.clock_unix_ns - time.time_ns()) < 60 * 10**9


def test_a_collector_that_forgot_the_agent_gets_a_registration_again(
    collector: tuple[Collector, Address], beat: Callable[..., Heartbeat]
) -> None:
    servicer, _ = collector
    servicer.script = [
        Registered(status=Registered.STATUS_ACCEPTED, heartbeat_interval_ms=PACE_MS),
        Beaten(status=Beaten.STATUS_REGISTER, heartbeat_interval_ms=PACE_MS),
    ]
    beat()
    assert servicer.wait_for(4) == ["register", "heartbeat", "register", "heartbeat"]


def test_failures_are_tried_again(
    collector: tuple[Collector, Address], beat: Callable[..., Heartbeat], caplog: pytest.LogCaptureFixture
) -> None:
    servicer, _ = collector
    servicer.script = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED]
    with caplog.at_level(logging.INFO, "fleetprof"):
        beat()
        assert servicer.wait_for(4) == ["register", "register", "register", "heartbeat"]
        servicer.wait_for(5)
    assert len([line for line in said(caplog) if "Registered with" in line]) == 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            Registered(status=Registered.STATUS_REFUSED, reason="The agent speaks protocol version 9."),
            "The agent speaks protocol version 9.",
        ),
        (grpc.StatusCode.UNIMPLEMENTED, "does not know registration"),
        (grpc.StatusCode.INVALID_ARGUMENT, "as the test wants it"),
    ],
    ids=str,
)
def test_a_refusal_is_said_once_and_tried_again_slowly(
    collector: tuple[Collector, Address],
    beat: Callable[..., Heartbeat],
    caplog: pytest.LogCaptureFixture,
    answer: Any,
    words: str,
) -> None:
    servicer, address = collector
    servicer.script = [answer, answer, answer]
    beat()
    assert servicer.wait_for(5)[:4] == ["register"] * 4
    (line,) = said(caplog, logging.WARNING)
    assert line.startswith(f"Collector {address} refused this agent: ")
    assert words in line


@pytest.mark.parametrize(("ahead_s", "words"), [(60, "60.0 s ahead of"), (-7, "7.0 s behind")])
def test_a_wrong_clock_is_said_once_and_when_it_is_right_again(
    collector: tuple[Collector, Address],
    beat: Callable[..., Heartbeat],
    caplog: pytest.LogCaptureFixture,
    ahead_s: float,
    words: str,
) -> None:
    servicer, _ = collector
    servicer.clock_s = lambda: time.time() - ahead_s
    with caplog.at_level(logging.INFO, "fleetprof"):
        beat()
        servicer.wait_for(4)
        assert len([line for line in said(caplog, logging.WARNING) if words in line]) == 1
        servicer.clock_s = time.time
        servicer.wait_for(len(servicer.heard) + 3)
    assert len([line for line in said(caplog) if "agrees with the collector's again" in line]) == 1


def test_the_last_beat_tells_the_final_state(
    collector: tuple[Collector, Address], beat: Callable[..., Heartbeat]
) -> None:
    servicer, _ = collector
    heartbeat = beat()
    servicer.wait_for(2)
    heartbeat.close()
    before = len(servicer.heard)
    with servicer.changed:
        assert not servicer.changed.wait_for(lambda: len(servicer.heard) > before, timeout=0.3)
    assert isinstance(servicer.heard[-1], agent_pb2.HeartbeatRequest)


def test_closing_does_not_wait_for_a_collector_that_is_away() -> None:
    connection = Connection(Address("127.0.0.1", 1))
    heartbeat = Heartbeat(
        connection, SENDER, lambda: DESCRIPTION, lambda: Totals(0, Cost(), Losses()), lambda: 0, Acknowledged
    )
    heartbeat.close(last=False)
    connection.close()


def test_the_registration_describes_host_and_configuration() -> None:
    loaded = load_settings(TABLE, AgentConfig, {"labels": "team=a"}, {})
    hooks = {"ring buffer": "ok", "kprobes": "Not offered:\nno file."}
    request = registration(SENDER, loaded, "core", [Unavailable("sched", "No BTF.")], hooks)
    assert request.protocol_version == PROTOCOL_VERSION
    assert (request.agent_id, request.run_id, request.host) == ("agent-1", 42, "host-1")
    assert request.cpu_count >= 1
    assert request.memory_bytes > 1 << 26
    assert [(hook.name, hook.available, hook.reason, hook.is_program) for hook in request.hooks] == [
        ("sched", False, "No BTF.", True),
        ("ring buffer", True, "", False),
        ("kprobes", False, "Not offered: no file.", False),
    ]
    found = {setting.name: (setting.value, setting.source) for setting in request.configuration}
    assert set(found) == {setting.name for setting in TABLE}
    assert found["frequency_hz"] == ("99", "default")
    assert "team" in found["labels"][0]
    assert found["labels"][1] == "flag --labels"


def test_a_secret_setting_is_not_sent() -> None:
    loaded = load_settings(TABLE, AgentConfig, {"token": "hunter2"}, {})
    request = registration(SENDER, loaded, "core", [], {})
    assert "hunter2" not in str(request)
    assert [s.value for s in request.configuration if s.name == "token"] == ["(secret)"]


def test_totals_add_up_but_memory_is_the_newest() -> None:
    running = RunningTotals()
    for number in (1, 2):
        closed = window([Row()], [[]], [{"host": "h"}])
        closed.cost = Cost(cpu_ns=10 * number, bpf_ns=number, rss_bytes=100 * number, map_bytes=7)
        closed.losses = Losses({DropReason.RING_FULL: number})
        running.add(closed)
    totals = running.read()
    assert (totals.windows, totals.cost) == (2, Cost(30, 3, 200, 7))
    assert totals.losses == {DropReason.RING_FULL: 3}
