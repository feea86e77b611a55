"""Spans from OpenTelemetry's own SDK, over gRPC and HTTP, and the same request sent again."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from collector.receivers import span_writer
from collector.receivers.span_writer import BatchKey, SpanWriter
from collector.receivers.spans import by_day, read_spans
from collector.store.chdb import ChdbStore
from collector.store.errors import StoreError
from fleetprof.losses import DropReason
from tests.store.receiving import LIMITS, Receiving, receiving
from tests.unit.foreign_requests import trace_request

pytestmark = pytest.mark.store


@pytest.fixture(scope="module")
def there(store: ChdbStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiving]:
    with receiving(store, tmp_path_factory.mktemp("receivers")) as running:
        yield running


def exporter(kind: str, there: Receiving) -> SpanExporter:
    if kind == "grpc":
        return GrpcExporter(there.target, insecure=True, compression=grpc.Compression.Gzip)
    return HttpExporter(f"{there.url}/v1/traces", compression=Compression.Gzip)


@pytest.mark.parametrize("kind", ["grpc", "http"])
def test_spans_of_the_sdk(there: Receiving, service: str, kind: str) -> None:
    resource = Resource({"service.name": service, "service.version": "1.2", "host.name": "box"})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(SimpleSpanProcessor(exporter(kind, there)))
    tracer = provider.get_tracer("tests")
    with tracer.start_as_current_span(
        "buy", kind=SpanKind.SERVER, attributes={"n": 3, "who": "it's"}
    ) as root:
        root.add_event("retry", {"after_ms": 5})
        with tracer.start_as_current_span("pay") as child:
            child.set_status(StatusCode.ERROR, "no money")
    provider.shutdown()
    sql = (
        "SELECT name, kind, parent_id, status, status_message, version, host, attribute_names, attribute_values,"
        " event_names, event_attributes, duration_ns > 0, trace_id, span_id FROM spans"
        " WHERE service = %(service)s ORDER BY name"
    )
    buy, pay = there.rows(sql, service=service)
    assert buy[:7] == ("buy", "server", "", "", "", "1.2", "box")
    assert dict(zip(buy[7], buy[8], strict=True)) == {"n": "3", "who": "it's"}
    assert (list(buy[9]), json.loads(buy[10][0])) == (["retry"], {"after_ms": "5"})
    assert pay[:7] == ("pay", "internal", buy[13], "error", "no money", "1.2", "box")
    assert (pay[12], len(pay[12]), pay[11]) == (buy[12], 32, 1)


def count(there: Receiving, service: str) -> int:
    return int(there.rows("SELECT count() FROM spans WHERE service = %(service)s", service=service)[0][0])


def test_a_request_counts_once(there: Receiving, service: str) -> None:
    request = trace_request(service, time.time() - 5, spans=3)
    with grpc.insecure_channel(there.target) as channel:
        export = TraceServiceStub(channel).Export
        futures = [export.future(request) for _ in range(20)]
        assert not any(future.result().HasField("partial_success") for future in futures)
        export(request)
    assert count(there, service) == 3
    midnight = int(time.time()) // 86400 * 86400
    two_days = trace_request(service, midnight - 1, spans=1)
    two_days.resource_spans[0].scope_spans[0].spans.add(
        trace_id=bytes(range(16)), span_id=b"12345678", start_time_unix_nano=midnight * 10**9
    )
    for _ in range(2):
        answer = there.post("/v1/traces", two_days.SerializeToString(), Content_Type="application/x-protobuf")
        assert answer.status_code == 200
    assert count(there, service) == 5


def test_json_has_hexadecimal_ids(there: Receiving, service: str) -> None:
    body = json_format.MessageToDict(trace_request(service, time.time()))
    for number, span in enumerate(body["resourceSpans"][0]["scopeSpans"][0]["spans"], 1):
        span["traceId"], span["spanId"], span["kind"] = "ab" * 16, f"{number:016x}", 2
        span.pop("parentSpanId", None)
        span["fieldOfTomorrow"] = True
    answer = there.post("/v1/traces", json.dumps(body).encode(), Content_Type="application/json")
    assert (answer.status_code, answer.json()) == (200, {})
    found = there.rows("SELECT trace_id, span_id, kind FROM spans WHERE service = %(s)s", s=service)
    assert sorted(found) == [("ab" * 16, f"{number:016x}", "server") for number in (1, 2)]


def test_spans_that_cannot_be_kept_are_counted_and_told(there: Receiving, service: str) -> None:
    request = trace_request(service, time.time(), spans=4)
    old, future, nameless, _ = request.resource_spans[0].scope_spans[0].spans
    old.start_time_unix_nano = 10**9
    future.start_time_unix_nano = int((time.time() + 3600) * 10**9)
    nameless.trace_id = bytes(16)
    before = dict(there.ledger.total)
    with grpc.insecure_channel(there.target) as channel:
        answer = TraceServiceStub(channel).Export(request)
    assert answer.partial_success.rejected_spans == 3
    assert answer.partial_success.error_message
    for reason in (DropReason.TOO_OLD, DropReason.IN_FUTURE, DropReason.MALFORMED):
        assert there.ledger.total[reason] == before.get(reason, 0) + 1
    assert count(there, service) == 1


class Failing:
    """A store whose next insert fails, before or after it was made."""

    def __init__(self, store: ChdbStore, after: bool) -> None:
        self._store, self._after, self.failures = store, after, 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def insert(self, table: str, block: Any, token: str) -> None:
        if self.failures and not self._after:
            self.failures -= 1
            raise StoreError("away", "")
        self._store.insert(table, block, token)
        if self.failures:
            self.failures -= 1
            raise StoreError("away", "")


@pytest.mark.parametrize("after", [False, True])
def test_an_insert_that_fails_is_repeated_if_it_was_not_made(
    store: ChdbStore, service: str, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(span_writer, "_FIRST_RETRY_S", 0.01)
    read = read_spans(trace_request(service, time.time(), 7), LIMITS, time.time(), "")
    ((day, spans),) = by_day(read.spans)
    writer = SpanWriter(Failing(store, after))  # type: ignore[arg-type]
    key = BatchKey(day, hash(service) & (2**63 - 1))
    stored = writer.submit(key, spans)
    assert isinstance(stored, Future)
    stored.result(20)
    assert writer.submit(key, spans) is None
    assert writer.stop(5)
    sql = "SELECT count() AS n FROM spans WHERE service = %(s)s"
    assert store.query((sql, {"s": service}))["n"][0] == 7
    again = SpanWriter(store)  # as after a restart
    assert again.submit(key, spans) is None
    assert again.stop(5)


def test_old_batches_are_looked_up(store: ChdbStore, service: str, tmp_path: Path) -> None:
    at_s = time.time() - 3 * 86400
    read = read_spans(trace_request(service, at_s, 2), LIMITS, time.time(), "")
    ((day, spans),) = by_day(read.spans)
    for number, expected in ((11, True), (11, False), (12, True)):
        writer = SpanWriter(store)
        stored = writer.submit(BatchKey(day, number), spans)
        assert (stored is not None) == expected
        if stored:
            stored.result(20)
        assert writer.stop(5)
