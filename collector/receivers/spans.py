"""Spans of OTLP traces as columns of table `spans`."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage

from collector.ingest.definitions import shown
from collector.ingest.limits import Limits
from collector.ingest.refusal import Refused, malformed
from collector.receivers import labels as labelling
from collector.receivers.otlp_values import attribute_pairs
from fleetprof.losses import DropReason

MAX_ATTRIBUTES = 128
MAX_EVENTS = 128
MAX_LINKS = 128
MAX_NAME = 1024

_KINDS = ("", "internal", "server", "client", "producer", "consumer")
_STATUS = ("", "ok", "error")
_DAY_NS = 86400 * 10**9
_FIRST_NS = 10**18
"""9 September 2001: no span is older, and no time in other units is later."""

Pairs = tuple[list[str], list[str]]
"""Names and values."""


class Span(NamedTuple):
    """One row of table `spans`; the columns are described in its migration."""

    ts: int
    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: str
    start_ns: int
    duration_ns: int
    status: str
    status_message: str
    trace_state: str
    host: str
    version: str
    environment: str
    scope: str
    resource_names: list[str]
    resource_values: list[str]
    attribute_names: list[str]
    attribute_values: list[str]
    event_ns: list[int]
    event_names: list[str]
    event_attributes: list[str]
    link_trace_ids: list[str]
    link_span_ids: list[str]
    dropped: int

    @property
    def day(self) -> int:
        """Days since the epoch."""
        return self.ts // 86400


@dataclass(slots=True)
class Read:
    """The spans of a request, and what of it is refused: reason → (how many, why the first)."""

    spans: list[Span] = field(default_factory=list)
    refused: dict[DropReason, tuple[int, str]] = field(default_factory=dict)

    def refuse(self, refusal: Refused) -> None:
        """Count one span."""
        count, message = self.refused.get(refusal.reason, (0, refusal.message))
        self.refused[refusal.reason] = count + 1, message


def read_spans(request: ExportTraceServiceRequest, limits: Limits, now_s: float, peer: str) -> Read:
    """All spans of a request; single ones that cannot be kept are counted as refused."""
    read = Read()
    for resource in request.resource_spans:
        pairs = list(attribute_pairs(resource.resource.attributes))
        labels = labelling.of_source(labelling.ours(pairs), peer)
        names, values, _ = _kept(pairs)
        source = _Source(labels, names, values)
        for scope in resource.scope_spans:
            for message in scope.spans:
                try:
                    start_s = _check(message, limits, now_s)
                    read.spans.append(_span(message, start_s, source, scope.scope.name))
                except Refused as refusal:
                    read.refuse(refusal)
    return read


class _Source(NamedTuple):
    labels: dict[str, str]
    names: list[str]
    values: list[str]


def _check(message: SpanMessage, limits: Limits, now_s: float) -> int:
    """The second in which a span starts; raises Refused."""
    if len(message.trace_id) != 16 or not any(message.trace_id):
        raise malformed("A trace id is not 16 bytes, or zero.")
    if len(message.span_id) != 8 or not any(message.span_id):
        raise malformed("A span id is not 8 bytes, or zero.")
    if message.parent_span_id and len(message.parent_span_id) != 8:
        raise malformed("A parent span id is not 8 bytes.")
    start_s = message.start_time_unix_nano // 10**9
    if start_s > now_s + limits.future_s:
        raise Refused(DropReason.IN_FUTURE, "A span starts in the future; set the clocks right.")
    if start_s < now_s - limits.oldest_s:
        days = limits.oldest_s / 86400
        raise Refused(DropReason.TOO_OLD, f"A span is older than the {days:g} days for which they are kept.")
    if message.end_time_unix_nano >= 2**63:
        raise malformed("A span's end is out of range.")
    return start_s


def _span(message: SpanMessage, start_s: int, source: _Source, scope: str) -> Span:
    names, values, left_out = _kept(attribute_pairs(message.attributes))
    events, links = message.events[:MAX_EVENTS], message.links[:MAX_LINKS]
    dropped = message.dropped_attributes_count + message.dropped_events_count + message.dropped_links_count
    dropped += left_out + len(message.events) - len(events) + len(message.links) - len(links)
    parent = message.parent_span_id.hex() if any(message.parent_span_id) else ""
    return Span(
        start_s,
        _name(source.labels["service"]),
        _name(message.name),
        message.trace_id.hex(),
        message.span_id.hex(),
        parent,
        _of(_KINDS, message.kind),
        message.start_time_unix_nano,
        max(message.end_time_unix_nano - message.start_time_unix_nano, 0),
        _of(_STATUS, message.status.code),
        _name(message.status.message),
        _name(message.trace_state),
        _name(source.labels["host"]),
        _name(source.labels.get("version", "")),
        _name(source.labels.get("environment", "")),
        _name(scope),
        source.names,
        source.values,
        names,
        values,
        [min(event.time_unix_nano, 2**63) for event in events],
        [_name(event.name) for event in events],
        [_json(event.attributes) for event in events],
        [link.trace_id[:16].hex() for link in links],
        [link.span_id[:8].hex() for link in links],
        min(dropped, 2**32 - 1),
    )


def _kept(pairs: Iterable[tuple[str, str]]) -> tuple[list[str], list[str], int]:
    """Names and values of the first MAX_ATTRIBUTES, and how many there were besides."""
    whole = list(pairs)
    kept = whole[:MAX_ATTRIBUTES]
    return [_name(name) for name, _ in kept], [shown(value) for _, value in kept], len(whole) - len(kept)


def _json(attributes: Sequence[KeyValue]) -> str:
    names, values, _ = _kept(attribute_pairs(attributes))
    return json.dumps(dict(zip(names, values, strict=True)), ensure_ascii=False) if names else ""


def _name(text: str) -> str:
    return shown(text[:MAX_NAME])


def _of(words: tuple[str, ...], number: int) -> str:
    return words[number] if 0 <= number < len(words) else ""


def by_day(spans: Iterable[Span]) -> Iterator[tuple[int, list[Span]]]:
    """The spans of each day: a block of a table has rows of one day, so that it enters as one part."""
    days: dict[int, list[Span]] = {}
    for span in spans:
        days.setdefault(span.day, []).append(span)
    yield from days.items()


def to_block(spans: Sequence[Span], batches: Sequence[int]) -> dict[str, Any]:
    """The columns of these spans (at least one) and of the batch that each came with."""
    columns = zip(Span._fields, zip(*spans, strict=True), strict=True)
    return {name: list(column) for name, column in columns} | {"batch": np.array(batches, np.uint64)}
