"""Windows through the whole pipeline, over gRPC, into the store: what is stored, answered and counted."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from collector.ingest import writer as writing
from collector.ingest.committer import Committer
from collector.ingest.journal import Journal
from collector.ingest.known import KnownDefinitions
from collector.ingest.limits import Limits
from collector.ingest.loss_ledger import LossLedger
from collector.ingest.refusal import Later
from collector.pipeline import Pipeline
from collector.receivers.grpc_push import SERVICE
from collector.server import Running, serve
from collector.store.chdb import ChdbStore
from collector.store.consistency import Difference, differences
from collector.store.errors import StoreBusy, StoreError
from fleetprof.errors import UnavailableError
from fleetprof.frames import frame_id
from fleetprof.losses import DropReason
from fleetprof.profile_types import ProfileType
from fleetprof.setting_kinds import Address
from fleetprof.v1 import ingest_pb2, ingest_pb2_grpc
from tests.store.pushes import Row, frames_of, push_request, recent_window_s

pytestmark = pytest.mark.store

ACCEPTED = ingest_pb2.PushResponse.STATUS_ACCEPTED
DUPLICATE = ingest_pb2.PushResponse.STATUS_DUPLICATE
NEED = ingest_pb2.PushResponse.STATUS_NEED_DEFINITIONS
LIMITS = Limits(message_bytes=1 << 20)
LOCAL = Address("127.0.0.1", 0)


class Ingest:
    """A pipeline on the shared store, with the parts that tests look at."""

    def __init__(self, store: ChdbStore, folder: Path) -> None:
        self.store, self.ledger = store, LossLedger()
        self.known = KnownDefinitions(store)
        self.committer = Committer(
            store, Journal(folder / "journal"), self.known, self.ledger, linger_s=0.001
        )
        self.pipeline = Pipeline(self.known, self.committer, self.ledger, LIMITS)

    def differences(self, service: str) -> list[Difference]:
        """Where the service's roll-ups are not the sums of its samples."""
        assert self.committer.flush()
        return [each for each in differences(self.store) if each.service == service]

    def push(self, request: ingest_pb2.PushRequest) -> ingest_pb2.PushResponse:
        return self.pipeline.push(request.SerializeToString())

    def rows(self, sql: str, service: str) -> list[tuple[Any, ...]]:
        columns = self.store.query((sql, {"service": service}))
        return list(zip(*(column.tolist() for column in columns.values()), strict=True))


@pytest.fixture
def ingest(store: ChdbStore, tmp_path: Path) -> Iterator[Ingest]:
    made = Ingest(store, tmp_path)
    yield made
    made.committer.stop(10)


@pytest.fixture
def server(ingest: Ingest) -> Iterator[Running]:
    running = serve(ingest.pipeline, LOCAL, LIMITS)
    yield running
    running.stop(5)


@pytest.fixture
def channel(server: Running) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as opened:
        yield opened


def labels(service: str, **more: str) -> dict[str, str]:
    return {"host": f"host-{service}", "service": service, **more}


FRAMES = """SELECT count() FROM frames
    WHERE id IN (SELECT arrayJoin(frames) FROM stacks WHERE service = %(service)s)"""
HOUR_S = recent_window_s(720) // 3600 * 3600


def test_a_window_is_in_every_table(ingest: Ingest, service: str) -> None:
    rows = [
        Row("leaf;work;main", 100, offsets=[0, 3, 3, 999]),
        Row("leaf;work;leaf;main", 30),
        Row("work;main", 7, ProfileType.OFFCPU, labels={"wait": "futex", "team": "it's"}),
        Row("", 5, ProfileType.RUNQ, captures=0),
        Row("", 50, ProfileType.IDLE, captures=0),
    ]
    request = push_request(rows, labels(service, version="1.2"), start_s=HOUR_S + 120, agent_id=service,
                           losses={1: 4})  # fmt: skip
    assert ingest.push(request).status == ACCEPTED
    ask = ingest.rows
    assert ask("SELECT type, sum(value), sum(captures) FROM samples WHERE service = %(service)s"
               " GROUP BY type ORDER BY type", service) == [
        ("cpu", 130, 2), ("idle", 50, 0), ("offcpu", 7, 1), ("runq", 5, 0)]  # fmt: skip
    offsets = ask("SELECT offsets FROM samples WHERE service = %(service)s AND value = 100", service)
    assert offsets[0][0].tolist() == [0, 3, 3, 999]
    assert ingest.committer.flush()
    assert ask("SELECT type, version, sum(value), count() FROM stack_1h WHERE service = %(service)s"
               " GROUP BY type, version ORDER BY type", service) == [
        ("cpu", "1.2", 130, 2), ("offcpu", "1.2", 7, 1), ("runq", "1.2", 5, 1)]  # fmt: skip
    leaf, work, main = (frame_id(frame) for frame in frames_of("leaf;work;main"))
    sums = ask("SELECT type, func, self, total FROM func_1h WHERE service = %(service)s", service)
    assert set(sums) == {
        ("cpu", leaf, 130, 130), ("cpu", work, 0, 130), ("cpu", main, 0, 130),
        ("offcpu", work, 7, 7), ("offcpu", main, 0, 7),
    }  # fmt: skip
    assert ask("SELECT toUInt32(ts), type, sum(value) FROM series_1m WHERE service = %(service)s"
               " GROUP BY ts, type ORDER BY type", service) == [
        (HOUR_S + 120, "cpu", 130), (HOUR_S + 120, "idle", 50), (HOUR_S + 120, "offcpu", 7),
        (HOUR_S + 120, "runq", 5)]  # fmt: skip
    free = ask(
        "SELECT free_names, free_values FROM series WHERE service = %(service)s AND wait = 'futex'", service
    )
    assert [list(column) for column in free[0]] == [["team"], ["it's"]]
    assert ask("SELECT host, rows, cpu_exact FROM windows WHERE agent_id = %(service)s", service) == [
        (f"host-{service}", 5, 1)]  # fmt: skip
    losses = "SELECT origin, reason, count FROM losses WHERE host = concat('host-', %(service)s)"
    assert ask(losses, service) == [("agent", "ring_full", 4)]
    assert not ingest.differences(service)


def test_versions_of_a_service_in_one_window(ingest: Ingest, service: str) -> None:
    rows = [Row("a;main", 4**n, labels={"version": str(n), "region": str(n % 2)}) for n in range(4)]
    assert ingest.push(push_request(rows, labels(service), agent_id=service)).status == ACCEPTED
    assert ingest.committer.flush()
    for table, value in (("stack_1h", "value"), ("func_1h", "self")):
        sql = f"SELECT version, region, sum({value}) FROM {table} WHERE service = %(service)s"
        found = ingest.rows(f"{sql} GROUP BY version, region ORDER BY version", service)
        assert found == [(str(n), str(n % 2), 4**n) for n in range(4)]


def test_check_finds_a_roll_up_that_is_not_the_sum(ingest: Ingest, service: str) -> None:
    request = push_request([Row("a;main", 10)], labels(service), start_s=HOUR_S, agent_id=service)
    ingest.push(request)
    wrong = {
        "ts": [HOUR_S],
        "service": [service],
        "type": ["cpu"],
        "series": [1],
        "value": [3],
        "captures": [0],
    }
    ingest.store.insert("series_1m", wrong, "")
    found = ingest.differences(service)
    assert [(each.table, each.samples, each.rollup) for each in found] == [("series_1m", 0, 3)]


def test_a_window_counts_once_however_often_it_is_pushed(ingest: Ingest, service: str) -> None:
    request = push_request([Row("a;main", 10)], labels(service), agent_id=service)
    with ThreadPoolExecutor(16) as threads:
        answers = [answer.status for answer in threads.map(ingest.push, [request] * 64)]
    assert ACCEPTED in answers
    assert set(answers) <= {ACCEPTED, DUPLICATE}
    assert ingest.push(request).status == DUPLICATE
    old = push_request([Row("a;main", 10)], labels(service), 2, recent_window_s(1000), service)
    assert [ingest.push(old).status for _ in range(2)] == [ACCEPTED, DUPLICATE]
    assert ingest.rows("SELECT count(), sum(value) FROM samples WHERE service = %(service)s", service) == [
        (2, 20)
    ]


def test_another_collector_process_knows_what_was_stored(
    ingest: Ingest, service: str, tmp_path: Path
) -> None:
    """A restart: definitions and windows, recent and old, come from the store."""
    recent, old = (
        push_request(
            [Row(f"a;{back}", 10)], labels(service, team="x"), back + 1, recent_window_s(back), service
        )
        for back in (0, 1000)
    )
    assert [ingest.push(request).status for request in (recent, old)] == [ACCEPTED, ACCEPTED]
    ingest.committer.stop(10)
    again = Ingest(ingest.store, tmp_path)
    assert [again.push(request).status for request in (recent, old)] == [DUPLICATE, DUPLICATE]
    bare = push_request([Row("a;0", 10)], labels(service, team="x"), 5, agent_id=service, defined=False)
    assert again.push(bare).status == ACCEPTED
    again.committer.stop(10)


def test_unknown_definitions_are_asked_for_and_nothing_is_stored(ingest: Ingest, service: str) -> None:
    bare = push_request(
        [Row("q;main", 1), Row("r;main", 1)], labels(service), agent_id=service, defined=False
    )
    answer = ingest.push(bare)
    assert (answer.status, list(answer.unknown_stacks), list(answer.unknown_series)) == (
        NEED, list(bare.window.stack_ids), list(bare.window.series_ids))  # fmt: skip
    part = push_request([Row("q;main", 1)], labels(service), agent_id=service)
    bare.definitions.CopyFrom(part.definitions)
    answer = ingest.push(bare)
    assert (list(answer.unknown_stacks), list(answer.unknown_series)) == ([bare.window.stack_ids[1]], [])
    assert ingest.rows("SELECT count() FROM samples WHERE service = %(service)s", service) == [(0,)]
    rest = push_request([Row("r;main", 1)], labels(service), agent_id=service)
    bare.definitions.CopyFrom(rest.definitions)
    assert ingest.push(bare).status == ACCEPTED
    assert ingest.rows(FRAMES, service)[0][0] >= 3


def test_windows_of_two_days_in_one_batch(ingest: Ingest, service: str) -> None:
    midnight = recent_window_s() // 86400 * 86400
    with ThreadPoolExecutor(8) as threads:
        requests = [
            push_request([Row("a;main", 4**n)], labels(service), n + 1, midnight + 10 * (n - 4), service)
            for n in range(8)
            if midnight + 10 * (n - 4) <= recent_window_s()
        ]
        assert {answer.status for answer in threads.map(ingest.push, requests)} == {ACCEPTED}
    expected = sum(4**n for n in range(len(requests)))
    assert ingest.rows("SELECT sum(value) FROM samples WHERE service = %(service)s", service) == [(expected,)]
    assert not ingest.differences(service)


def test_a_store_that_fails_in_between_gets_the_batch_once(
    ingest: Ingest, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inserts fail before and after they were committed; each table has the rows once in the end."""
    insert, failures = ingest.store.insert, ["samples", "stack_1h", "series_1m", "windows"]
    monkeypatch.setattr(writing, "_FIRST_RETRY_S", 0.001)

    def flaky(table: str, block: Any, token: str) -> None:
        fail = table in failures
        if fail:
            failures.remove(table)
        if fail and len(failures) % 2:
            raise StoreBusy(241, "Memory limit exceeded.")
        insert(table, block, token)
        if fail:
            raise StoreError(0, "The answer was lost.")

    monkeypatch.setattr(ingest.store, "insert", flaky)
    request = push_request(
        [Row("a;main", 9), Row("", 5, ProfileType.IDLE)], labels(service), agent_id=service
    )
    assert ingest.push(request).status == ACCEPTED
    assert ingest.committer.flush()
    assert not failures
    for table in ("samples", "series_1m", "stack_1h"):
        value = ingest.rows(f"SELECT sum(value) FROM {table} WHERE service = %(service)s", service)
        assert value == [(9 if table == "stack_1h" else 14,)]
    assert ingest.rows("SELECT count() FROM windows WHERE agent_id = %(service)s", service) == [(1,)]


def test_a_full_disk_answers_later_and_loses_nothing(
    ingest: Ingest, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    request = push_request([Row("unseen;main", 1)], labels(service), agent_id=service)
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "write", full)
        with pytest.raises(Later, match="No space left on device"):
            ingest.push(request)
    request.ClearField("definitions")
    assert ingest.push(request).status == ACCEPTED
    assert ingest.rows(FRAMES, service)[0][0] >= 2


def test_push_over_grpc(channel: grpc.Channel, service: str) -> None:
    stub = ingest_pb2_grpc.IngestServiceStub(channel)
    request = push_request([Row("a;main", 1)], labels(service), agent_id=service)
    assert stub.Push(request, timeout=20).status == ACCEPTED
    assert stub.Push(request, timeout=20).status == DUPLICATE


@pytest.mark.parametrize(
    ("data", "reason", "text"),
    [
        (b"\xff\x00garbage", DropReason.MALFORMED, "not a fleetprof.v1.PushRequest"),
        (b"", DropReason.PROTOCOL_VERSION, "protocol version 0"),
        (b"x" * (LIMITS.message_bytes + 1), DropReason.TOO_LARGE, "takes up to 1048576"),
    ],
)
def test_what_is_no_request_is_answered_and_counted(
    channel: grpc.Channel, ingest: Ingest, data: bytes, reason: DropReason, text: str
) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(f"/{SERVICE}/Push")(data, timeout=20)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert text in refused.value.details()
    assert ingest.ledger.total == {reason: 1}


def test_refusals_are_stored_as_losses(ingest: Ingest, channel: grpc.Channel, service: str) -> None:
    stub = ingest_pb2_grpc.IngestServiceStub(channel)
    wrong = push_request([Row("a;main", 1)], labels(service), agent_id=service, start_s=10)
    with pytest.raises(grpc.RpcError):
        stub.Push(wrong, timeout=20)
    ingest.committer.stop(10)
    found = ingest.rows(
        "SELECT origin, reason, count FROM losses WHERE host = concat('host-', %(service)s)", service
    )
    assert found == [("collector", "too_old", 1)]


def test_a_series_of_another_host_is_refused(ingest: Ingest, channel: grpc.Channel, service: str) -> None:
    request = push_request([Row("a;main", 1)], labels(service), agent_id=service)
    request.window.host = "other"
    with pytest.raises(grpc.RpcError, match="host label is not the window's host"):
        ingest_pb2_grpc.IngestServiceStub(channel).Push(request, timeout=20)
    assert ingest.ledger.total[DropReason.MALFORMED] == 1


def test_later_says_when(channel: grpc.Channel, ingest: Ingest, service: str) -> None:
    ingest.committer.stop(10)
    with pytest.raises(grpc.RpcError) as later:
        ingest_pb2_grpc.IngestServiceStub(channel).Push(
            push_request([Row("a", 1)], labels(service)), timeout=20
        )
    assert later.value.code() == grpc.StatusCode.UNAVAILABLE
    assert ("grpc-retry-pushback-ms", "1000") in [tuple(pair) for pair in later.value.trailing_metadata()]


def test_health_and_reflection(channel: grpc.Channel) -> None:
    check = health_pb2_grpc.HealthStub(channel).Check(
        health_pb2.HealthCheckRequest(service=SERVICE), timeout=20
    )
    assert check.status == health_pb2.HealthCheckResponse.SERVING
    ask = reflection_pb2.ServerReflectionRequest(list_services="")
    answers = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([ask]), timeout=20)
    names = {service.name for service in next(iter(answers)).list_services_response.service}
    assert {SERVICE, "grpc.health.v1.Health"} <= names


def test_a_taken_port_names_who_has_it(server: Running, ingest: Ingest) -> None:
    with pytest.raises(UnavailableError, match=rf"port {server.port} is taken by .*\(process \d+\)"):
        serve(ingest.pipeline, Address("127.0.0.1", server.port), LIMITS)


def test_stop_stores_what_is_queued(store: ChdbStore, tmp_path: Path, service: str) -> None:
    ingest = Ingest(store, tmp_path)
    ingest.committer._linger_s = 60.0
    request = push_request([Row("a;main", 1)], labels(service), agent_id=service)
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(ingest.push, request)
        deadline = time.monotonic() + 20
        while not ingest.committer._queue and time.monotonic() < deadline:
            pass
        assert ingest.committer.stop(20)
        assert answer.result(20).status == ACCEPTED
