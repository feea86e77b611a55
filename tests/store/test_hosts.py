"""Hosts from a real store: agents register over gRPC, windows go through the ingest path."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from collector.agents.keeper import AgentKeeper, seen_before
from collector.agents.registry import AgentRegistry
from collector.agents.service import AgentService
from collector.ingest.committer import Committer
from collector.ingest.journal import Journal
from collector.ingest.known import KnownDefinitions
from collector.ingest.limits import Limits
from collector.ingest.loss_ledger import LossLedger
from collector.pipeline import Pipeline
from collector.query.host_model import HostRow
from collector.query.model import TimeRange
from collector.query.querier import Querier
from collector.server import Running, serve
from collector.store.chdb import ChdbStore
from fleetprof.hooks import BPF_RUN_TIME
from fleetprof.losses import DropReason
from fleetprof.profile_types import ProfileType
from fleetprof.setting_kinds import Address
from fleetprof.v1 import agent_pb2, agent_pb2_grpc, ingest_pb2, ingest_pb2_grpc
from query_ui.api.hosts import hosts_json
from tests.store.pushes import WINDOW_S, Row, push_request, recent_window_s

pytestmark = pytest.mark.store

SECOND = 10**9


@dataclass
class Centre:
    """A collector's parts over the shared store, and calls to it."""

    store: ChdbStore
    registry: AgentRegistry
    ledger: LossLedger
    keeper: AgentKeeper
    channel: grpc.Channel

    def push(self, request: ingest_pb2.PushRequest) -> None:
        answer = ingest_pb2_grpc.IngestServiceStub(self.channel).Push(request, timeout=20)
        assert answer.status == ingest_pb2.PushResponse.STATUS_ACCEPTED

    def register(self, request: agent_pb2.RegisterRequest) -> agent_pb2.RegisterResponse:
        return agent_pb2_grpc.AgentServiceStub(self.channel).Register(request, timeout=20)

    def beat(self, request: agent_pb2.HeartbeatRequest) -> agent_pb2.HeartbeatResponse:
        return agent_pb2_grpc.AgentServiceStub(self.channel).Heartbeat(request, timeout=20)

    def row(self, host: str, range: TimeRange, now_s: float | None = None) -> HostRow:
        self.keeper.keep()
        rows = Querier(self.store).hosts(range, now_s)
        return next(row for row in rows if row.host == host)


@pytest.fixture
def centre(store: ChdbStore, tmp_path: Path) -> Iterator[Centre]:
    known, ledger, registry = KnownDefinitions(store), LossLedger(), AgentRegistry()
    committer = Committer(store, Journal(tmp_path / "journal"), known, ledger, linger_s=0.0)
    pipeline = Pipeline(known, committer, ledger, Limits(), heard=registry.window)
    running: Running = serve(
        pipeline, Address("127.0.0.1", 0), Limits(), AgentService(registry, ledger, heartbeat_ms=1234)
    )
    keeper = AgentKeeper(store, registry, every_s=3600)
    with grpc.insecure_channel(f"127.0.0.1:{running.port}") as channel:
        yield Centre(store, registry, ledger, keeper, channel)
    running.stop(0)
    keeper.stop()
    assert committer.stop(20)


def registration(host: str, version: int = 1, run_id: int = 7) -> agent_pb2.RegisterRequest:
    return agent_pb2.RegisterRequest(
        protocol_version=version,
        agent_id=f"agent-{host}",
        run_id=run_id,
        host=host,
        agent_version="1.2.3",
        kernel="6.1.0",
        architecture="x86_64",
        cpu_count=2,
        memory_bytes=4 << 30,
        backend="core",
        hooks=[
            agent_pb2.Hook(name="ring buffer", available=True),
            agent_pb2.Hook(name="kprobes", reason="Not offered here."),
            agent_pb2.Hook(name="sched", reason="No task storage.", is_program=True),
        ],
        configuration=[agent_pb2.ConfigurationSetting(name="frequency_hz", value="99", source="default")],
        started_unix_ns=time.time_ns() - 60 * SECOND,
    )


def heartbeat(host: str, skew_s: float = 0.0, queue: int = 0, run_id: int = 7) -> agent_pb2.HeartbeatRequest:
    return agent_pb2.HeartbeatRequest(
        agent_id=f"agent-{host}",
        run_id=run_id,
        clock_unix_ns=time.time_ns() + round(skew_s * SECOND),
        cost=ingest_pb2.AgentCost(cpu_ns=5, bpf_ns=6, rss_bytes=50 << 20, map_bytes=8 << 20),
        losses=[ingest_pb2.Loss(reason=int(DropReason.RING_FULL), count=3)],
        queue_windows=queue,
        windows_closed=9,
        windows_acknowledged=8,
    )


def windows(
    host: str, service: str, backs: Iterable[int], last_s: int | None = None
) -> list[ingest_pb2.PushRequest]:
    """One window for each of `backs` (windows before `last_s`): 2 CPUs, 4 s in use, 3 by `service`."""
    last_s = recent_window_s() if last_s is None else last_s
    requests = []
    for back in backs:
        rows = [
            Row("leaf;main", 3 * SECOND, labels={"service": service, "version": "7"}),
            Row("other;main", 1 * SECOND, labels={"service": f"{service}-b", "version": ""}),
            Row("", 16 * SECOND, ProfileType.IDLE, 0, labels={"service": "idle"}),
        ]
        request = push_request(
            rows,
            {"host": host},
            1000 - back,
            last_s - back * WINDOW_S,
            f"agent-{host}",
        )
        cost = request.window.cost
        cost.cpu_ns, cost.bpf_ns, cost.rss_bytes, cost.map_bytes = 40_000_000, 20_000_000, 61 << 20, 9 << 20
        requests.append(request)
    return requests


def test_a_host_as_it_told_of_itself_and_as_it_was_measured(centre: Centre, service: str) -> None:
    host = f"host-{service}"
    answer = centre.register(registration(host))
    assert answer.status == agent_pb2.RegisterResponse.STATUS_ACCEPTED
    assert answer.heartbeat_interval_ms == 1234
    assert abs(answer.server_unix_ns - time.time_ns()) < 60 * SECOND
    assert centre.beat(heartbeat(host, skew_s=-30)).status == agent_pb2.HeartbeatResponse.STATUS_OK
    now_s, last_s = time.time(), recent_window_s()
    for request in windows(host, service, [3, 2, 1, 0], last_s):
        centre.push(request)
    first_s = last_s - 3 * WINDOW_S
    row = centre.row(host, TimeRange(first_s, first_s + 40))
    assert (row.agent.version, row.agent.kernel, row.agent.backend, row.cpus) == ("1.2.3", "6.1.0", "core", 2)
    assert [(hook.name, hook.is_program) for hook in row.agent.hooks_off] == [
        ("kprobes", False),
        ("sched", True),
    ]
    assert row.agent.clock_skew_s == pytest.approx(-30, abs=2)
    assert [(use.service, use.version, use.cores) for use in row.services] == [
        (service, "7", pytest.approx(0.3)),
        (f"{service}-b", "", pytest.approx(0.1)),
    ]
    assert row.utilisation == pytest.approx(0.2)
    assert row.cores == pytest.approx(0.4)
    assert row.captures == 8
    assert row.reported.cost_share == pytest.approx(0.06 / 20)
    assert row.reported.rss_bytes == 61 << 20
    assert not row.silent
    assert now_s - row.last_seen_s < 30
    texts = " ".join(problem.text for problem in row.problems)
    assert "behind the collector's" in texts
    assert "sched is off: No task storage." in texts


@pytest.mark.parametrize(("backend", "measured"), [("core", False), ("perf", True)])
def test_a_cost_without_its_bpf_programs_is_not_passed_off_as_whole(
    centre: Centre, service: str, backend: str, measured: bool
) -> None:
    host = f"host-{service}"
    request = registration(host)
    request.backend = backend
    request.hooks.add(name=BPF_RUN_TIME, reason="Not measured: the kernel counts it for CAP_SYS_ADMIN only.")
    centre.register(request)
    last_s = recent_window_s()
    centre.push(windows(host, service, [0], last_s)[0])
    row = centre.row(host, TimeRange(last_s, last_s + 10))
    assert row.agent.measures_bpf == measured
    assert hosts_json([row], TimeRange(0, 10))["hosts"][0]["cost"]["bpf_measured"] == measured


def test_a_range_of_whole_minutes_gives_the_same_cores_as_one_that_is_not(
    centre: Centre, service: str
) -> None:
    host = f"host-{service}"
    last_s = recent_window_s()
    for request in windows(host, service, range(30), last_s):
        centre.push(request)
    end_s = last_s + 10
    for start_s in (end_s - 300, end_s - 290, (end_s - 200) // 60 * 60):
        row = centre.row(host, TimeRange(start_s, end_s))
        assert row.services[0].cores == pytest.approx(0.3), start_s
        assert row.utilisation == pytest.approx(0.2)


def test_a_host_that_was_never_idle_is_in_use_as_far_as_its_cpus_ran(centre: Centre, service: str) -> None:
    host = f"host-{service}"
    last_s = recent_window_s()
    rows = [Row("leaf;main", 15 * SECOND, labels={"service": service})]
    centre.push(push_request(rows, {"host": host}, 1, last_s, f"agent-{host}"))
    row = centre.row(host, TimeRange(last_s, last_s + 10))
    assert row.cpus == 2
    assert row.utilisation == pytest.approx(0.75)


def test_missing_windows_lower_completeness_of_their_hour(centre: Centre, service: str) -> None:
    host = f"host-{service}"
    hour_s = recent_window_s(3) // 3600 * 3600 - 3600  # ended so long ago that nothing is on its way
    first_s = hour_s - 1800
    here = [second for second in range(first_s, hour_s + 3600, 10) if (second - first_s) % 40]
    zeros = dict.fromkeys(("rows", "agent_cpu_ns", "agent_bpf_ns", "agent_rss_bytes", "agent_map_bytes"), 0)
    numbers = {"run_id": 1, "covered_ns": 10 * SECOND, "cpu_count": 2, "cpu_exact": 1, "period_ns": 1} | zeros
    block = {
        "ts": here,
        "host": [host] * len(here),
        "agent_id": [host] * len(here),
        "sequence": list(range(len(here))),
        "received_at": here,
        **{name: [number] * len(here) for name, number in numbers.items()},
    }
    centre.store.insert("windows", block, service)
    row = centre.row(host, TimeRange(hour_s, hour_s + 3600))
    assert row.reported.completeness[:-2] == (None,) * 22
    assert row.reported.completeness[-2] == pytest.approx(135 / 178)  # expected since the first window
    assert row.reported.completeness[-1] == pytest.approx(0.75)


def test_silence_is_90_seconds_without_heartbeat_or_window(centre: Centre, service: str) -> None:
    host, now_s = f"host-{service}", time.time()
    centre.register(registration(host))
    range = TimeRange(int(now_s) - 600, int(now_s) + 1)
    assert not centre.row(host, range, now_s + 80).silent
    assert centre.row(host, range, now_s + 100).silent
    assert "Silent for" in centre.row(host, range, now_s + 100).problems[0].text
    reporting, silent = AgentRegistry(seen_before(centre.store), clock=lambda: now_s + 50).counts()
    later = AgentRegistry(seen_before(centre.store), clock=lambda: now_s + 5000).counts()
    assert reporting >= 1
    assert later == (0, reporting + silent)


def test_another_protocol_version_is_refused_clearly_counted_and_shown(
    centre: Centre, service: str, caplog: pytest.LogCaptureFixture
) -> None:
    host = f"host-{service}"
    for _ in range(2):
        answer = centre.register(registration(host, version=9))
        assert answer.status == agent_pb2.RegisterResponse.STATUS_REFUSED
    assert "speaks protocol version 9; this collector speaks 1" in answer.reason
    assert "same release" in answer.reason
    said = [record.getMessage() for record in caplog.records if host in record.getMessage()]
    assert len(said) == 1
    assert "protocol version 9" in said[0]
    assert centre.ledger.total[DropReason.PROTOCOL_VERSION] == 2
    beaten = centre.beat(heartbeat(host))
    assert beaten.status == agent_pb2.HeartbeatResponse.STATUS_REGISTER
    now_s = time.time()
    row = centre.row(host, TimeRange(int(now_s) - 60, int(now_s) + 1))
    assert "protocol version 9" in row.problems[0].text


def test_a_new_run_must_register_first_and_replaces_the_old(centre: Centre, service: str) -> None:
    host = f"host-{service}"
    assert centre.beat(heartbeat(host)).status == agent_pb2.HeartbeatResponse.STATUS_REGISTER
    centre.register(registration(host))
    assert centre.beat(heartbeat(host, run_id=8)).status == agent_pb2.HeartbeatResponse.STATUS_REGISTER
    centre.register(registration(host, run_id=8))
    assert centre.beat(heartbeat(host, queue=4, run_id=8)).status == agent_pb2.HeartbeatResponse.STATUS_OK
    now_s = int(time.time())
    assert centre.row(host, TimeRange(now_s - 60, now_s + 1)).agent.queue_windows == 4
    kept = centre.store.query(
        ("SELECT loss_reasons, loss_counts, queue_windows FROM heartbeats WHERE host = %(h)s", {"h": host})
    )
    assert [list(reasons) for reasons in kept["loss_reasons"]] == [["ring_full"]]
    assert [list(counts) for counts in kept["loss_counts"]] == [[3]]


def test_two_hosts_with_one_agent_id_are_told(centre: Centre, service: str) -> None:
    one, other = f"one-{service}", f"two-{service}"
    for host, run in ((one, 1), (other, 2)):
        request = windows(host, service, [0])[0]
        request.agent_id, request.run_id = f"copied-{service}", run
        centre.push(request)
    now_s = int(time.time())
    row = centre.row(one, TimeRange(now_s - 120, now_s + 1))
    assert row.reported.same_agent_as == (other,)


@pytest.mark.parametrize(
    "change",
    [
        {"agent_id": ""},
        {"agent_id": "x" * 65},
        {"agent_id": "a\nb"},
        {"run_id": 0},
        {"host": ""},
        {"host": "h" * 256},
        {"kernel": "k\x00"},
        {"started_unix_ns": 2**63},
        {"hooks": [agent_pb2.Hook(name="h")] * 65},
        {"configuration": [agent_pb2.ConfigurationSetting(name="n")] * 129},
        {"configuration": [agent_pb2.ConfigurationSetting(name="n", value="v" * 8193)]},
    ],
    ids=str,
)
def test_a_registration_that_breaks_the_contract_is_refused(
    centre: Centre, change: dict[str, object]
) -> None:
    request = registration("some-host")
    for name, value in change.items():
        request.ClearField(name)  # type: ignore[arg-type]
        request.MergeFrom(agent_pb2.RegisterRequest(**{name: value}))  # type: ignore[arg-type]
    with pytest.raises(grpc.RpcError) as caught:
        centre.register(request)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert centre.ledger.total[DropReason.MALFORMED] == 1
    assert centre.registry.take().states == []
