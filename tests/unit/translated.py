"""Push requests that receivers made, read back as our own pipeline reads them, as readable rows."""

from collections import Counter
from collections.abc import Iterable

from fleetprof.frames import Frame, FrameKind, frame_id, stack_id
from fleetprof.profile_types import ProfileType
from fleetprof.series import series_id
from fleetprof.v1 import ingest_pb2

Key = tuple[int, str, tuple[tuple[str, str], ...], str]
"""Start of the window, profile type, labels, "leaf;caller;main"."""


def rows_of(requests: Iterable[bytes]) -> Counter[Key]:
    """Values by window, type, labels and stack."""
    found: Counter[Key] = Counter()
    for data in requests:
        request = ingest_pb2.PushRequest.FromString(data)
        window, samples = request.window, request.window.samples
        stacks, series = _stacks(request.definitions), _series(request.definitions)
        for place, value in enumerate(samples.value):
            labels = series[window.series_ids[samples.series[place]]]
            names = ";".join(frame.name for frame in stacks[window.stack_ids[samples.stack[place]]])
            type_ = ProfileType(samples.type[place]).label
            found[window.start_unix_ns // 10**9, type_, labels, names] += value
    return found


def frames_of(requests: Iterable[bytes]) -> list[Frame]:
    """All frames that are defined."""
    messages = (ingest_pb2.PushRequest.FromString(data).definitions for data in requests)
    return [frame for message in messages for frame in _frames(message)]


def _frames(message: ingest_pb2.Definitions) -> list[Frame]:
    strings, table = message.strings, message.frames
    return [
        Frame(
            FrameKind(table.kind[n]), strings[table.function[n]], strings[table.mapping[n]],
            strings[table.build_id[n]], table.offset[n], strings[table.file[n]], table.line[n],
        )
        for n in range(len(table.kind))
    ]  # fmt: skip


def _stacks(message: ingest_pb2.Definitions) -> dict[int, list[Frame]]:
    frames, start, found = _frames(message), 0, {}
    for depth in message.stacks.depth:
        stack = [frames[place] for place in message.stacks.frame_index[start : start + depth]]
        found[stack_id([frame_id(frame) for frame in stack])] = stack
        start += depth
    return found


def _series(message: ingest_pb2.Definitions) -> dict[int, tuple[tuple[str, str], ...]]:
    texts, start, found = [message.strings[place] for place in message.series.label_index], 0, {}
    for count in message.series.label_count:
        pairs = texts[start : start + 2 * count]
        labels = tuple(sorted(zip(pairs[::2], pairs[1::2], strict=True)))
        found[series_id(dict(labels))] = labels
        start += 2 * count
    return found
