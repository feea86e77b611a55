"""What a batch adds to each table of the store."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from collector.ingest.batch import Batch, make_batch
from collector.ingest.definition_blocks import frame_block, series_block, stack_block
from collector.ingest.known import Resolved
from collector.ingest.loss_ledger import LossKey
from collector.ingest.rollups import (
    TYPE_LABELS,
    func_1h,
    group_rows,
    series_1m,
    services,
    stack_1h,
    sum_stacks,
    words,
)
from collector.ingest.written import Written
from collector.store.columns import from_ragged
from fleetprof.frames import Frame

Blocks = dict[str, dict[str, Any]]
"""Table → columns, in the order in which they are inserted: what is referred to before what refers to it, and
`windows`, which says that a window is stored, last."""


def make_blocks(
    windows: list[Resolved], frames: Mapping[int, Frame], losses: Mapping[LossKey, int], written: Written
) -> Blocks:
    """The blocks of these windows, which start on the same day, and of the collector's own losses.

    Definitions that `written` knows to be stored are left out.
    """
    blocks = {"frames": frame_block(written.new_frames(frames))}
    if windows:
        batch = make_batch(windows)
        sums = sum_stacks(batch, group_rows(batch))
        blocks |= {
            "stacks": stack_block(batch, sums, written),
            "series": series_block(batch, written),
            "samples": _samples(batch),
            "stack_1h": stack_1h(batch, sums),
            "func_1h": func_1h(batch, sums),
            "series_1m": series_1m(batch),
        }
    return blocks | {"losses": _losses(windows, losses), "windows": _windows(windows)}


def _samples(batch: Batch) -> dict[str, Any]:
    return {
        "ts": batch.ts,
        "service": services(batch)(batch.series),
        "type": words(batch.type, TYPE_LABELS),
        "series": np.array([series.id for series in batch.all_series], np.uint64)[batch.series],
        "stack": np.array(batch.stack_ids, np.uint64)[batch.stack],
        "value": batch.value,
        "captures": batch.captures,
        "offsets": from_ragged(batch.offsets, batch.offset_count),
    }


def _losses(windows: list[Resolved], own: Mapping[LossKey, int]) -> dict[str, Any]:
    rows = [
        (resolved.window.start_s, resolved.window.host, "agent", reason.label, count)
        for resolved in windows
        for reason, count in resolved.window.losses.items()
        if count
    ]
    rows += [(key.ts, key.host, "collector", key.reason.label, count) for key, count in own.items()]
    names = ("ts", "host", "origin", "reason", "count")
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}


def _windows(windows: list[Resolved]) -> dict[str, Any]:
    found = [resolved.window for resolved in windows]
    return {
        "ts": [window.start_s for window in found],
        "agent_id": [window.key.agent_id for window in found],
        "run_id": [window.key.run_id for window in found],
        "sequence": [window.key.sequence for window in found],
        "host": [window.host for window in found],
        "covered_ns": [window.covered_ns for window in found],
        "cpu_count": [window.cpu_count for window in found],
        "cpu_exact": [int(window.cpu_exact) for window in found],
        "period_ns": [window.period_ns for window in found],
        "rows": [len(window.rows) for window in found],
        "received_at": [int(time.time())] * len(found),
        "agent_cpu_ns": [window.cost.cpu_ns for window in found],
        "agent_bpf_ns": [window.cost.bpf_ns for window in found],
        "agent_rss_bytes": [window.cost.rss_bytes for window in found],
        "agent_map_bytes": [window.cost.map_bytes for window in found],
    }
