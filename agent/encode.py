"""Writes a closed window, and the definitions a collector lacks, as the wire messages of fleetprof.v1."""

import numpy as np

from agent.aggregate import ClosedWindow, Rows
from fleetprof.frames import Frame
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
    writer = _DefinitionWriter()
    for number, frame_ids in zip(window.stack_ids, window.stacks, strict=True):
        if number in stacks and number:
            writer.stack([window.frames[frame] for frame in frame_ids])
    for number, labels in zip(window.series_ids, window.series, strict=True):
        if number in series:
            writer.series(labels)
    return writer.message


class _DefinitionWriter:
    """Fills one Definitions message, naming each string and each frame once."""

    def __init__(self) -> None:
        self.message = ingest_pb2.Definitions(strings=[""])
        self._strings = {"": 0}
        self._frames: dict[Frame, int] = {}

    def stack(self, frames: list[Frame]) -> None:
        self.message.stacks.depth.append(len(frames))
        self.message.stacks.frame_index.extend(self._frame(frame) for frame in frames)

    def series(self, labels: dict[str, str]) -> None:
        self.message.series.label_count.append(len(labels))
        for name, value in sorted(labels.items()):
            self.message.series.label_index.extend((self._string(name), self._string(value)))

    def _string(self, text: str) -> int:
        index = self._strings.get(text)
        if index is None:
            index = self._strings[text] = len(self._strings)
            self.message.strings.append(text)
        return index

    def _frame(self, frame: Frame) -> int:
        index = self._frames.get(frame)
        if index is None:
            index = self._frames[frame] = len(self._frames)
            table = self.message.frames
            table.kind.append(int(frame.kind))  # type: ignore[arg-type]
            table.function.append(self._string(frame.function))
            table.mapping.append(self._string(frame.mapping))
            table.build_id.append(self._string(frame.build_id))
            table.offset.append(frame.offset)
            table.file.append(self._string(frame.file))
            table.line.append(frame.line)
        return index
