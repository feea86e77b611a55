"""What is fuzzed: each receiver from its bytes to the rows that would be stored, checked against what was sent.

The check reads the input by other means than the receiver: sums of values must be equal, names must stand in it.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, NamedTuple, NoReturn

import grpc
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.profiles.v1development.profiles_service_pb2 import (
    ExportProfilesServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.ingest.loss_ledger import LossLedger
from collector.ingest.refusal import Refused, malformed
from collector.ingest.wire_numbers import NumbersLost
from collector.receivers import otlp, pyroscope
from collector.receivers.grpc_services import grpc_handlers
from collector.receivers.http import HttpAnswer, HttpReceivers, HttpRequest
from collector.receivers.inbox import Inbox, Push, Taken
from collector.receivers.measured import Column, Unsupported, choose
from collector.receivers.otlp import Otlp
from collector.receivers.span_writer import BatchKey, SpanWriter
from collector.receivers.spans import Span
from collector.receivers.unpack import gunzip_if_packed
from fleetprof.formats.stack_profile import ValueType
from fleetprof.pprof import profile_pb2
from fleetprof.pyroscope import push_pb2
from fleetprof.v1 import ingest_pb2
from tests.fuzz.admitted import LIMITS, Admitted, Batches, admitted, names_of, plain, window_of
from tests.fuzz.mutate import Mutator
from tests.fuzz.seeds import NOW_S, seeds_of
from tests.fuzz.subject import Subject, Wrong

PEER = "10.9.8.7"
ANSWERS = {200, 400, 413, 415}
_ACCEPTED = ingest_pb2.PushResponse(status=ingest_pb2.PushResponse.STATUS_ACCEPTED)
_OURS = {"", "[unknown]", "unknown_service", "unknown_host", PEER, "[kernel]"}


_RENDERED = re.compile(r"[0-9a-f.+-]*|true|false|inf|nan|[\[{].*", re.S)
"""Attributes that are no texts: numbers, bytes in hex, JSON."""


class _SpanSink(SpanWriter):
    """Takes spans and keeps them nowhere."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def submit(self, key: BatchKey, spans: Sequence[Span]) -> "Future[None] | None":
        self.spans += spans
        return None


class _Inbox(Inbox):
    """Pushes in the same thread."""

    def _push_all(self, requests: list[bytes], taken: Taken) -> None:
        for request in requests:
            self._push(request)
            taken.stored += 1


class Bench:
    """All receivers on a push of our own choosing: by default to our admission and no further."""

    def __init__(self, push: Push | None = None) -> None:
        self.pushed: list[bytes] = []
        self.spans = _SpanSink()
        self._inbox = _Inbox(push or self._keep, LossLedger(), clock=lambda: float(NOW_S))
        foreign = Otlp(self._inbox, self.spans, LIMITS)
        self._http = HttpReceivers(self._inbox, foreign)
        self._handlers = grpc_handlers(self._inbox, foreign)
        self.batches = Batches()
        self._held = 0

    def _keep(self, data: bytes) -> ingest_pb2.PushResponse:
        self.pushed.append(data)
        return _ACCEPTED

    def post(self, path: str, body: bytes, kind: str, **query: str) -> HttpAnswer:
        self.pushed.clear()
        self.spans.spans.clear()
        answer = self._http.answer(HttpRequest(path, query, {"content-type": kind}, body, PEER))
        if answer.status not in ANSWERS:
            raise Wrong(f"It answered {answer.status}: {answer.body[:200]!r}")
        return answer

    def call(self, method: str, data: bytes) -> bytes | None:
        """The answer to a gRPC call, None where it is refused."""
        self.pushed.clear()
        self.spans.spans.clear()
        found: Any = (handler.service(_Method(method)) for handler in self._handlers)
        (answering,) = filter(None, found)
        try:
            return bytes(answering.response_serializer(answering.unary_unary(data, _Call())))
        except _Aborted:
            return None

    def held(self) -> list[Admitted]:
        """What was pushed, read plainly; each twentieth time by our admission, too, which must find the same."""
        found = [plain(data) for data in self.pushed]
        self._held += 1
        if self._held % 20 == 0:
            for data, told in zip(self.pushed, found, strict=True):
                with suppress(Refused):  # too old, for example
                    if admitted(data) != told:
                        raise Wrong(f"{admitted(data)} is admitted of {told}")
        return found


class _Aborted(Exception):
    """How a gRPC call ended that was refused."""


class _Call:
    """What a handler asks of a gRPC call."""

    def peer(self) -> str:
        return f"ipv4:{PEER}:4711"

    def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        if code not in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED) or not details:
            raise Wrong(f"It answered {code}: {details!r}")
        raise _Aborted


class _Method(NamedTuple):
    """What gRPC tells of a call before there is a request."""

    method: str
    invocation_metadata: tuple[()] = ()


def subject(receiver: str, on: Bench | None = None) -> Subject:
    """A receiver by its name, on a bench of one's own where that is given."""
    bench, seeds = on or Bench(), seeds_of(receiver)
    structured, packed = receiver not in UNSTRUCTURED, receiver in UNPACKING
    return Subject(
        lambda data: _TARGETS[receiver](bench, data),
        seeds,
        lambda chance: Mutator(chance, seeds, structured, packed),
        bench.batches.settle,
        most_bytes=600 << 20,
        most_cpu_s=5.0,
    )


UNSTRUCTURED = ("folded", "otlp-json", "pyroscope-form", "pyroscope-lines")
UNPACKING = ("pprof", "folded", "pyroscope-lines")


def _push(bench: Bench, data: bytes) -> bool:
    try:
        window = window_of(data)
        names = names_of(window)
    except (Refused, NumbersLost):
        return False
    _check_names([names], data)
    bench.batches.add(data, window)
    return True


def _otlp_profiles(bench: Bench, data: bytes) -> bool:
    answer = bench.post("/v1development/profiles", data, "application/x-protobuf")
    return answer.status == 200 and _check_otlp(bench, data, answer.body)


def _otlp_profiles_grpc(bench: Bench, data: bytes) -> bool:
    answer = bench.call(f"/{otlp.PROFILES}/Export", data)
    return answer is not None and _check_otlp(bench, data, answer)


def _check_otlp(bench: Bench, data: bytes, answer: bytes) -> bool:
    found = bench.held()
    if not answer:  # nothing rejected
        _compare(_sums(found), _otlp_sums(ExportProfilesServiceRequest.FromString(data)))
    _check_names(found, data)
    return True


def _otlp_json(bench: Bench, data: bytes) -> bool:
    answer = bench.post("/v1development/profiles", data, "application/json")
    if answer.status != 200:
        return False
    if answer.body == b"{}":
        message = json_format.Parse(data, ExportProfilesServiceRequest())
        _compare(_sums(bench.held()), _otlp_sums(message))
    return True


def _otlp_sums(request: ExportProfilesServiceRequest) -> Counter[int]:
    strings, sums = request.dictionary.string_table, Counter[int]()

    def named(value_type: Any) -> ValueType:
        return ValueType(strings[value_type.type_strindex], strings[value_type.unit_strindex])

    for resource in request.resource_profiles:
        for scope in resource.scope_profiles:
            columns = [
                choose([named(each.sample_type)], named(each.period_type), each.period)[0]
                for each in scope.profiles
            ]
            pairs = list(zip(scope.profiles, columns, strict=True))
            timed = {(each.time_unix_nano, column.type) for each, column in pairs if not column.counted}
            for profile, column in pairs:
                if not column.counted or (profile.time_unix_nano, column.type) not in timed:
                    for sample in profile.samples:
                        total = sum(sample.values) if sample.values else len(sample.timestamps_unix_nano)
                        sums[int(column.type)] += total * column.factor
    return sums


def _otlp_traces(bench: Bench, data: bytes) -> bool:
    answer = bench.post("/v1/traces", data, "application/x-protobuf")
    return answer.status == 200 and _check_spans(bench, data, answer.body)


def _otlp_traces_grpc(bench: Bench, data: bytes) -> bool:
    answer = bench.call(f"/{otlp.TRACES}/Export", data)
    return answer is not None and _check_spans(bench, data, answer)


def _check_spans(bench: Bench, data: bytes, answer: bytes) -> bool:
    request = ExportTraceServiceRequest.FromString(data)
    sent = Counter(
        (span.trace_id.hex(), span.span_id.hex(), span.start_time_unix_nano)
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    )
    taken = Counter((span.trace_id, span.span_id, span.start_ns) for span in bench.spans.spans)
    if taken - sent or (not answer and sent != taken):
        raise Wrong(f"{taken} of {sent}")
    return bool(taken)


def _pprof(bench: Bench, data: bytes) -> bool:
    answer = bench.post("/api/v1/ingest", data, "", format="pprof", host="box")
    if answer.status != 200:
        return False
    plain, found = gunzip_if_packed(data), bench.held()
    _compare(_sums(found), _pprof_sums(plain))
    _check_names(found, plain)
    return True


def _pprof_sums(plain: bytes) -> Counter[int]:
    message = profile_pb2.Profile.FromString(plain)
    strings = message.string_table or [""]

    def named(value_type: profile_pb2.ValueType) -> ValueType:
        names = (strings[place] if place else "" for place in (value_type.type, value_type.unit))
        return ValueType(*names)

    types = [named(each) for each in message.sample_type]
    columns: list[Column] = choose(types, named(message.period_type), message.period)
    sums: Counter[int] = Counter()
    for column in columns:
        values = [sample.value[column.place] for sample in message.sample]
        if min(values, default=0) < 0:
            raise malformed("A value is negative.")
        sums[int(column.type)] += sum(values) * column.factor
    return sums


def _folded(bench: Bench, data: bytes) -> bool:
    query = {"format": "folded", "host": "box", "service": "shop", "from": str(NOW_S - 60)}
    answer = bench.post("/api/v1/ingest", data, "text/plain", **query)
    return answer.status == 200 and _check_folded(bench, data)


def _lines(bench: Bench, data: bytes) -> bool:
    answer = bench.post("/ingest", data, "", name="shop.cpu{host=box}", format="folded")
    return answer.status == 200 and _check_folded(bench, data)


def _check_folded(bench: Bench, data: bytes) -> bool:
    plain, found = gunzip_if_packed(data), bench.held()
    lines = (line for line in plain.decode("utf-8", "surrogateescape").split("\n") if line.strip())
    sent = sum(int(line.rstrip(" \t\r").rpartition(" ")[2]) for line in lines) * 10_000_000
    _compare(_sums(found), Counter({1: sent}))
    if b"\\" not in plain:
        _check_names(found, plain)
    return True


def _pyroscope(bench: Bench, data: bytes) -> bool:
    answer = bench.post("/push.v1.PusherService/Push", data, "application/proto")
    return answer.status == 200 and _check_series(bench, data)


def _pyroscope_grpc(bench: Bench, data: bytes) -> bool:
    answer = bench.call(f"/{pyroscope.SERVICE}/Push", data)
    return answer is not None and _check_series(bench, data)


def _check_series(bench: Bench, data: bytes) -> bool:
    found, expected, whole = bench.held(), Counter[int](), True
    texts = [data]
    for series in push_pb2.PushRequest.FromString(data).series:
        for sample in series.samples:
            texts.append(plain := gunzip_if_packed(sample.raw_profile))
            try:
                expected.update(_pprof_sums(plain))
            except (Refused, Unsupported, DecodeError, IndexError):  # rejected; others were taken
                whole = False
    if whole:
        _compare(_sums(found), expected)
    _check_names(found, *texts)
    return True


def _form(bench: Bench, data: bytes) -> bool:
    kind = "multipart/form-data; boundary=bbbbbbbb"
    answer = bench.post("/ingest", data, kind, name="app{host=box}", spyName="gospy")
    if answer.status != 200:
        return False
    _check_names(bench.held(), data, b"app")
    return True


def _sums(found: Iterable[Admitted]) -> Counter[int]:
    return sum((each.sums for each in found), Counter())


def _compare(found: Counter[int], expected: Counter[int]) -> None:
    """Refused windows are missing; nothing may be there that was not sent."""
    if found - expected:
        raise Wrong(f"Values {dict(found)} were made of {dict(expected)}.")


def _check_names(found: Iterable[Admitted], *sent: bytes) -> None:
    """Every name stands in the input, but those that we give."""
    for each in found:
        for name in each.names:
            _check_name(name, sent)
        for value in each.values:
            if not _RENDERED.fullmatch(value):
                _check_name(value, sent)


def _check_name(name: str, sent: tuple[bytes, ...]) -> None:
    if name in _OURS or "\ufffd" in name or name in ("box", "shop"):
        return
    plain = name.encode("utf-8", "surrogateescape")
    if not any(plain in text or plain in text.lower() for text in sent):
        raise Wrong(f"The name {name!r} was not sent.")


_TARGETS: dict[str, Callable[[Bench, bytes], bool]] = {
    "push": _push,
    "otlp-profiles": _otlp_profiles,
    "otlp-profiles-grpc": _otlp_profiles_grpc,
    "otlp-json": _otlp_json,
    "otlp-traces": _otlp_traces,
    "otlp-traces-grpc": _otlp_traces_grpc,
    "pprof": _pprof,
    "folded": _folded,
    "pyroscope": _pyroscope,
    "pyroscope-grpc": _pyroscope_grpc,
    "pyroscope-form": _form,
    "pyroscope-lines": _lines,
}
