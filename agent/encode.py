"""Writes a closed window, and the definitions a collector lacks, as the wire messages of fleetprof.v1."""

from dataclasses import replace

import numpy as np

from agent.aggregate import ClosedWindow, Rows
from agent.encode_places import encode_places
from agent.samples import I64
from agent.wire_numbers import Numbering
from fleetprof.definitions import DefinitionWriter
from fleetprof.v1 import ingest_pb2
from fleetprof.wire_numbers import number_check


def encode_window(window: ClosedWindow, host: str, numbering: Numbering | None = None) -> ingest_pb2.Window:
    """The window's message, without any definitions.

    Without `numbering` it can be read whatever the collector holds.
    """
    message = _plain(window, host)
    if numbering is not None:
        message.first_stack_number = numbering.first
        if numbering.in_use:
            _number_stacks(message, window, numbering.numbers)
    return message


def _number_stacks(message: ingest_pb2.Window, window: ClosedWindow, numbers: I64) -> None:
    """Name stacks by number (0: by id). Rows are put in an order in which differences are small."""
    rank = np.where(numbers > 0, numbers, np.iinfo(np.int64).max)
    rows = window.rows
    rows = _ordered(rows, np.lexsort((rank[rows.stack], rows.type, rows.series)))
    appears = np.full(len(numbers), len(rows))
    used, first = np.unique(rows.stack, return_index=True)
    appears[used] = first
    places = np.lexsort((appears, numbers == 0))
    place_of = np.empty(len(places), np.int64)
    place_of[places] = np.arange(len(places))
    ids = np.array(window.stack_ids, np.uint64)[places]
    numbered = numbers[places][: np.count_nonzero(numbers)]
    del message.stack_ids[:]
    message.stack_ids.extend(ids[len(numbered) :].tolist())
    message.stack_numbers.extend(np.diff(numbered, prepend=0).tolist())
    message.stack_check = number_check(ids.astype("<u8").tobytes())
    message.samples.CopyFrom(_samples(rows))
    message.samples.ClearField("stack")
    message.samples.stack_steps.extend(np.diff(place_of[rows.stack], prepend=0).tolist())
    if window.places:
        message.places.CopyFrom(encode_places(window.places, place_of))


def _ordered(rows: Rows, order: I64) -> Rows:
    counts = np.diff(rows.offset_starts)[order]
    ends = counts.cumsum()
    places = np.repeat(rows.offset_starts[order] - (ends - counts), counts) + np.arange(counts.sum())
    columns = {name: getattr(rows, name)[order] for name in ("series", "stack", "type", "value", "captures")}
    starts = np.concatenate([np.zeros(1, np.int64), ends])
    return replace(rows, **columns, offset_starts=starts, offsets=rows.offsets[places])


def _plain(window: ClosedWindow, host: str) -> ingest_pb2.Window:
    return ingest_pb2.Window(
        start_unix_ns=window.times.start_unix_ns,
        covered_ns=window.times.covered_ns,
        host=host,
        cpu_count=window.cpu_count,
        cpu_exact=window.cpu_exact,
        period_ns=window.period_ns,
        stack_ids=window.stack_ids,
        series_ids=window.series_ids,
        samples=_samples(window.rows),
        losses=[
            ingest_pb2.Loss(reason=int(reason), count=count)  # type: ignore[arg-type]
            for reason, count in sorted(window.losses.items())
            if count
        ],
        cost=ingest_pb2.AgentCost(
            cpu_ns=window.cost.cpu_ns,
            bpf_ns=window.cost.bpf_ns,
            rss_bytes=window.cost.rss_bytes,
            map_bytes=window.cost.map_bytes,
        ),
        places=encode_places(window.places) if window.places else None,
    )


def _samples(rows: Rows) -> ingest_pb2.Samples:
    samples = ingest_pb2.Samples(
        series=rows.series.tolist(),
        stack=rows.stack.tolist(),
        type=rows.type.tolist(),
        value=rows.value.tolist(),
        captures=rows.captures.tolist(),
    )
    if len(rows.offsets):
        samples.offset_count.extend(np.diff(rows.offset_starts).tolist())
        samples.offsets.extend(_differences(rows).tolist())
    return samples


def _differences(rows: Rows) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    """Offsets as differences inside a row; the first of each row absolute."""
    steps = rows.offsets.astype(np.int64)
    differences = np.diff(steps, prepend=0)
    starts = rows.offset_starts[:-1]
    firsts = starts[np.diff(rows.offset_starts) > 0]
    differences[firsts] = steps[firsts]
    return differences


def frames_of(window: ClosedWindow, stacks: set[int]) -> list[int]:
    """The distinct frames of the window's stacks whose ids are in `stacks`, as `encode_definitions` names them."""
    found: dict[int, None] = {}
    for number, frame_ids in zip(window.stack_ids, window.stacks, strict=True):
        if number in stacks:
            found.update(dict.fromkeys(frame_ids))
    return list(found)


def encode_definitions(
    window: ClosedWindow, stacks: set[int], series: set[int], numbering: Numbering | None = None
) -> ingest_pb2.Definitions:
    """Definitions of the window's stacks and series whose ids are in `stacks` and `series`.

    `numbering` is that of `frames_of` these stacks; without it all frames are named.
    """
    message = ingest_pb2.Definitions()
    numbered = _number_frames(message, frames_of(window, stacks), numbering) if numbering else []
    writer = DefinitionWriter(message, [window.frames[frame] for frame in numbered])
    places = {frame: place for place, frame in enumerate(numbered)}
    for number, frame_ids in zip(window.stack_ids, window.stacks, strict=True):
        if number in stacks and number:
            for frame in frame_ids:
                if frame not in places:
                    places[frame] = writer.frame(window.frames[frame])
            writer.stack_of([places[frame] for frame in frame_ids])
    for number, labels in zip(window.series_ids, window.series, strict=True):
        if number in series:
            writer.series(labels)
    return message


def _number_frames(message: ingest_pb2.Definitions, ids: list[int], numbering: Numbering) -> list[int]:
    """The frames that are named by number, ascending."""
    message.first_frame_number = numbering.first
    of_frame = dict(zip(ids, numbering.numbers.tolist(), strict=True))
    known = sorted((number, id_) for id_, number in of_frame.items() if number)
    if known:
        message.frame_numbers.extend(np.diff([number for number, _ in known], prepend=0).tolist())
        every = [id_ for _, id_ in known] + [id_ for id_, number in of_frame.items() if not number]
        message.frame_check = number_check(np.array(every, "<u8").tobytes())
    return [id_ for _, id_ in known]
