"""OTLP as it is asked: bytes or JSON in, the protocol's own answer out. gRPC and HTTP are before this."""

from concurrent.futures import TimeoutError as FutureTimeout

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.profiles.v1development.profiles_service_pb2 import (
    ExportProfilesServiceRequest,
    ExportProfilesServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from collector.ingest.limits import Limits
from collector.ingest.refusal import Later, Refused, malformed
from collector.receivers.foreign import Foreign
from collector.receivers.inbox import Inbox, Taken
from collector.receivers.otlp_json import NO_FIELD, parse_json
from collector.receivers.otlp_layout import UNKNOWN, other_layout
from collector.receivers.otlp_profiles import decode_request, read_request
from collector.receivers.span_writer import BatchKey, SpanWriter
from collector.receivers.spans import Read, by_day, read_spans
from collector.receivers.unpack import BODY_BYTES, check_parts, shape_of, too_large
from collector.receivers.windows import content_key
from collector.store.errors import StoreError

PROFILES = "opentelemetry.proto.collector.profiles.v1development.ProfilesService"
OLD_PROFILES = "opentelemetry.proto.collector.profiles.v1experimental.ProfilesService"
TRACES = "opentelemetry.proto.collector.trace.v1.TraceService"
STORED_S = 15.0
"""Longest wait for spans to be stored."""

_TRACE_SHAPE = shape_of(ExportTraceServiceRequest.DESCRIPTOR)


class Otlp:
    """Takes profiles and traces. Safe to use from several threads."""

    def __init__(self, inbox: Inbox, spans: SpanWriter, limits: Limits) -> None:
        self._inbox, self._spans, self._limits = inbox, spans, limits

    def profiles(self, data: bytes, peer: str, as_json: bool = False) -> ExportProfilesServiceResponse:
        """Store a request's profiles; raises Refused (counted), Later."""

        def translate(taken: Taken) -> list[Foreign]:
            request = self._profiles_of_json(data) if as_json else self._profiles_of(data)
            return read_request(self._inbox, request, peer, taken)

        taken = self._inbox.take(f"otlp {peer}", (data,), translate)
        answer = ExportProfilesServiceResponse()
        if taken.rejected:
            answer.partial_success.rejected_profiles = taken.rejected
            answer.partial_success.error_message = " ".join(taken.problems)
        return answer

    def old_profiles(self) -> None:
        """Refuse the service's former name; raises Refused (counted)."""
        with self._inbox.counted():
            raise other_layout("v1experimental (OTLP 1.3)", "it was sent to a service of that version")

    def traces(self, data: bytes, peer: str, as_json: bool = False) -> ExportTraceServiceResponse:
        """Store a request's spans; raises Refused (counted), Later."""
        with self._inbox.room(), self._inbox.counted():
            request = self._traces_of_json(data) if as_json else self._traces_of(data)
            try:
                read = read_spans(request, self._limits, self._inbox.now_s(), peer)
            except IndexError:  # texts by number are for profiles, whose requests have a table of them
                raise malformed("An attribute names a text by a number that means nothing.") from None
            del request
        self._store(read, content_key("traces", peer, data))
        return self._answer(read)

    def _profiles_of(self, data: bytes) -> ExportProfilesServiceRequest:
        _check_size(data)
        return decode_request(data)

    def _profiles_of_json(self, data: bytes) -> ExportProfilesServiceRequest:
        _check_size(data)
        try:
            return parse_json(data, ExportProfilesServiceRequest(), ignore_unknown=False)
        except Refused as refused:
            if NO_FIELD in refused.message:
                raise other_layout(UNKNOWN, refused.message) from None
            raise

    def _traces_of(self, data: bytes) -> ExportTraceServiceRequest:
        _check_size(data)
        check_parts(data, _TRACE_SHAPE)
        try:
            return ExportTraceServiceRequest.FromString(data)
        except DecodeError:
            raise malformed("The request is not an ExportTraceServiceRequest.") from None

    def _traces_of_json(self, data: bytes) -> ExportTraceServiceRequest:
        _check_size(data)
        return parse_json(data, ExportTraceServiceRequest(), ignore_unknown=True)

    def _store(self, read: Read, number: int) -> None:
        try:
            waiting = [self._spans.submit(BatchKey(day, number), spans) for day, spans in by_day(read.spans)]
            for future in waiting:
                if future:
                    future.result(timeout=STORED_S)
        except FutureTimeout:
            raise Later("The store is slow: the spans wait to be stored; ask again.") from None
        except StoreError as error:
            raise Later(error.message, retry_ms=5000) from error

    def _answer(self, read: Read) -> ExportTraceServiceResponse:
        answer = ExportTraceServiceResponse()
        for reason, (count, message) in read.refused.items():
            self._inbox.ledger.count(reason, losses=count)
            answer.partial_success.rejected_spans += count
            answer.partial_success.error_message = message
        return answer


def _check_size(data: bytes) -> None:
    if len(data) > BODY_BYTES:
        raise too_large(BODY_BYTES)
