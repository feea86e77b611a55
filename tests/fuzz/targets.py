"""What is fuzzed: each receiver from its bytes to the rows that would be stored, checked against what was sent.

The check reads the input by other means than the receiver: sums of values must be equal, names must stand in it.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.profiles.v1development.profiles_service_pb2 import (
    ExportProfilesServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.ingest.loss_ledger import LossLedger
from collector.ingest.refusal import Refused
from collector.ingest.wire_numbers import NumbersLost
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
from tests.fuzz.admitted import LIMITS, Admitted, admitted
from tests.fuzz.seeds import NOW_S

PEER = "10.9.8.7"
ANSWERS = {200, 400, 413, 415}
_ACCEPTED = ingest_pb2.PushResponse(status=ingest_pb2.PushResponse.STATUS_ACCEPTED)
_OURS = {"", "[unknown]", "unknown_service", "unknown_host", PEER, "[kernel]"}


_RENDERED = re.compile(r"[0-9a-f.+-]*|true|false|inf|nan|[\[{].*", re.S)
"""Attributes that are no texts: numbers, bytes in hex, JSON."""


class Wrong(AssertionError):
    """A receiver took what was not sent."""


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
        self._http = HttpReceivers(self._inbox, Otlp(self._inbox, self.spans, LIMITS))

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


Target = Callable[[bytes], bool]
"""Feeds one input and checks what came of it; whether it was taken. Raises what the receiver should not."""


def target_of(receiver: str, bench: Bench) -> Target:
    """The target of a receiver by its name."""
    return lambda data: _TARGETS[receiver](bench, data)


def _push(bench: Bench, data: bytes) -> bool:
    try:
        found = admitted(data)
    except (Refused, NumbersLost):
        return False
    request = ingest_pb2.PushRequest.FromString(data)
    samples = request.window.samples
    sums: Counter[int] = Counter()
    for type_, value in zip(samples.type, samples.value, strict=True):
        sums[type_] += value
    _compare(found.sums, sums)
    if found.rows != len(samples.value):
        raise Wrong(f"{found.rows} rows of {len(samples.value)}")
    _check_names([found], data)
    return True


def _otlp_profiles(bench: Bench, data: bytes) -> bool:
    answer = bench.post("/v1development/profiles", data, "application/x-protobuf")
    if answer.status != 200:
        return False
    found = _admitted(bench.pushed)
    if not answer.body:  # nothing rejected
        _compare(_sums(found), _otlp_sums(ExportProfilesServiceRequest.FromString(data)))
    _check_names(found, data)
    return True


def _otlp_json(bench: Bench, data: bytes) -> bool:
    answer = bench.post("/v1development/profiles", data, "application/json")
    if answer.status != 200:
        return False
    if answer.body == b"{}":
        message = json_format.Parse(data, ExportProfilesServiceRequest())
        _compare(_sums(_admitted(bench.pushed)), _otlp_sums(message))
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
    if answer.status != 200:
        return False
    request = ExportTraceServiceRequest.FromString(data)
    sent = Counter(
        (span.trace_id.hex(), span.span_id.hex(), span.start_time_unix_nano)
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    )
    taken = Counter((span.trace_id, span.span_id, span.start_ns) for span in bench.spans.spans)
    if taken - sent or (not answer.body and sent != taken):
        raise Wrong(f"{taken} of {sent}")
    return bool(taken)


def _pprof(bench: Bench, data: bytes) -> bool:
    answer = bench.post("/api/v1/ingest", data, "", format="pprof", host="box")
    if answer.status != 200:
        return False
    plain, found = gunzip_if_packed(data), _admitted(bench.pushed)
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
        values = (sample.value[column.place] for sample in message.sample)
        sums[int(column.type)] += sum(values) * column.factor
    return sums


def _folded(bench: Bench, data: bytes) -> bool:
    query = {"format": "folded", "host": "box", "service": "shop", "from": str(NOW_S - 60)}
    answer = bench.post("/api/v1/ingest", data, "text/plain", **query)
    if answer.status != 200:
        return False
    plain, found = gunzip_if_packed(data), _admitted(bench.pushed)
    lines = (line for line in plain.decode("utf-8", "surrogateescape").split("\n") if line.strip())
    sent = sum(int(line.rstrip(" \t\r").rpartition(" ")[2]) for line in lines) * 10_000_000
    _compare(_sums(found), Counter({1: sent}))
    if b"\\" not in plain:
        _check_names(found, plain)
    return True


def _pyroscope(bench: Bench, data: bytes) -> bool:
    answer = bench.post("/push.v1.PusherService/Push", data, "application/proto")
    if answer.status != 200:
        return False
    found, expected, whole = _admitted(bench.pushed), Counter[int](), True
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
    _check_names(_admitted(bench.pushed), data, b"app")
    return True


def _admitted(pushed: Iterable[bytes]) -> list[Admitted]:
    """What the requests hold; those that our admission refuses (too old, …) hold nothing."""
    found = []
    for data in pushed:
        try:
            found.append(admitted(data))
        except Refused:
            found.append(_REFUSED)
    return found


_REFUSED = Admitted(Counter(), -1, [], [])


def _sums(found: Iterable[Admitted]) -> Counter[int]:
    return sum((each.sums for each in found), Counter())


def _compare(found: Counter[int], expected: Counter[int]) -> None:
    """Refused windows are missing; nothing may be there that was not sent."""
    if found - expected:
        raise Wrong(f"Values {dict(found)} were made of {dict(expected)}.")


def _check_names(found: Iterable[Admitted], *sent: bytes) -> None:
    """Every name stands in the input, but those that we give."""
    for each in found:
        for frame in each.frames:
            for name in (frame.function, frame.mapping, frame.file, frame.build_id):
                _check_name(name, sent)
        for labels in each.labels:
            for value in labels.values():
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
    "otlp-json": _otlp_json,
    "otlp-traces": _otlp_traces,
    "pprof": _pprof,
    "folded": _folded,
    "pyroscope": _pyroscope,
    "pyroscope-form": _form,
}
