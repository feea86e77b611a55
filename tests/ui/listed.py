"""Functions with lines: `total` in two builds of service till, whose sources were uploaded, and `scan` without any.

Times are those of the shop (shop.py): fifteen minutes until NOW_S.
"""

import uuid
from pathlib import Path

import numpy as np

from collector.ingest.definition_blocks import frame_block
from collector.sources.archives import Of
from collector.sources.assemble import open_archives
from collector.store.columns import from_ragged
from collector.store.interface import Store
from fleetprof.frames import Frame, FrameKind, frame_id
from tests.store.generate import WINDOW_S, Fleet, Rows, insert
from tests.ui.shop import START_S, WINDOWS

TOTAL = Frame(FrameKind.NATIVE, "total", "till", file="/build/till/src/cart.c", line=140)
ROUND = Frame(FrameKind.NATIVE, "round_up", "till", file="/build/till/src/cart.c", line=20)
SCAN = Frame(FrameKind.NATIVE, "scan", "till")
MAIN = Frame(FrameKind.NATIVE, "main", "till")
NEW, OLD = "ab12" * 10, "cd34" * 10
LINES = {
    NEW: {147: (50, False), 152: (20, False), 160: (9, True), 161: (6, False), 230: (1, False)},
    OLD: {146: (10, False), 400: (4, False)},
}
"""Build → line of `total` → (rows' seconds there, whether they are in the inlined `round_up`)."""
TEXT_LINES = 300


def text() -> str:
    """The file's text: as long as lines of the newer build need it."""
    lines = [f"/* {number} */" for number in range(1, TEXT_LINES + 1)]
    lines[139] = "unsigned long total(const struct cart *cart) /* <b>not bold</b> */"
    lines[146] = "\tsum += cart->items[i].price;"
    return "\n".join(lines) + "\n"


def fill(store: Store, folder: Path) -> None:
    """Write all of it."""
    places = [(build, line, *what) for build, lines in LINES.items() for line, what in lines.items()]
    nameless = [Frame(FrameKind.NATIVE, "", "till", build, 0x1000 + line) for build, line, _, _ in places]
    frames = [*nameless, SCAN, MAIN]
    stacks = [(), *((place, len(frames) - 1) for place in range(len(frames) - 1))]
    weights = [*(seconds for _, _, seconds, _ in places), 5]
    label = {"host": "till-1", "service": "till", "version": "3.2", "process": "till"}
    window, stack = (part.ravel() for part in np.indices((WINDOWS, len(weights))))
    rows = Rows(
        Fleet(START_S, WINDOWS, ("till",), hosts=1), [label], frames, stacks,
        START_S + WINDOW_S * window, np.zeros(len(stack), np.int64), np.zeros(len(stack), np.int64), stack + 1,
        np.array(weights, np.uint64)[stack] * np.uint64(10**7), np.ones(len(stack), np.uint64),
        [("till-1", START_S + WINDOW_S * number) for number in range(WINDOWS)],
    )  # fmt: skip
    insert(store, rows)
    chains = [[ROUND, TOTAL] if inlined else [TOTAL] for _, _, _, inlined in places]
    lines = [[25, line] if inlined else [line] for _, line, _, inlined in places]
    store.insert("frames", frame_block({frame_id(each): each for each in (TOTAL, ROUND)}), uuid.uuid4().hex)
    lengths = [len(chain) for chain in chains]
    block = {
        "id": np.array([frame_id(frame) for frame in nameless], np.uint64),
        "functions": from_ragged(np.array([frame_id(f) for c in chains for f in c], np.uint64), lengths),
        "lines": from_ragged(np.array([line for each in lines for line in each], np.uint32), lengths),
        "updated_ns": np.ones(len(nameless), np.uint64),
    }
    store.insert("symbolized", block, uuid.uuid4().hex)
    files = [("till-3.2/src/cart.c", text().encode())]
    open_archives(folder).keep(Of(service="till", version="3.2"), "till-3.2.tar.gz", files)
