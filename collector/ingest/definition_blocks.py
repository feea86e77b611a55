"""The rows that define what a batch refers to: frames once, stacks and series once a day."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from collector.ingest.batch import Batch
from collector.ingest.definitions import Series, shown
from collector.ingest.written import DAY_S, Written
from collector.store.columns import from_ragged
from fleetprof.frames import Frame
from fleetprof.profile_types import ProfileType
from fleetprof.series import KNOWN_LABELS


def frame_block(frames: Mapping[int, Frame]) -> dict[str, Any]:
    """Rows of table frames, by id."""
    found = list(frames.values())
    return {
        "id": np.fromiter(frames, np.uint64, len(frames)),
        "kind": [int(frame.kind) for frame in found],
        "function": [shown(frame.function) for frame in found],
        "mapping": [shown(frame.mapping) for frame in found],
        "build_id": [frame.build_id for frame in found],
        "offset": np.fromiter((frame.offset for frame in found), np.uint64, len(found)),
        "file": [shown(frame.file) for frame in found],
        "line": [frame.line for frame in found],
        "updated": [int(time.time())] * len(found),
    }


def stack_block(batch: Batch, written: Written) -> dict[str, Any]:
    """Rows of table stacks: those of the batch not yet written for their service on its day."""
    names = [series.label("service") for series in batch.all_series]
    services = list(dict.fromkeys(names))
    of_series = np.array([services.index(name) for name in names], np.int64)
    count = max(len(batch.stack_ids), 1)
    rows = np.flatnonzero(batch.rows.type != ProfileType.IDLE)
    pairs = pc.unique(pa.array(of_series[batch.series[rows]] * count + batch.stack[rows])).to_numpy()
    service, stack = np.divmod(pairs, count)
    chosen: list[tuple[str, int]] = []
    for code, name in enumerate(services):
        places = stack[service == code]
        ids = batch.stack_ids[places].tolist()
        if new := written.new_stacks(name, ids, _day(batch)):
            chosen += [(name, place) for place, id_ in zip(places.tolist(), ids, strict=True) if id_ in new]
    frames = [batch.all_stacks[place].frames for _, place in chosen]
    return {
        "service": [name for name, _ in chosen],
        "stack": batch.stack_ids[[place for _, place in chosen]] if chosen else np.empty(0, np.uint64),
        "last_seen": np.full(len(chosen), int(batch.ts.max()) if len(batch.ts) else 0, np.uint32),
        "frames": from_ragged(
            np.frombuffer(b"".join(frames), "<u8"), [len(packed) // 8 for packed in frames]
        ),
    }


def series_block(batch: Batch, written: Written) -> dict[str, Any]:
    """Rows of table series: those of the batch not yet written on its day."""
    new = written.new_series(batch.all_series, _day(batch))
    free = [_free_labels(series) for series in new]
    return {
        "day": np.full(len(new), _day(batch), np.uint16),
        "series": np.array([series.id for series in new], np.uint64),
        **{name: [series.label(name) for series in new] for name in KNOWN_LABELS},
        "free_names": [list(labels) for labels in free],
        "free_values": [list(labels.values()) for labels in free],
    }


def _day(batch: Batch) -> int:
    """Days since the epoch of the batch's windows, which share one."""
    return batch.start_s // DAY_S


def _free_labels(series: Series) -> dict[str, str]:
    return {name: text for name, text in sorted(series.labels.items()) if name not in KNOWN_LABELS}
