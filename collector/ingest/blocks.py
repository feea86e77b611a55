"""What a batch adds to each table of the store."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from collector.ingest.batch import Batch, services
from collector.ingest.definition_blocks import frame_block, series_block, stack_block
from collector.ingest.loss_ledger import LossKey
from collector.ingest.places import places_block
from collector.ingest.rollups import series_1m
from collector.ingest.table_order import ordered_offsets, table_order
from collector.ingest.window import Window
from collector.ingest.words import TYPE_LABELS, words
from collector.ingest.written import Written
from collector.store.columns import from_ragged
from fleetprof.frames import Frame

Blocks = dict[str, dict[str, Any]]
"""Table → columns, in the order in which they are inserted: what is referred to before what refers to it, and
`windows`, which says that a window is stored, last."""


def make_blocks(
    batch: Batch | None, frames: Mapping[int, Frame], losses: Mapping[LossKey, int], written: Written
) -> Blocks:
    """The blocks of the batch and of the collector's own losses; hourly roll-ups follow later (pending.py).

    Definitions that `written` knows to be stored are left out.
    """
    blocks = {"frames": frame_block(written.new_frames(frames))}
    if batch:
        blocks |= {
            "stacks": stack_block(batch, written),
            "series": series_block(batch, written),
            "samples": _samples(batch),
            "places": places_block(batch),
            "series_1m": series_1m(batch),
        }
    windows = batch.windows if batch else []
    return blocks | {"losses": _losses(windows, losses), "windows": _windows(windows)}


def _samples(batch: Batch) -> dict[str, Any]:
    rows, order = batch.rows, table_order(batch)
    series = batch.series[order]
    return {
        "ts": batch.ts[order],
        "service": services(batch.all_series)(series),
        "type": words(rows.type[order], TYPE_LABELS),
        "series": batch.series_ids[series],
        "stack": batch.stack_ids[batch.stack[order]],
        "value": rows.value[order],
        "captures": rows.captures[order],
        "offsets": from_ragged(*ordered_offsets(rows.offsets, rows.offset_count, order)),
    }


def _losses(windows: list[Window], own: Mapping[LossKey, int]) -> dict[str, Any]:
    rows = [
        (window.start_s, window.host, "agent", reason.label, count)
        for window in windows
        for reason, count in window.losses.items()
        if count
    ]
    rows += [(key.ts, key.host, "collector", key.reason.label, count) for key, count in own.items()]
    names = ("ts", "host", "origin", "reason", "count")
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}


def _windows(windows: list[Window]) -> dict[str, Any]:
    return {
        "ts": [window.start_s for window in windows],
        "agent_id": [window.key.agent_id for window in windows],
        "run_id": np.array([window.key.run_id for window in windows], np.uint64),
        "sequence": np.array([window.key.sequence for window in windows], np.uint64),
        "host": [window.host for window in windows],
        "covered_ns": np.array([window.covered_ns for window in windows], np.uint64),
        "cpu_count": [window.cpu_count for window in windows],
        "cpu_exact": [int(window.cpu_exact) for window in windows],
        "period_ns": np.array([window.period_ns for window in windows], np.uint64),
        "rows": [window.rows for window in windows],
        "received_at": [int(time.time())] * len(windows),
        "agent_cpu_ns": np.array([window.cost.cpu_ns for window in windows], np.uint64),
        "agent_bpf_ns": np.array([window.cost.bpf_ns for window in windows], np.uint64),
        "agent_rss_bytes": np.array([window.cost.rss_bytes for window in windows], np.uint64),
        "agent_map_bytes": np.array([window.cost.map_bytes for window in windows], np.uint64),
    }
