"""Requests of other protocols, built from readable parts, for tests of the receivers."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from opentelemetry.proto.collector.profiles.v1development.profiles_service_pb2 import (
    ExportProfilesServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

GOLDEN = Path(__file__).parent.parent / "golden" / "receivers"
"""Requests that real clients made; see README.md there."""


def golden(name: str) -> bytes:
    return (GOLDEN / name).read_bytes()


def add_attributes(attributes: "Sequence[KeyValue]", given: Mapping[str, str]) -> None:
    for key, value in given.items():
        attributes.add(key=key).value.string_value = value  # type: ignore[attr-defined]


class OtlpProfiles:
    """An OTLP request of one resource; profiles share its dictionary."""

    def __init__(self, resource: Mapping[str, str]) -> None:
        self.message = ExportProfilesServiceRequest()
        self.tables = self.message.dictionary
        self._strings = {"": 0}
        self._frames: dict[str, int] = {}
        self._attributes: dict[tuple[str, str], int] = {}
        for table in ("mapping", "location", "function", "link", "attribute", "stack"):
            getattr(self.tables, f"{table}_table").add()
        self.tables.string_table.append("")
        self.add_resource(resource)

    def add_resource(self, resource: Mapping[str, str]) -> None:
        """What is added from now on is of this resource."""
        self._scope = self.message.resource_profiles.add()
        add_attributes(self._scope.resource.attributes, resource)
        self._scope.scope_profiles.add()

    def text(self, text: str) -> int:
        if text not in self._strings:
            self._strings[text] = len(self._strings)
            self.tables.string_table.append(text)
        return self._strings[text]

    def attribute(self, key: str, value: str) -> int:
        if (key, value) not in self._attributes:
            self._attributes[key, value] = len(self.tables.attribute_table)
            self.tables.attribute_table.add(key_strindex=self.text(key)).value.string_value = value
        return self._attributes[key, value]

    def location(self, name: str, frame_type: str = "native", inlined: str = "") -> int:
        if name not in self._frames:
            self._frames[name] = len(self.tables.location_table)
            location = self.tables.location_table.add()
            location.attribute_indices.append(self.attribute("profile.frame.type", frame_type))
            for each in filter(None, (inlined, name)):
                place = len(self.tables.function_table)
                self.tables.function_table.add(name_strindex=self.text(each), start_line=7)
                location.lines.add(function_index=place, line=9)
        return self._frames[name]

    def stack(self, names: str) -> int:
        """The place of "leaf;caller;main"."""
        self.tables.stack_table.add(location_indices=[self.location(name) for name in names.split(";")])
        return len(self.tables.stack_table) - 1

    def profile(
        self,
        stacks: Mapping[str, Sequence[int]],
        start_s: float,
        type: tuple[str, str] = ("cpu", "nanoseconds"),
        period: tuple[str, str, int] = ("cpu", "nanoseconds", 10_000_000),
        duration_s: float = 5,
        attributes: Mapping[str, str] | None = None,
        timestamps: Mapping[str, Sequence[int]] | None = None,
    ) -> "OtlpProfiles":
        """Add a profile: "leaf;main" → values."""
        profile = self._scope.scope_profiles[0].profiles.add(
            time_unix_nano=int(start_s * 10**9), duration_nano=int(duration_s * 10**9), period=period[2]
        )
        for value_type, (name, unit) in ((profile.sample_type, type), (profile.period_type, period[:2])):
            value_type.type_strindex, value_type.unit_strindex = self.text(name), self.text(unit)
        indices = [self.attribute(*pair) for pair in (attributes or {}).items()]
        for names, values in stacks.items():
            times = (timestamps or {}).get(names, ())
            profile.samples.add(
                stack_index=self.stack(names),
                values=values,
                attribute_indices=indices,
                timestamps_unix_nano=times,
            )
        return self

    def encode(self) -> bytes:
        return self.message.SerializeToString()


def trace_request(service: str, start_s: float, spans: int = 2) -> ExportTraceServiceRequest:
    """Spans of one trace, each the child of the one before."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    add_attributes(resource.resource.attributes, {"service.name": service, "host.name": "box"})
    scope = resource.scope_spans.add()
    scope.scope.name = "tests"
    for number in range(1, spans + 1):
        span = scope.spans.add(
            trace_id=bytes(range(16)),
            span_id=number.to_bytes(8, "big"),
            parent_span_id=(number - 1).to_bytes(8, "big") if number > 1 else b"",
            name=f"step {number}",
            kind=2,
            start_time_unix_nano=int(start_s * 10**9) + number,
            end_time_unix_nano=int(start_s * 10**9) + 1000 * number,
        )
        add_attributes(span.attributes, {"http.route": "/buy"})
        add_attributes(
            span.events.add(time_unix_nano=int(start_s * 10**9), name="retry").attributes, {"n": "1"}
        )
    return request
