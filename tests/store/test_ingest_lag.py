"""Hourly roll-ups follow the samples later; answers are the same before and after."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from collector.ingest.committer import Committer
from collector.ingest.in_flight import InFlight
from collector.ingest.journal import Journal
from collector.ingest.known import KnownDefinitions
from collector.ingest.limits import Limits
from collector.ingest.loss_ledger import LossLedger
from collector.pipeline import Pipeline
from collector.query.model import Matcher, Query, TimeRange
from collector.query.querier import Querier
from collector.query.segments import function_segments
from collector.server import serve
from collector.store.interface import Store
from fleetprof.profile_types import selection
from fleetprof.setting_kinds import Address
from fleetprof.v1 import ingest_pb2, ingest_pb2_grpc
from tests.store.pushes import Row, push_request, recent_window_s

pytestmark = pytest.mark.store


class Ingest:
    def __init__(self, store: Store, folder: Path, room: InFlight | None = None) -> None:
        ledger, known = LossLedger(), KnownDefinitions(store)
        self.store = store
        self.committer = Committer(store, Journal(folder / "journal"), known, ledger, linger_s=0.001)
        self.pipeline = Pipeline(known, self.committer, ledger, Limits(), room=room)

    def push(self, service: str, sequence: int, start_s: int, value: int) -> None:
        labels = {"host": f"host-{service}", "service": service}
        rows = [Row("leaf;main", value), Row(f"new{sequence};main", 1)]
        request = push_request(rows, labels, sequence, start_s, service)
        answer = self.pipeline.push(request.SerializeToString())
        assert answer.status == ingest_pb2.PushResponse.STATUS_ACCEPTED


@pytest.fixture
def ingest(store: Store, tmp_path: Path) -> Iterator[Ingest]:
    made = Ingest(store, tmp_path)
    yield made
    made.committer.stop(10)


def day_query(service: str) -> Query:
    end_s = recent_window_s() // 3600 * 3600 + 3600
    return Query(selection("cpu"), (Matcher("service", "=", service),), TimeRange(end_s - 12 * 3600, end_s))


def answers(querier: Querier, query: Query) -> tuple[Any, ...]:
    rows, total = querier.top(query)
    profile = querier.profile(query)
    return (
        total,
        sorted((row.frame.function, row.self_value, row.total_value) for row in rows),
        sorted(profile.values.tolist()),
    )


def test_time_without_a_stack_is_told_apart_from_stacks_without_definition(
    ingest: Ingest, service: str
) -> None:
    querier, day = Querier(ingest.store), day_query(service)
    start_s = day.range.end_s - 6 * 3600
    labels = {"host": f"host-{service}", "service": service}
    rows = [Row("leaf;main", 5), Row("(unsampled)", 3), Row("", 2)]
    request = push_request(rows, labels, 1, start_s, service)
    assert ingest.pipeline.push(request.SerializeToString()).status == ingest_pb2.PushResponse.STATUS_ACCEPTED
    minute = replace(day, range=TimeRange(start_s, start_s + 60))
    expected = (10, [("(unsampled)", 5, 5), ("leaf", 5, 5), ("main", 0, 5)])
    assert answers(querier, minute)[:2] == answers(querier, day)[:2] == expected
    assert ingest.committer.flush()
    assert answers(querier, day)[:2] == expected


def test_answers_are_exact_while_roll_ups_lag(ingest: Ingest, service: str) -> None:
    querier, query = Querier(ingest.store), day_query(service)
    last_hour_s = query.range.end_s - 3600
    starts = [last_hour_s - 3600 * back + 600 for back in (9, 5, 3)]
    for number, start_s in enumerate(starts):
        ingest.push(service, number + 1, start_s, 4**number)
    before = answers(querier, query)
    assert before[0] == sum(4**number for number in range(3)) + 3
    assert ingest.committer.flush()
    assert answers(querier, query) == before
    assert "func_1h" in {part.table for part in function_segments(querier.asking, query)}
    ingest.push(service, 9, starts[1] + 10, 1000)  # a late window, into an hour that was rolled up before
    late = answers(querier, query)
    assert late[0] == before[0] + 1001
    pending = [part.range for part in function_segments(querier.asking, query) if part.table == "samples"]
    assert any(part.start_s <= starts[1] < part.end_s for part in pending)
    assert ingest.committer.flush()
    assert answers(querier, query) == late


def test_a_restart_rolls_up_what_was_left(store: Store, tmp_path: Path, service: str) -> None:
    """As after kill -9: nothing is rolled up when the first one ends."""
    first = Ingest(store, tmp_path)
    first.committer._writer.roll_up = lambda everything=False: False  # type: ignore[method-assign]
    query = day_query(service)
    first.push(service, 1, query.range.start_s + 1200, 5)
    first.committer.stop(10)
    count = "SELECT sum(value) AS v FROM stack_1h WHERE service = %(service)s"
    assert store.query((count, {"service": service}))["v"].tolist() in ([], [0])
    before = answers(Querier(store), query)
    second = Ingest(store, tmp_path)
    assert second.committer.flush()
    assert store.query((count, {"service": service}))["v"].tolist() == [6]
    assert answers(Querier(store), query) == before
    second.committer.stop(10)
    assert not list((tmp_path / "journal").glob("*.batch"))


def test_senders_are_told_when_to_come_again(
    store: Store, tmp_path: Path, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the store takes nothing, requests past the room get RESOURCE_EXHAUSTED with a pause; none is lost."""
    room = InFlight(limit_bytes=20_000)
    ingest, gate, insert = Ingest(store, tmp_path, room), threading.Event(), store.insert

    def waiting(table: str, block: Any, token: str) -> None:
        assert gate.wait(30)
        insert(table, block, token)

    monkeypatch.setattr(store, "insert", waiting)
    running = serve(ingest.pipeline, Address("127.0.0.1", 0), Limits())
    labels = {"host": "h", "service": service}
    with grpc.insecure_channel(f"127.0.0.1:{running.port}") as channel:
        stub = ingest_pb2_grpc.IngestServiceStub(channel)
        requests = [push_request([Row("a;main", 1)], labels, n + 1, None, service) for n in range(40)]
        calls = [stub.Push.future(request, timeout=30) for request in requests]
        deadline = time.monotonic() + 20
        while not any(call.done() for call in calls) and time.monotonic() < deadline:
            pass
        gate.set()
        refused = [call for call in calls if call.exception()]
        assert refused
        for call in refused:
            assert call.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert int(dict(call.trailing_metadata())["grpc-retry-pushback-ms"]) > 0
        for request in requests:
            assert stub.Push(request, timeout=30).status
    running.stop(5)
    assert ingest.committer.stop(20)
    assert room.held_bytes == 0
    found = store.query(
        ("SELECT sum(value) AS v FROM samples WHERE service = %(service)s", {"service": service})
    )
    assert found["v"].tolist() == [40]
