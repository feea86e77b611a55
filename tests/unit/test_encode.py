"""What goes on the wire means what the window says, and names everything once."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.aggregate import ClosedWindow, Cost, WindowTimes, group
from agent.encode import encode_definitions, encode_window
from fleetprof.frames import Frame, FrameKind, frame_id, stack_id
from fleetprof.losses import DropReason, Losses
from fleetprof.series import series_id
from tests.unit.rows import Row, captures

TIMES = WindowTimes(20 * 10**9, 10**9, 10**10)
MAIN = Frame(FrameKind.NATIVE, "main", "app", file="app.c", line=3)
UNKNOWN = Frame(FrameKind.NATIVE, "", "libx.so", "abcd", 0x1234)


def window(rows: list[Row], stacks: list[list[Frame]], labels: list[dict[str, str]]) -> ClosedWindow:
    index = np.arange(len(rows), dtype=np.uint32)
    ids = [[frame_id(frame) for frame in frames] for frames in stacks]
    return ClosedWindow(
        times=TIMES,
        cpu_exact=True,
        period_ns=10_101_010,
        cpu_count=2,
        rows=group(
            captures(rows),
            (index % len(labels)).astype(np.uint32),
            (index % len(stacks)).astype(np.uint32),
            TIMES,
        ),
        stack_ids=[stack_id(stack) for stack in ids],
        stacks=[tuple(stack) for stack in ids],
        frames={frame_id(frame): frame for frames in stacks for frame in frames},
        series_ids=[series_id(one) for one in labels],
        series=labels,
        losses=Losses({DropReason.RING_FULL: 3, DropReason.PERF_LOST: 0}),
        cost=Cost(1, 2, 3, 4),
    )


def test_definitions_rebuild_the_same_identities() -> None:
    labels = {"service": "web", "host": "h"}
    built = window([Row()], [[UNKNOWN, MAIN], [MAIN]], [labels])
    message = encode_definitions(built, set(built.stack_ids), set(built.series_ids))
    text, table = message.strings, message.frames
    frames = [
        Frame(FrameKind(kind), text[function], text[mapping], text[build], offset, text[file], line)
        for kind, function, mapping, build, offset, file, line in zip(
            table.kind,
            table.function,
            table.mapping,
            table.build_id,
            table.offset,
            table.file,
            table.line,
            strict=True,
        )
    ]
    assert sorted(frames) == sorted([MAIN, UNKNOWN])
    assert list(message.stacks.depth) == [2, 1]
    first = [frame_id(frames[place]) for place in list(message.stacks.frame_index)[:2]]
    assert stack_id(first) == built.stack_ids[0]
    pairs = [text[place] for place in message.series.label_index]
    assert dict(zip(pairs[::2], pairs[1::2], strict=True)) == labels
    assert len(set(text)) == len(text)


def test_only_what_was_asked_for_is_defined() -> None:
    built = window([Row()], [[MAIN], [UNKNOWN]], [{"host": "h"}])
    message = encode_definitions(built, {built.stack_ids[1]}, set())
    assert list(message.stacks.depth) == [1]
    assert list(message.series.label_count) == []


def test_the_window_carries_losses_that_happened_and_the_agents_cost() -> None:
    message = encode_window(window([Row()], [[MAIN]], [{"host": "h"}]), "h")
    assert [(loss.reason, loss.count) for loss in message.losses] == [(DropReason.RING_FULL, 3)]
    assert (message.cost.cpu_ns, message.cost.map_bytes) == (1, 4)
    assert (message.start_unix_ns, message.covered_ns, message.host) == (20 * 10**9, 10**10, "h")


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(10**9, 11 * 10**9)), min_size=1, max_size=30))
def test_offsets_survive_the_difference_coding(samples: list[tuple[int, int]]) -> None:
    rows = [Row(type=1 if kind else 3, time_ns=time_ns) for kind, time_ns in samples]
    built = window(rows, [[MAIN], [UNKNOWN], [MAIN, UNKNOWN]], [{"host": "h"}])
    message = encode_window(built, "h").samples
    decoded: list[int] = []
    at = 0
    for count in message.offset_count:
        decoded.extend(np.cumsum(message.offsets[at : at + count]).tolist())
        at += count
    assert decoded == built.rows.offsets.tolist()
    if decoded:
        assert list(message.offset_count) == np.diff(built.rows.offset_starts).tolist()
