"""What was defined lately is made once, and kept within bounds."""

from hypothesis import given
from hypothesis import strategies as st

from collector.ingest.interned import Interned
from fleetprof.frames import Frame, FrameKind, frame_id, stack_id
from fleetprof.v1 import ingest_pb2
from tests.store.pushes import define, frames_of
from tests.unit.defined import defined

STACKS = st.lists(st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=6), max_size=6, unique_by=tuple)


def definitions(stacks: list[list[str]]) -> bytes:
    message = ingest_pb2.Definitions()
    define(message, [frames_of(";".join(stack)) for stack in stacks], [])
    return message.SerializeToString()


@given(st.lists(STACKS, min_size=1, max_size=6), st.booleans())
def test_senders_after_the_first_get_the_same(requests: list[list[list[str]]], roomy: bool) -> None:
    interned = Interned() if roomy else Interned(frame_bytes=1, stack_bytes=1)
    for stacks in requests:
        found = defined(definitions(stacks), interned=interned)
        assert found == defined(definitions(stacks))


def test_what_is_known_is_kept_once() -> None:
    interned = Interned()
    first, second = (defined(definitions([["a", "b"]]), interned=interned) for _ in "12")
    (number,) = first.stacks
    assert first.stacks[number] is second.stacks[number]
    assert all(first.frames[each] is second.frames[each] for each in first.frames)


def test_frames_that_differ_in_any_field_are_not_one() -> None:
    interned = Interned()
    frame = Frame(FrameKind.NATIVE, "f", "app", "", 0, "f.c", 3)
    for change in ({"line": 4}, {"file": "g.c"}, {"mapping": "lib"}, {"kind": FrameKind.RUST}):
        message = ingest_pb2.Definitions()
        both = [frame, frame._replace(**change)]
        define(message, [[each] for each in both], [])
        found = defined(message.SerializeToString(), interned=interned)
        assert set(found.stacks) == {stack_id([frame_id(each)]) for each in both}
        assert found.frames[frame_id(both[1])] == both[1]
