"""What the collector lets in: every rule of the contract, and random bytes."""

import contextlib
import re
import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from collector.ingest.admission import admit, receive
from collector.ingest.definitions import make_stack
from collector.ingest.limits import Limits
from collector.ingest.refusal import Refused
from collector.ingest.rows import Rows, decode_rows
from collector.ingest.window import Window
from fleetprof.frames import frame_id, stack_id
from fleetprof.losses import DropReason
from fleetprof.profile_types import ProfileType
from fleetprof.series import series_id
from fleetprof.v1 import ingest_pb2
from tests.store.pushes import Row, define, frames_of, push_request, recent_window_s
from tests.unit.defined import defined

LABELS = {"host": "web-1", "service": "shop"}
ROWS = [
    Row("a;b;main", 5, offsets=[0, 7, 7, 999]),
    Row("", 9, ProfileType.IDLE),
    Row("b;main", 6, offsets=[3]),
]
LIMITS = Limits(rows=10, series=4, stacks=5, depth=6, frames=20)

Change = Callable[[ingest_pb2.PushRequest], object]


def check(request: ingest_pb2.PushRequest) -> None:
    """All that the pipeline checks before it looks at what it knows."""
    decode(request.SerializeToString())


def decode(data: bytes) -> tuple[Window, Rows]:
    window = admit(receive(data, LIMITS), LIMITS, time.time())
    defined(window.definitions, LIMITS)
    rows, refused = decode_rows([window], LIMITS)
    for why in refused.values():
        raise why
    return window, rows


def test_a_good_window_keeps_its_columns() -> None:
    window, rows = decode(push_request(ROWS, LABELS, sequence=3, losses={1: 2}).SerializeToString())
    assert window.key == ("agent-1", 7, 3)
    assert window.rows == 3
    assert rows.value.tolist() == [5, 9, 6]
    assert rows.type.tolist() == [1, 4, 1]
    assert rows.offset_count.tolist() == [4, 0, 1]
    assert rows.offsets.tolist() == [0, 7, 7, 999, 3]
    assert window.losses == {DropReason.RING_FULL: 2}


def test_definitions_get_ids_by_content() -> None:
    found = defined(push_request(ROWS, LABELS).definitions.SerializeToString(), LIMITS)
    ids = [frame_id(frame) for frame in frames_of("a;b;main")]
    assert np.frombuffer(found.stacks[stack_id(ids)].frames, np.uint64).tolist() == ids
    assert found.series[series_id(LABELS)].labels == LABELS
    assert set(found.frames) == set(ids)


@given(st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=12), max_size=8, unique_by=tuple))
def test_stacks_are_what_their_frames_say(picked: list[list[int]]) -> None:
    message = ingest_pb2.Definitions()
    named = frames_of(";".join(f"f{number}" for number in range(7)))
    define(message, [[named[number] for number in stack] for stack in picked], [])
    ids = [[frame_id(named[number]) for number in stack] for stack in picked]
    found = defined(message.SerializeToString()).stacks
    assert found == {stack_id(stack): make_stack(stack) for stack in ids}
    assert all(
        (stack.frames is stack.functions) == (stack.frames == stack.functions) for stack in found.values()
    )


def test_a_recursive_stack_has_each_function_once() -> None:
    message = push_request([Row("a;b;a;a;main", 1)], LABELS).definitions
    found = defined(message.SerializeToString(), LIMITS)
    (stack,) = found.stacks.values()
    names = [frame_id(frame) for frame in frames_of("a;b;main")]
    assert np.frombuffer(stack.functions, np.uint64).tolist() == names


def set_(path: str, value: object) -> Change:
    """A change that sets a field, or one element of a column: "window.samples.stack[1]".

    A callable gives the value when the change is made: what depends on the time must not be made at import.
    """

    def change(request: ingest_pb2.PushRequest) -> None:
        *parents, last = path.split(".")
        owner = request
        for name in parents:
            owner = getattr(owner, name)
        now = value() if callable(value) else value
        element = re.fullmatch(r"(\w+)\[(-?\d+)\]", last)
        if element:
            getattr(owner, element[1])[int(element[2])] = now
        else:
            setattr(owner, last, now)

    return change


def append(path: str, *values: object) -> Change:
    def change(request: ingest_pb2.PushRequest) -> None:
        column = request
        for name in path.split("."):
            column = getattr(column, name)
        column.extend(values)

    return change


REFUSED: list[tuple[DropReason, Change]] = [
    (DropReason.PROTOCOL_VERSION, set_("protocol_version", 2)),
    (DropReason.MALFORMED, set_("agent_id", "")),
    (DropReason.MALFORMED, set_("agent_id", "x" * 65)),
    (DropReason.MALFORMED, set_("window.host", "a\0b")),
    (DropReason.MALFORMED, set_("run_id", 0)),
    (DropReason.MALFORMED, set_("sequence", 0)),
    (DropReason.MALFORMED, set_("window.start_unix_ns", lambda: recent_window_s() * 10**9 + 1)),
    (DropReason.TOO_OLD, set_("window.start_unix_ns", lambda: recent_window_s(7 * 8640 + 10) * 10**9)),
    (DropReason.IN_FUTURE, set_("window.start_unix_ns", lambda: recent_window_s(-40) * 10**9)),
    (DropReason.IN_FUTURE, set_("window.start_unix_ns", (2**64 - 1) // 10**10 * 10**10)),
    (DropReason.MALFORMED, set_("window.covered_ns", 2**63)),
    (DropReason.MALFORMED, append("window.samples.value", 1)),
    (DropReason.MALFORMED, append("window.samples.captures", 1)),
    (DropReason.MALFORMED, set_("window.samples.stack[0]", 3)),
    (DropReason.MALFORMED, set_("window.samples.series[2]", 1)),
    (DropReason.MALFORMED, set_("window.samples.type[0]", 0)),
    (DropReason.MALFORMED, set_("window.samples.type[0]", 5)),
    (DropReason.MALFORMED, set_("window.samples.type[0]", -256)),
    (DropReason.MALFORMED, set_("window.samples.type[0]", int(ProfileType.IDLE))),
    (DropReason.MALFORMED, set_("window.samples.value[1]", 2**64 - 1)),
    (DropReason.MALFORMED, append("window.samples.offsets", 1)),
    (DropReason.MALFORMED, set_("window.samples.offset_count[0]", 2**32 - 1)),
    (DropReason.MALFORMED, set_("window.samples.offsets[1]", 1000)),
    (DropReason.MALFORMED, set_("window.samples.offsets[1]", 2**32 - 1)),
    (DropReason.TOO_LARGE, append("window.samples.value", *[1] * 8)),
    (DropReason.SERIES_LIMIT, append("window.series_ids", 1, 2, 3, 4)),
    (DropReason.STACK_LIMIT, append("window.stack_ids", 1, 2, 3)),
    (DropReason.MALFORMED, lambda request: request.window.losses.add(reason=99, count=1)),
    (DropReason.MALFORMED, set_("definitions.strings[0]", "x")),
    (DropReason.TOO_LARGE, append("definitions.strings", "x" * (64 << 10) + "x")),
    (DropReason.MALFORMED, set_("definitions.frames.function[0]", 99)),
    (DropReason.MALFORMED, set_("definitions.frames.kind[0]", 0)),
    (DropReason.MALFORMED, set_("definitions.frames.build_id[0]", 2)),
    (DropReason.MALFORMED, append("definitions.frames.line", 1)),
    (DropReason.MALFORMED, set_("definitions.stacks.depth[0]", 4)),
    (DropReason.MALFORMED, set_("definitions.stacks.frame_index[0]", 7)),
    (DropReason.STACK_LIMIT, lambda request: (
        request.definitions.stacks.depth.append(7), request.definitions.stacks.frame_index.extend([0] * 7))),
    (DropReason.MALFORMED, set_("definitions.series.label_count[0]", 3)),
    (DropReason.MALFORMED, set_("definitions.series.label_index[0]", 0)),
    (DropReason.MALFORMED, set_("definitions.series.label_index[2]", 5)),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "change"), REFUSED, ids=range(len(REFUSED)))
def test_what_breaks_the_contract_is_refused(reason: DropReason, change: Change) -> None:
    request = push_request(ROWS, LABELS)
    check(request)
    change(request)
    with pytest.raises(Refused) as refused:
        check(request)
    assert refused.value.reason == reason, refused.value.message
    assert refused.value.message.endswith(".")


@given(st.binary(max_size=200))
@example(b"")
def test_random_bytes_are_refused_with_a_reason(data: bytes) -> None:
    with pytest.raises(Refused):
        decode(data)


GOOD = push_request(ROWS, LABELS).SerializeToString()


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255), st.integers(0, 30))
def test_a_damaged_request_is_taken_or_refused_but_never_fails(place: int, byte: int, cut: int) -> None:
    data = bytearray(GOOD)
    data[place] = byte
    with contextlib.suppress(Refused):
        decode(bytes(data[: len(data) - cut]))


def test_too_many_bytes_are_refused() -> None:
    with pytest.raises(Refused) as refused:
        receive(GOOD, Limits(message_bytes=len(GOOD) - 1))
    assert refused.value.reason == DropReason.TOO_LARGE
