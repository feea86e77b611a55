"""OTLP profiles → profiles of ours.

Source of the layout: opentelemetry-proto, profiles/v1development; of the names of attributes: OpenTelemetry's
semantic conventions (profile.frame.type, process.executable.build_id.*).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.profiles.v1development.profiles_service_pb2 import (
    ExportProfilesServiceRequest,
)
from opentelemetry.proto.profiles.v1development.profiles_pb2 import Profile, ProfilesDictionary, Sample

from collector.ingest.refusal import Refused, malformed
from collector.receivers import labels as labelling
from collector.receivers.foreign import MAX_DEPTH, Foreign, Labels, Row, StackTable, checked
from collector.receivers.inbox import Inbox, Taken
from collector.receivers.measured import Column, Unsupported, choose, period_in_ns
from collector.receivers.otlp_layout import check_layout
from collector.receivers.otlp_values import attribute_pairs, value_text
from collector.receivers.unpack import check_parts, shape_of
from fleetprof.formats.stack_profile import ValueType
from fleetprof.frames import Frame, FrameKind
from fleetprof.losses import DropReason

SHAPE = shape_of(ExportProfilesServiceRequest.DESCRIPTOR)
MAX_FRAMES = 5_000_000
"""Most frames in all stacks of the dictionary, inlined ones included."""

_KINDS = {
    "native": FrameKind.NATIVE,
    "kernel": FrameKind.KERNEL,
    "cpython": FrameKind.PYTHON,
    "jvm": FrameKind.JVM,
    "v8js": FrameKind.NODE,
    "go": FrameKind.GO,
    "rust": FrameKind.RUST,
    **dict.fromkeys(("php", "phpjit", "ruby", "perl", "dotnet", "beam", "luajit"), FrameKind.JIT),
}
_BUILD_IDS = (
    "process.executable.build_id.gnu", "process.executable.build_id.go",
    "process.executable.build_id.htlhash", "process.executable.build_id.profiling",
)  # fmt: skip


def decode_request(data: bytes) -> ExportProfilesServiceRequest:
    """The message that `data` encodes; raises Refused."""
    check_parts(data, SHAPE)
    try:
        return ExportProfilesServiceRequest.FromString(data)
    except DecodeError:
        raise malformed("The request is not an ExportProfilesServiceRequest.") from None


def read_request(
    inbox: Inbox, request: ExportProfilesServiceRequest, peer: str, taken: Taken
) -> list[Foreign]:
    """The profiles of a request; what cannot be taken is rejected in `taken`. Raises Refused for all of it."""
    check_layout(request)
    try:
        tables = _Tables(request.dictionary)
        found: list[Foreign] = []
        for resource in request.resource_profiles:
            pairs = attribute_pairs(resource.resource.attributes, tables.strings)
            source = labelling.of_source(labelling.ours(pairs), peer)
            for scope in resource.scope_profiles:
                found += _scope(inbox, tables, list(scope.profiles), source, taken)
        return found
    except IndexError as error:
        raise malformed(f"The request refers to an entry that it does not have ({error}).") from None


def _scope(
    inbox: Inbox, tables: "_Tables", profiles: list[Profile], source: Mapping[str, str], taken: Taken
) -> list[Foreign]:
    """The profiles of one scope. Where CPU time was sent, the same samples as counts are not added to it."""
    chosen: list[tuple[Profile, Column]] = []
    for profile in profiles:
        value_type, period_type = (
            tables.value_type(profile.sample_type),
            tables.value_type(profile.period_type),
        )
        try:
            chosen.append((profile, choose([value_type], period_type, profile.period)[0]))
        except Unsupported as error:
            inbox.reject(taken, DropReason.MALFORMED, str(error))
    timed = {(profile.time_unix_nano, column.type) for profile, column in chosen if not column.counted}
    found = []
    for profile, column in chosen:
        if not column.counted or (profile.time_unix_nano, column.type) not in timed:
            try:
                found.append(_read(tables, profile, column, source))
            except Refused as refused:
                inbox.reject(taken, refused.reason, refused.message)
    return found


def _read(tables: "_Tables", profile: Profile, column: Column, source: Mapping[str, str]) -> Foreign:
    period_ns = period_in_ns(tables.value_type(profile.period_type), profile.period)
    stacks, rows, cuts = StackTable(), list[Row](), 0
    places: dict[int, tuple[int, bool]] = {}
    for sample in profile.samples:
        place = places.get(sample.stack_index)
        if place is None:
            place = places[sample.stack_index] = stacks.place(tables.stack(sample.stack_index))
        labels = tables.labels(tuple(sample.attribute_indices))
        for value, at_ns in _points(sample):
            if value:
                captures = _captures(value, column, period_ns)
                rows.append(Row(place[0], checked(value, column.factor), captures, labels, at_ns))
                cuts += place[1] * captures
    start_ns = profile.time_unix_nano
    return Foreign(
        source, column.type, tables.frames, stacks.stacks, rows, start_ns, start_ns + profile.duration_nano,
        period_ns, cuts,
    )  # fmt: skip


def _points(sample: Sample) -> Iterator[tuple[int, int]]:
    """(value, time) of each observation; time 0 where it has none. Raises Refused."""
    values, times = sample.values, sample.timestamps_unix_nano
    if not times:
        if not values:
            raise malformed("A sample has neither values nor timestamps.")
        yield sum(values) if min(values) >= 0 else -1, 0
    elif not values:
        yield from ((1, at_ns) for at_ns in times)
    elif len(values) == len(times):
        yield from zip(values, times, strict=True)
    else:
        raise malformed("A sample has not as many values as timestamps.")


def _captures(value: int, column: Column, period_ns: int) -> int:
    if column.counted:
        return min(max(value, 0), 2**32 - 1)
    return min(max(round(value * column.factor / period_ns), 1), 2**32 - 1) if period_ns else 1


class _Tables:
    """The dictionary: frames by location, stacks, labels by attributes. IndexError means a broken reference."""

    def __init__(self, dictionary: ProfilesDictionary) -> None:
        self.strings = list(dictionary.string_table)
        self._dictionary = dictionary
        self._attributes = [
            (self._text(each.key_strindex), value_text(each.value, self.strings))
            for each in dictionary.attribute_table
        ]
        self.frames: list[Frame] = []
        self._locations = [self._location(location) for location in dictionary.location_table]
        self._labels: dict[tuple[int, ...], Labels] = {}
        self._read_frames = 0

    def value_type(self, message: Any) -> ValueType:
        return ValueType(self._text(message.type_strindex), self._text(message.unit_strindex))

    def stack(self, place: int) -> list[int]:
        """Places of a stack's frames, leaf first."""
        found: list[int] = []
        for number in self._at(self._dictionary.stack_table, place).location_indices:
            found += self._at(self._locations, number)
            if len(found) > MAX_DEPTH:  # cut by StackTable
                break
        self._read_frames += len(found)
        if self._read_frames > MAX_FRAMES:
            raise Refused(DropReason.TOO_LARGE, f"The stacks have more than {MAX_FRAMES:,} frames.")
        return found

    def labels(self, indices: tuple[int, ...]) -> Labels:
        """Labels of a sample's attributes."""
        found = self._labels.get(indices)
        if found is None:
            pairs = labelling.ours(self._at(self._attributes, index) for index in indices)
            found = self._labels[indices] = tuple(sorted(pairs.items()))
        return found

    def _at(self, table: Any, place: int) -> Any:
        if place < 0:
            raise IndexError(place)
        return table[place]

    def _text(self, place: int) -> str:
        return str(self._at(self.strings, place))

    def _attribute(self, indices: Any, names: tuple[str, ...]) -> str:
        found = dict(self._at(self._attributes, index) for index in indices)
        return next((found[name] for name in names if found.get(name)), "")

    def _location(self, location: Any) -> list[int]:
        """Places of the frames at a location, the innermost inlined one first."""
        mapping = self._at(self._dictionary.mapping_table, location.mapping_index)
        file = self._text(mapping.filename_strindex)
        build_id = self._attribute(mapping.attribute_indices, _BUILD_IDS)
        kind = self._kind(location.attribute_indices, file)
        first = len(self.frames)
        for line in location.lines:
            function = self._at(self._dictionary.function_table, line.function_index)
            name = self._text(function.name_strindex) or self._text(function.system_name_strindex)
            if name:
                source = self._text(function.filename_strindex)
                number = min(max(function.start_line or line.line, 0), 2**32 - 1)
                self.frames.append(Frame(kind, name, file, build_id, 0, source, number))
        if len(self.frames) == first:
            offset = location.address
            if mapping.memory_limit:
                offset = (location.address - mapping.memory_start + mapping.file_offset) % 2**64
            self.frames.append(Frame(kind, "", file, build_id, offset))
        return list(range(first, len(self.frames)))

    def _kind(self, indices: Any, file: str) -> FrameKind:
        name = self._attribute(indices, ("profile.frame.type",))
        return _KINDS.get(name, FrameKind.KERNEL if file.startswith("[kernel") else FrameKind.NATIVE)
