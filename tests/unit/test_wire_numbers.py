"""Stacks and frames by number: a window means what its agent saw, or is asked for again."""

import time
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import wire_numbers as sending
from agent.aggregate import ClosedWindow
from agent.encode import encode_definitions, encode_window
from agent.run_numbers import Encoded, RunNumbers
from collector.ingest.admission import admit, receive
from collector.ingest.definitions import Stack
from collector.ingest.limits import Limits
from collector.ingest.refusal import Refused
from collector.ingest.rows import decode_rows
from collector.ingest.window import Sender
from collector.ingest.wire_numbers import IDLE_S, AgreedNumbers, NumbersLost, WireNumbers
from fleetprof.frames import Frame, FrameKind, frame_id, stack_id
from fleetprof.v1 import ingest_pb2
from tests.unit.defined import defined
from tests.unit.rows import Row
from tests.unit.test_encode import window

LIMITS = Limits()
NAMES = [Frame(FrameKind.NATIVE, f"f{number}", "app") for number in range(12)]
LABELS = [{"host": "h", "service": "a"}, {"host": "h", "service": "b"}]

Meaning = list[tuple[int, int, int, int, int, tuple[int, ...]]]


def window_of(picks: list[int]) -> ClosedWindow:
    """One row a pick; stack n is made of the frames that n's bits name, under a common root."""
    distinct = list(dict.fromkeys(picks))
    frames = [[NAMES[bit] for bit in range(11) if pick >> bit & 1] + [NAMES[11]] for pick in distinct]
    rows = [
        Row(type=1 + place % 3, value_ns=1 + place, time_ns=10**9 + place * 10**8)
        for place in range(len(picks))
    ]
    return window(rows, frames, LABELS)


def meaning(made: ClosedWindow) -> Meaning:
    rows, starts = made.rows, made.rows.offset_starts
    return sorted(
        (made.series_ids[series], made.stack_ids[stack], kind, value, captures, tuple(rows.offsets[first:last]))
        for series, stack, kind, value, captures, first, last in zip(
            rows.series, rows.stack, rows.type.tolist(), rows.value.tolist(), rows.captures.tolist(), starts[:-1],
            starts[1:], strict=True,
        )
    )  # fmt: skip


@dataclass
class Agent:
    """Sends windows as an agent does, and defines what it has not defined before."""

    run_id: int = 7
    numbers: RunNumbers = field(default_factory=RunNumbers)
    defined: set[int] = field(default_factory=set)
    sequence: int = 0

    def encode(self, made: ClosedWindow) -> tuple[bytes, Encoded]:
        self.sequence += 1
        sent = self.numbers.encode(made, "h", made, set(made.stack_ids) - self.defined, set())
        return self._request(sent.window, sent.definitions), sent

    def plain(self, made: ClosedWindow) -> bytes:
        return self._request(encode_window(made, "h"), encode_definitions(made, set(made.stack_ids), set()))

    def answered(self, sent: Encoded, collector: "Collector") -> None:
        self.numbers.answered(sent, collector.answer(self.run_id))
        self.defined.update(sent.window.stack_ids)

    def _request(self, content: ingest_pb2.Window, definitions: ingest_pb2.Definitions) -> bytes:
        content.start_unix_ns = int(time.time()) // 10 * 10**10
        return ingest_pb2.PushRequest(
            protocol_version=1, agent_id="agent", run_id=self.run_id, sequence=self.sequence, window=content,
            definitions=definitions,
        ).SerializeToString()  # fmt: skip


@dataclass
class Collector:
    """What a collector makes of requests."""

    numbers: AgreedNumbers = field(default_factory=AgreedNumbers)
    stacks: dict[int, Stack] = field(default_factory=dict)

    def take(self, data: bytes) -> Meaning:
        taken = admit(receive(data, LIMITS), LIMITS, time.time(), self.numbers.stacks)
        self.stacks |= defined(taken.definitions, sender=taken.key.sender, numbers=self.numbers.frames).stacks
        rows, refused = decode_rows([taken], LIMITS)
        if refused:
            raise refused[0]
        ends = rows.offset_count.cumsum()
        offsets = [tuple(rows.offsets[end - n : end]) for n, end in zip(rows.offset_count, ends, strict=True)]
        columns = (
            rows.series_ids[rows.series],
            rows.stack_ids[rows.stack],
            rows.type,
            rows.value,
            rows.captures,
        )
        return sorted(zip(*(column.tolist() for column in columns), offsets, strict=True))

    def answer(self, run_id: int) -> ingest_pb2.PushResponse:
        sender = Sender("agent", run_id)
        return ingest_pb2.PushResponse(
            known_numbers=self.numbers.stacks.known(sender), known_frames=self.numbers.frames.known(sender)
        )


PICKS = st.lists(st.integers(0, 2047), min_size=1, max_size=12)
FATES = st.sampled_from(["stored", "stored", "stored", "answer lost", "collector restarts", "agent restarts"])


@given(st.lists(st.tuples(PICKS, FATES), max_size=12), st.integers(0, 20))
def test_a_window_is_read_as_it_was_meant_or_asked_for_again(
    rounds: list[tuple[list[int], str]], late: int
) -> None:
    agent, collector, earlier = Agent(), Collector(), list[bytes]()
    for picks, fate in rounds:
        made = window_of(picks)
        data, sent = agent.encode(made)
        if fate == "collector restarts":
            collector.numbers = AgreedNumbers()
        try:
            assert collector.take(data) == meaning(made)
            if fate != "answer lost":
                agent.answered(sent, collector)
        except NumbersLost:
            agent.numbers.forget()
            assert collector.take(agent.plain(made)) == meaning(made)
        for number, frames in zip(made.stack_ids, made.stacks, strict=True):
            assert collector.stacks[number].frames == np.array(frames, "<u8").tobytes()
        earlier.append(data)
        if fate == "agent restarts":
            agent = Agent(run_id=agent.run_id + 1)
        elif late < len(earlier):
            try:
                collector.take(earlier[late])  # a duplicate that was under way for long
            except NumbersLost:
                pass


def test_known_stacks_and_frames_take_a_byte_or_two() -> None:
    agent, collector, made = Agent(), Collector(), window_of(list(range(1, 200)))
    data, sent = agent.encode(made)
    collector.take(data)
    agent.answered(sent, collector)
    again, sent = agent.encode(made)
    assert not sent.window.stack_ids
    assert not sent.window.samples.stack
    assert collector.take(again) == meaning(made)
    other = window_of([201])  # of frames that are known
    data, sent = agent.encode(other)
    assert len(sent.window.stack_ids) == len(sent.definitions.stacks.depth) == 1
    assert not sent.definitions.frames.kind
    assert len(sent.definitions.frame_numbers) == len(other.stacks[0])
    assert collector.take(data) == meaning(other)
    assert stack_id([frame_id(NAMES[bit]) for bit in (0, 3, 6, 7, 11)]) in collector.stacks


def test_a_collector_that_holds_no_numbers_gets_ids() -> None:
    """One of before numbers were there, or one whose memory for them is used up."""
    agent, made = Agent(), window_of([1, 2, 3])
    for _ in range(3):
        _, sent = agent.encode(made)
        assert list(sent.window.stack_ids) == made.stack_ids
        assert sent.window.samples.stack
        assert not sent.definitions.frame_numbers
        agent.numbers.answered(sent, ingest_pb2.PushResponse())


def test_numbers_begin_again_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "MOST_NUMBERS", 20)
    agent, collector = Agent(), Collector()
    for first in range(1, 100, 6):
        made = window_of(list(range(first, first + 12)))
        data, sent = agent.encode(made)
        assert collector.take(data) == meaning(made)
        agent.answered(sent, collector)
        assert collector.numbers.stacks.known(Sender("agent", 7)) <= 20


def test_memory_is_bounded_and_who_is_silent_makes_room() -> None:
    now = [0.0]
    numbers = WireNumbers(limit_bytes=2 * 256 * 8, clock=lambda: now[0])
    ids = np.arange(100, dtype="<u8").tobytes()
    none = np.empty(0, np.int64)
    for name in "abc":
        assert numbers.take(Sender(name, 1), none, 1, ids, 0) == ids
    assert [numbers.known(Sender(name, 1)) for name in "abc"] == [100, 100, 0]
    now[0] = IDLE_S + 1
    numbers.take(Sender("b", 1), none, 101, ids, 0)
    numbers.take(Sender("c", 1), none, 1, ids, 0)
    assert [numbers.known(Sender(name, 1)) for name in "abc"] == [0, 200, 100]
    assert numbers.known(Sender("b", 2)) == 0
    for run in range(2, 50):  # each run of an agent takes the place of the one before
        numbers.take(Sender("b", run), none, 1, ids, 0)
        assert numbers.known(Sender("b", run)) == 100


@pytest.mark.parametrize(
    "spoil",
    [
        lambda request: request.window.samples.stack.extend([0]),
        lambda request: request.window.samples.stack_steps.append(1),
        lambda request: request.window.samples.stack_steps.__setitem__(0, -1),
        lambda request: request.window.samples.stack_steps.__setitem__(0, 2**31 - 1),
        lambda request: request.window.stack_numbers.__setitem__(0, 2**31 - 1),
        lambda request: request.window.stack_numbers.__setitem__(0, -(2**31)),
        lambda request: request.window.stack_ids.append(5),
    ],
)
def test_broken_numbers_are_refused_or_asked_for_again(spoil: object) -> None:
    agent, collector, made = Agent(), Collector(), window_of([1, 2, 3])
    data, sent = agent.encode(made)
    collector.take(data)
    agent.answered(sent, collector)
    request = ingest_pb2.PushRequest.FromString(agent.encode(made)[0])
    spoil(request)  # type: ignore[operator]
    with pytest.raises((Refused, NumbersLost)):
        collector.take(request.SerializeToString())
