"""Writes a closed window, and the definitions a collector lacks, as the wire messages of fleetprof.v1."""

import numpy as np

from agent.aggregate import ClosedWindow, Rows
from fleetprof.definitions import DefinitionWriter
from fleetprof.v1 import ingest_pb2


def encode_window(window: ClosedWindow, host: str) -> ingest_pb2.Window:
    """The window's message, without any definitions."""
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


def encode_definitions(window: ClosedWindow, stacks: set[int], series: set[int]) -> ingest_pb2.Definitions:
    """Definitions of the window's stacks and series whose ids are in `stacks` and `series`."""
    message = ingest_pb2.Definitions()
    writer = DefinitionWriter(message)
    for number, frame_ids in zip(window.stack_ids, window.stacks, strict=True):
        if number in stacks and number:
            writer.stack([window.frames[frame] for frame in frame_ids])
    for number, labels in zip(window.series_ids, window.series, strict=True):
        if number in series:
            writer.series(labels)
    return message
