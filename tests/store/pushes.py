"""Builds Push requests from readable rows, as an agent would, for tests of the collector."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fleetprof.frames import UNSAMPLED, Frame, FrameKind, frame_id, stack_id
from fleetprof.profile_types import ProfileType
from fleetprof.series import series_id
from fleetprof.v1 import ingest_pb2

WINDOW_S = 10


def recent_window_s(back: int = 0) -> int:
    """Unix seconds of the start of a window that ended lately, `back` windows before."""
    return (int(time.time()) // WINDOW_S - 1 - back) * WINDOW_S


def frames_of(names: str) -> list[Frame]:
    """Native frames from "leaf;caller;…;main"; "(unsampled)" is what agents send for time without a stack."""
    return [
        UNSAMPLED if name == UNSAMPLED.function else Frame(FrameKind.NATIVE, name, "app")
        for name in names.split(";")
        if name
    ]


@dataclass(frozen=True)
class Row:
    """One sample row. `stack` names functions, leaf first; "" is the empty stack."""

    stack: str
    value: int
    type: ProfileType = ProfileType.CPU
    captures: int = 1
    offsets: Sequence[int] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels besides host and the request's own."""


def push_request(
    rows: Sequence[Row],
    labels: Mapping[str, str],
    sequence: int = 1,
    start_s: int | None = None,
    agent_id: str = "agent-1",
    run_id: int = 7,
    defined: bool = True,
    losses: Mapping[int, int] | None = None,
) -> ingest_pb2.PushRequest:
    """A request for these rows; every series has `labels` (with "host") and the row's own."""
    request = ingest_pb2.PushRequest(protocol_version=1, agent_id=agent_id, run_id=run_id, sequence=sequence)
    window = request.window
    window.start_unix_ns = (recent_window_s() if start_s is None else start_s) * 10**9
    window.covered_ns, window.host = WINDOW_S * 10**9, labels["host"]
    window.cpu_count, window.period_ns, window.cpu_exact = 2, 10_101_010, True
    stacks: dict[int, list[Frame]] = {}
    series: dict[int, dict[str, str]] = {}
    for row in rows:
        frames, all_labels = frames_of(row.stack), {**labels, **row.labels}
        number = stack_id([frame_id(frame) for frame in frames])
        stacks.setdefault(number, frames)
        series.setdefault(series_id(all_labels), all_labels)
        window.samples.stack.append(list(stacks).index(number))
        window.samples.series.append(list(series).index(series_id(all_labels)))
        window.samples.type.append(int(row.type))
        window.samples.value.append(row.value)
        window.samples.captures.append(row.captures)
        window.samples.offset_count.append(len(row.offsets))
        window.samples.offsets.extend(
            step - before for step, before in zip(row.offsets, [0, *row.offsets][:-1], strict=False)
        )
    window.stack_ids.extend(stacks)
    window.series_ids.extend(series)
    for reason, count in (losses or {}).items():
        window.losses.add(reason=reason, count=count)
    if defined:
        define(request.definitions, stacks.values(), series.values())
    return request


def add_places(
    request: ingest_pb2.PushRequest, places: Mapping[int, int], build_id: str = "ab12", stack: int = 0
) -> None:
    """Offset → nanoseconds, in the function that a stack of the window ends in, of its first series."""
    message, before = request.window.places, 0
    message.build_ids.append(bytes.fromhex(build_id))
    for number, (offset, value) in enumerate(places.items()):
        message.series.append(0)
        message.stack_steps.append(0 if number else stack)
        message.build.append(0)
        message.offset_steps.append(offset - before)
        message.value.append(value)
        before = offset


def define(
    message: ingest_pb2.Definitions, stacks: "Sequence[list[Frame]]", series: "Sequence[Mapping[str, str]]"
) -> None:
    """Add definitions of stacks and series to a request."""
    strings: dict[str, int] = {"": 0}
    frames: dict[Frame, int] = {}

    def place(text: str) -> int:
        return strings.setdefault(text, len(strings))

    for stack in stacks:
        if not stack:
            continue
        message.stacks.depth.append(len(stack))
        message.stacks.frame_index.extend(frames.setdefault(frame, len(frames)) for frame in stack)
    for frame in frames:
        message.frames.kind.append(int(frame.kind))
        message.frames.function.append(place(frame.function))
        message.frames.mapping.append(place(frame.mapping))
        message.frames.build_id.append(place(frame.build_id))
        message.frames.offset.append(frame.offset)
        message.frames.file.append(place(frame.file))
        message.frames.line.append(frame.line)
    for labels in series:
        message.series.label_count.append(len(labels))
        for name, value in labels.items():
            message.series.label_index.extend((place(name), place(value)))
    message.strings.extend(strings)
