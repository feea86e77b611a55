"""Definitions of many requests decoded at once mean what they mean one by one."""

from hypothesis import given
from hypothesis import strategies as st

from collector.ingest.decode_definitions import Encoded, decode_definitions
from collector.ingest.definitions import Defined, make_stack
from collector.ingest.limits import Limits
from collector.ingest.refusal import Refused
from collector.ingest.window import Sender
from collector.ingest.wire_numbers import NumbersLost, WireNumbers
from fleetprof.frames import frame_id, stack_id
from fleetprof.v1 import ingest_pb2
from fleetprof.wire_numbers import number_check
from tests.store.pushes import define, frames_of
from tests.unit.defined import defined

STACKS = st.lists(
    st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=6), min_size=1, max_size=4, unique_by=tuple
)
LABELS = st.lists(
    st.dictionaries(st.sampled_from(["service", "host"]), st.sampled_from("xy"), min_size=1), max_size=2
)
FAULTS = st.sampled_from(["", "", "", "empty", "cut", "place", "text", "depth", "kind", "lost", "label"])
LIMITS = Limits()


def message_of(stacks: list[list[str]], labels: list[dict[str, str]]) -> ingest_pb2.Definitions:
    message = ingest_pb2.Definitions()
    define(message, [frames_of(";".join(stack)) for stack in stacks], labels)
    return message


def encoded(message: ingest_pb2.Definitions, fault: str) -> bytes:
    """The message with a fault; "" is none, and "empty" defines nothing."""
    if fault == "place":
        message.stacks.frame_index[-1] = 99
    elif fault == "text":
        message.frames.file[0] = 1 << 31
    elif fault == "depth":
        message.stacks.depth[0] += 1
    elif fault == "kind":
        message.frames.kind[0] = 0
    elif fault == "lost":
        message.frame_numbers.append(3)
    elif fault == "label":
        message.series.label_count.append(1)
    data = message.SerializeToString()
    return data[:-1] if fault == "cut" else b"" if fault == "empty" else data


@given(st.lists(st.tuples(STACKS, LABELS, FAULTS), max_size=8))
def test_bad_requests_spoil_no_others(made: list[tuple[list[list[str]], list[dict[str, str]], str]]) -> None:
    requests = [encoded(message_of(stacks, labels), fault) for stacks, labels, fault in made]
    whole, faults = decode_definitions([Encoded(data) for data in requests], LIMITS)
    assert set(faults) == {place for place, (_, _, fault) in enumerate(made) if fault not in ("", "empty")}
    assert all(isinstance(why, NumbersLost) == (made[place][2] == "lost") for place, why in faults.items())
    alone = Defined()
    for place, data in enumerate(requests):
        if place not in faults:
            one = defined(data)
            alone.frames.update(one.frames)
            alone.stacks.update(one.stacks)
            alone.series.update(one.series)
    assert whole == alone


def test_frames_by_number_are_each_senders_own_and_in_order() -> None:
    """Also where a request among them is bad, so that all are decoded twice."""
    senders, texts = [Sender("a", 1), Sender("b", 1)], [["p", "q"], ["r", "s"]]
    for bad in (False, True):
        requests, expected = [], dict[int, object]()
        for sender, names in zip(senders, texts, strict=True):
            ids = [frame_id(frame) for frame in frames_of(";".join(names))]
            first = message_of([names], [])
            first.first_frame_number = 1
            second = ingest_pb2.Definitions(strings=[""], frame_numbers=[2, -1])
            second.frame_check = number_check(b"".join(id_.to_bytes(8, "little") for id_ in reversed(ids)))
            second.stacks.depth.append(2)
            second.stacks.frame_index.extend([0, 1])
            requests += [Encoded(each.SerializeToString(), sender) for each in (first, second)]
            for stack in (ids, ids[::-1]):
                expected[stack_id(stack)] = make_stack(stack)
        if bad:
            requests.insert(1, Encoded(encoded(message_of([["x"]], []), "kind")))
        found, faults = decode_definitions(requests, LIMITS, WireNumbers())
        assert found.stacks == expected
        assert {place: type(why) for place, why in faults.items()} == ({1: Refused} if bad else {})
