"""What one token may push, over gRPC into a store: refused or put off, each under its name."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from agent.pushback import asked_s
from collector.ingest.limits import Limits
from collector.pipeline import Pipeline
from collector.server import Running, serve
from collector.store.chdb import ChdbStore
from collector.tokens.allowance import Allowance, Limit
from collector.tokens.guard import Guard
from collector.tokens.token import Scope
from fleetprof.losses import DropReason
from fleetprof.setting_kinds import Address
from fleetprof.v1 import ingest_pb2, ingest_pb2_grpc
from tests.store.pushes import Row, push_request
from tests.store.test_ingest_push import Ingest

pytestmark = pytest.mark.store

ACCEPTED = ingest_pb2.PushResponse.STATUS_ACCEPTED
LOCAL = Address("127.0.0.1", 0)


class Door:
    """A server whose tokens may push little: 3 rows a minute, 2 series and 3 stacks an hour."""

    def __init__(self, ingest: Ingest, folder: Path, service: str) -> None:
        self.ingest, self.service = ingest, service
        self.guard = Guard(folder, Allowance(rows_per_minute=3, series_per_hour=2, stacks_per_hour=3))
        pipeline = Pipeline(
            ingest.known, ingest.committer, ingest.ledger, Limits(), account=self.guard.account
        )
        self.running: Running = serve(pipeline, LOCAL, Limits(), interceptors=self.guard.interceptors())
        channel = grpc.insecure_channel(f"127.0.0.1:{self.running.port}")
        self.stub = ingest_pb2_grpc.IngestServiceStub(channel)
        self.sequence = 0

    def push(self, text: str, stacks: str, **labels: str) -> ingest_pb2.PushResponse:
        """A window with a row for each letter of `stacks`."""
        self.sequence += 1
        request = push_request(
            [Row(f"f{letter}", 10) for letter in stacks],
            {"host": self.service, "service": self.service, **labels},
            sequence=self.sequence,
            agent_id=self.service,
        )
        return self.stub.Push(request, timeout=60, metadata=[("authorization", f"Bearer {text}")])

    def stored(self) -> int:
        sql = "SELECT sum(value) AS v FROM samples WHERE service = %(service)s"
        return int(self.ingest.rows(sql, self.service)[0][0])


@pytest.fixture
def door(embedded: ChdbStore, tmp_path: Path, service: str) -> Iterator[Door]:
    ingest = Ingest(embedded, tmp_path)
    made = Door(ingest, tmp_path, service)
    yield made
    made.running.stop(0)
    ingest.committer.stop(5.0)


def test_each_limit_has_its_name_and_each_token_its_own(door: Door) -> None:
    one, two = (door.guard.book.create(name, [Scope.INGEST]) for name in ("one", "two"))
    assert door.push(one, "abc").status == ACCEPTED
    with pytest.raises(grpc.RpcError) as put_off:
        door.push(one, "a")
    assert put_off.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert 'token "one" may push 3 rows a minute' in put_off.value.details()
    assert 15 < asked_s(put_off.value) < 21
    assert door.push(two, "a").status == ACCEPTED
    assert door.push(two, "a", version="1").status == ACCEPTED
    with pytest.raises(grpc.RpcError, match="2 distinct series an hour") as series:
        door.push(two, "a", version="2")
    assert series.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert door.guard.allowances.breaches == {Limit.ROWS: 1, Limit.SERIES: 1}
    # What is put off is not lost; what is refused is, under its reason.
    assert door.ingest.ledger.total == {DropReason.SERIES_LIMIT: 1}
    assert door.stored() == 50
