"""pprof: profiles that `go tool pprof` and most profilers read (gzip-compressed profile.proto).

A frame with a name becomes a location with one function; one without becomes an address in its mapping, which
a tool that has the binary can still name. Mappings are laid side by side in a made-up address space, so that
the same offset in two files stays two addresses. A frame's kind travels in a field that other tools skip.
"""

import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from fleetprof.errors import InputError
from fleetprof.formats.stack_profile import Labels, StackProfile, ValueType, from_stacks
from fleetprof.frames import Frame, FrameKind
from fleetprof.pprof import profile_pb2 as pb

MAX_DECODED_BYTES = 512 << 20
_MAX_FRAMES = 50_000_000
_FIRST_ADDRESS = 0x1000_0000
_PAGE_BYTES = 0x1000
_BASE = "pprof::base"
"""Label of samples of the base, https://github.com/google/pprof (profile.Sample.DiffBaseSample)."""
_GZIP = b"\x1f\x8b"
_KINDS = {int(kind): kind for kind in FrameKind}
_SUFFIXES = {
    ".py": FrameKind.PYTHON,
    ".java": FrameKind.JVM,
    ".kt": FrameKind.JVM,
    ".scala": FrameKind.JVM,
    ".js": FrameKind.NODE,
    ".ts": FrameKind.NODE,
    ".go": FrameKind.GO,
    ".rs": FrameKind.RUST,
}


def encode(profile: StackProfile, comment: str = "", base: Sequence[bool] = ()) -> bytes:
    """The gzip-compressed pprof of `profile`; the same profile always gives the same bytes.

    `base`: for a difference, which rows belong to what is compared with; they get pprof's own label for that.
    """
    message = pb.Profile(
        time_nanos=profile.time_ns, duration_nanos=profile.duration_ns, period=profile.period
    )
    tables = _Tables(message)
    for value_type in profile.value_types:
        message.sample_type.append(tables.value_type(value_type))
    message.period_type.CopyFrom(tables.value_type(profile.period_type))
    tables.add_frames(profile.frames)
    if comment:
        message.comment.append(tables.string(comment))
    starts, locations = profile.starts.tolist(), (profile.frame_index + 1).tolist()
    for row, values in enumerate(profile.values.tolist()):
        sample = message.sample.add(location_id=locations[starts[row] : starts[row + 1]], value=values)
        if len(base) and base[row]:
            sample.label.add(key=tables.string(_BASE), str=tables.string("true"))
    message.string_table.extend(tables.strings)
    return gzip.compress(message.SerializeToString(deterministic=True), compresslevel=6, mtime=0)


@dataclass(slots=True)
class _Tables:
    """Fills a message's tables; each string, mapping and function once."""

    message: pb.Profile
    strings: dict[str, int] = field(default_factory=lambda: {"": 0})
    functions: dict[tuple[str, str, int], int] = field(default_factory=dict)

    def string(self, text: str) -> int:
        """The place of `text` in the string table. Bytes that are not UTF-8 become U+FFFD."""
        text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        return self.strings.setdefault(text, len(self.strings))

    def value_type(self, value_type: ValueType) -> pb.ValueType:
        return pb.ValueType(type=self.string(value_type.type), unit=self.string(value_type.unit))

    def add_frames(self, frames: list[Frame]) -> None:
        """A location for each frame: frame i has id i + 1."""
        mappings = self._add_mappings(frames)
        for number, frame in enumerate(frames, 1):
            mapping = mappings.get((frame.mapping, frame.build_id))
            location = self.message.location.add(
                id=number, mapping_id=mapping.id if mapping else 0, fleetprof_kind=int(frame.kind)
            )
            if frame.function:
                location.line.add(function_id=self._function(frame), line=frame.line)
            else:
                location.address = frame.offset + (mapping.memory_start if mapping else 0)

    def _add_mappings(self, frames: list[Frame]) -> dict[tuple[str, str], pb.Mapping]:
        """A mapping for each (name, build id), as long as its largest offset needs.

        An address has 64 bits and offsets come from foreign files: one that does not fit gets start 0.
        """
        sizes: dict[tuple[str, str], int] = {}
        named: set[tuple[str, str]] = set()
        for frame in frames:
            key = frame.mapping, frame.build_id
            if any(key):
                sizes[key] = max(sizes.get(key, 0), frame.offset + 1)
                if frame.function:
                    named.add(key)
        start, added = _FIRST_ADDRESS, {}
        # Tools show the first mapping as the program: "[kernel]" and its like come last.
        in_order = sorted(sizes.items(), key=lambda item: item[0][0].startswith("["))
        for number, (key, size) in enumerate(in_order, 1):
            pages = -(-size // _PAGE_BYTES) * _PAGE_BYTES
            fits = start + pages < 2**63
            added[key] = self.message.mapping.add(
                id=number,
                memory_start=start if fits else 0,
                memory_limit=start + pages if fits else 2**64 - 1,
                filename=self.string(key[0]),
                build_id=self.string(key[1]),
                has_functions=key in named,
            )
            start += pages if fits else 0
        return added

    def _function(self, frame: Frame) -> int:
        key = frame.function, frame.file, frame.line
        if key not in self.functions:
            self.functions[key] = len(self.functions) + 1
            name = self.string(frame.function)
            self.message.function.add(
                id=self.functions[key],
                name=name,
                system_name=name,
                filename=self.string(frame.file),
                start_line=frame.line,
            )
        return self.functions[key]


def decode(data: bytes, max_frames: int = _MAX_FRAMES) -> StackProfile:
    """The profile of a pprof file, compressed or not, from any profiler.

    Inlined functions become frames of their own. Labels of samples that are texts are kept; numbers (such as
    the size of an allocation) are not. Raises InputError for what is not pprof, or has more than `max_frames`
    frames in all of its stacks.
    """
    return decode_plain(_unpacked(data), max_frames)


def decode_plain(data: bytes, max_frames: int = _MAX_FRAMES) -> StackProfile:
    """As `decode`, of a file that is not compressed."""
    message = pb.Profile()
    try:
        message.ParseFromString(data)
    except DecodeError:
        raise _not_pprof("it is not a profile.proto message") from None
    try:
        return _Reader(message).profile(max_frames)
    except (IndexError, KeyError) as error:
        raise _not_pprof(f"it refers to an entry that it does not have ({error})") from None


def _unpacked(data: bytes) -> bytes:
    if not data.startswith(_GZIP):
        return data
    unpacker = zlib.decompressobj(wbits=31)
    try:
        plain = unpacker.decompress(data, MAX_DECODED_BYTES)
    except zlib.error as error:
        raise _not_pprof(f"it is not readable gzip ({error})") from None
    if unpacker.unconsumed_tail:
        raise InputError(f"The pprof file unpacks to more than {MAX_DECODED_BYTES >> 20} MiB.")
    if not unpacker.eof:
        raise _not_pprof("it ends in the middle")
    return plain


def _not_pprof(reason: str) -> InputError:
    return InputError(f"The file is not a pprof profile: {reason}.", "Give a *.pb.gz or *.pprof file.")


class _Reader:
    """Reads a message's tables into frames. KeyError and IndexError mean a broken reference."""

    def __init__(self, message: pb.Profile) -> None:
        self._message = message
        self._strings = list(message.string_table)
        self._functions = {function.id: function for function in message.function}
        self._mappings = {mapping.id: mapping for mapping in message.mapping}
        self._frames = {location.id: list(self._location(location)) for location in message.location}

    def profile(self, max_frames: int) -> StackProfile:
        """The whole profile."""
        message = self._message
        columns = len(message.sample_type)
        if any(len(sample.value) != columns for sample in message.sample):
            raise _not_pprof("a sample does not have one value for each sample type")
        depths = (len(self._frames[id_]) for sample in message.sample for id_ in sample.location_id)
        if sum(depths) > max_frames:
            raise InputError(f"The stacks of the pprof file have more than {max_frames:,} frames.")
        labels = [self._labels(sample) for sample in message.sample]
        return from_stacks(
            (self._stack(sample) for sample in message.sample),
            [list(sample.value) for sample in message.sample],
            tuple(self._value_type(value_type) for value_type in message.sample_type),
            self._value_type(message.period_type),
            message.period,
            message.time_nanos,
            message.duration_nanos,
            labels if any(labels) else (),
        )

    def _labels(self, sample: pb.Sample) -> Labels:
        texts = ((self._text(label.key), self._text(label.str)) for label in sample.label if label.str)
        return tuple(sorted(texts))

    def _stack(self, sample: pb.Sample) -> list[Frame]:
        return [frame for id_ in sample.location_id for frame in self._frames[id_]]

    def _text(self, place: int) -> str:
        if place == 0:
            return ""
        if place < 0:
            raise IndexError(f"string {place}")
        return self._strings[place]

    def _value_type(self, value_type: pb.ValueType) -> ValueType:
        return ValueType(self._text(value_type.type), self._text(value_type.unit))

    def _location(self, location: pb.Location) -> Iterator[Frame]:
        """The frames at one location, the innermost inlined one first."""
        mapping = self._mappings[location.mapping_id] if location.mapping_id else pb.Mapping()
        name, build_id = self._text(mapping.filename), self._text(mapping.build_id)
        kind = _KINDS.get(location.fleetprof_kind)
        for line in location.line:
            function = self._functions[line.function_id]
            text = self._text(function.name) or self._text(function.system_name)
            file = self._text(function.filename)
            if text:
                start_line = min(max(function.start_line, 0), 2**32 - 1)
                yield Frame(kind or _guess_kind(name, file), text, name, build_id, 0, file, start_line)
        if not any(self._has_name(line) for line in location.line):
            offset = (location.address - mapping.memory_start + mapping.file_offset) % 2**64
            yield Frame(kind or _guess_kind(name, ""), "", name, build_id, offset)

    def _has_name(self, line: pb.Line) -> bool:
        function = self._functions[line.function_id]
        return bool(self._text(function.name) or self._text(function.system_name))


def _guess_kind(mapping: str, file: str) -> FrameKind:
    """The kind of a frame from another profiler, which does not say it."""
    if mapping.startswith(("[kernel", "[guest.kernel")) or mapping.endswith((".ko", "vmlinux")):
        return FrameKind.KERNEL
    dot = file.rfind(".")
    return _SUFFIXES.get(file[dot:], FrameKind.NATIVE) if dot >= 0 else FrameKind.NATIVE
