"""Places inside functions: exact sums of the heaviest, through the wire, whatever else a request holds."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from agent.aggregate import ClosedWindow, RowStacks, WindowTimes, group
from agent.encode import encode_window
from agent.places import Places, PlaceSums
from agent.process import Process
from agent.run_numbers import RunNumbers
from agent.samples import U64
from collector.ingest.admission import admit
from collector.ingest.limits import Limits
from collector.ingest.packed import parse_packed
from collector.ingest.refusal import Refused
from collector.ingest.window import Sender
from collector.ingest.wire_numbers import WireNumbers
from fleetprof.frames import Frame, FrameKind, frame_id, stack_id
from fleetprof.series import series_id
from fleetprof.v1 import ingest_pb2
from tests.unit.rows import Row, captures

START_S = 1_790_002_800
TIMES = WindowTimes(START_S * 10**9, 0, 10**10)
LABELS = [{"host": "h", "service": name} for name in ("shop", "cart")]
FRAMES = [
    Frame(FrameKind.NATIVE, "hot", "app"), Frame(FrameKind.NATIVE, "warm", "app"),
    Frame(FrameKind.NATIVE, "", "app", "ab12", 64), Frame(FrameKind.KERNEL, "read", "[kernel]"),
]  # fmt: skip
HOT, WARM, NAMELESS, KERNEL = map(frame_id, FRAMES)
BY_ID = dict(zip((HOT, WARM, NAMELESS, KERNEL), FRAMES, strict=True))
STACKS = [(), (HOT,), (HOT, WARM), (WARM,), (NAMELESS,), (KERNEL, HOT)]
LEAF = {place: BY_ID[ids[0]].function for place, ids in enumerate(STACKS) if ids}
BUILDS = ("ab12", "cd34", "")


class Builds:
    """An address a is in build BUILDS[a % 3], at offset a // 3."""

    def build_places(self, process: Process, addrs: U64) -> list[tuple[str, int]]:
        return [(BUILDS[addr % 3], addr // 3) for addr in addrs.tolist()]


sample = st.tuples(
    st.integers(0, 1), st.integers(1, 5), st.integers(3, 90), st.integers(1, 3), st.integers(1, 10**9)
)


def closed(samples: list[tuple[int, int, int, int, int]], most: int, scale: int = 1) -> ClosedWindow:
    """A window of samples (series, stack, address, type, value), whose values were scaled afterwards."""
    rows = [
        Row(type=kind, value_ns=value, time_ns=5, user=[addr], kernel=[addr] if stack == 5 else [])
        for _, stack, addr, kind, value in samples
    ]
    table = captures(rows)
    series = np.array([row[0] for row in samples], np.uint32)
    stacks = RowStacks(np.array([row[1] for row in samples], np.uint32), list(map(stack_id, STACKS)), STACKS)
    summed = group(table, series, stacks.index, TIMES)
    summed.value[:] *= np.uint64(scale)
    process = Process.__new__(Process)
    places = PlaceSums(Builds(), most, np.random.default_rng(1)).of_window(
        table, [process] * len(rows), series, stacks, BY_ID, summed
    )
    return ClosedWindow(
        times=TIMES, cpu_exact=True, period_ns=1, cpu_count=1, rows=summed, stack_ids=stacks.ids,
        stacks=STACKS, frames=BY_ID, series_ids=list(map(series_id, LABELS)), series=LABELS, places=places,
    )  # fmt: skip


def sums_of(places: Places) -> Counter[tuple[int, str, str, int]]:
    found: Counter[tuple[int, str, str, int]] = Counter()
    columns = (places.series, places.stack, places.build, places.offset, places.value)
    for series, stack, build, offset, value in zip(*(column.tolist() for column in columns), strict=True):
        key = (series, LEAF[stack], places.build_ids[build], offset)
        assert key not in found
        found[key] = value
    return found


@given(st.lists(sample, max_size=60), st.integers(1, 3))
def test_places_of_a_function_add_up_to_its_rows(
    samples: list[tuple[int, int, int, int, int]], scale: int
) -> None:
    """To what is sent of the function: of a row whose leaf is in no build, in part or as a whole, nothing more."""
    window = closed(samples, 10_000, scale)
    found = sums_of(window.places) if window.places else Counter()
    own: Counter[tuple[int, str]] = Counter()
    for series, stack, kind, value in zip(
        *(c.tolist() for c in (window.rows.series, window.rows.stack, window.rows.type, window.rows.value)),
        strict=True,
    ):
        if kind == 1 and stack in (1, 2, 3):
            own[series, LEAF[stack]] += value
    placed: Counter[tuple[int, str]] = Counter()
    for (series, function, build, offset), value in found.items():
        assert any(
            row[:2] in {(series, 1), (series, 2), (series, 3)}
            and (BUILDS[row[2] % 3], row[2] // 3) == (build, offset)
            for row in samples
        )
        placed[series, function] += value
    nowhere = {(row[0], LEAF[row[1]]) for row in samples if row[2] % 3 == 2}
    for key, value in own.items():
        assert placed[key] <= value
        assert placed[key] == value or key in nowhere
    assert placed.keys() <= own.keys()


def test_the_heaviest_places_are_kept() -> None:
    samples = [(0, 1, 3 * addr, 1, addr * 10**8) for addr in range(1, 40)]
    kept = sums_of(closed(samples, 5).places)  # type: ignore[arg-type]
    assert sorted(offset for _, _, _, offset in kept) == [35, 36, 37, 38, 39]


def received(message: ingest_pb2.Window, numbers: WireNumbers) -> Counter[tuple[int, str, str, int]]:
    """What the collector makes of a window."""
    request = ingest_pb2.PushRequest(protocol_version=1, agent_id="a", run_id=1, sequence=1, window=message)
    places = admit(parse_packed(request.SerializeToString()), Limits(), START_S + 10, numbers).places
    assert places is not None
    leaf_of = {stack_id(ids): BY_ID[ids[0]].function for ids in STACKS if ids}
    series_of = {series_id(labels): number for number, labels in enumerate(LABELS)}
    columns = (places.series, places.stack, places.build, places.offset, places.value)
    return Counter(
        {
            (series_of[series], leaf_of[stack], places.build_ids[build], offset): value
            for series, stack, build, offset, value in zip(*(c.tolist() for c in columns), strict=True)
        }
    )


@settings(max_examples=40)
@given(st.lists(sample, min_size=1, max_size=40))
def test_the_collector_reads_the_places_that_the_agent_meant(
    samples: list[tuple[int, int, int, int, int]],
) -> None:
    """Also where stacks are named by number, and so in another order."""
    window, sending, holding = closed(samples, 30), RunNumbers(), WireNumbers()
    assume(window.places)
    expected = sums_of(window.places) if window.places else Counter()
    for again in (False, True):
        sent = sending.encode(window, "h", window, set(), set())
        assert bool(sent.window.stack_numbers) == again
        assert received(sent.window, holding) == expected
        known = holding.known(Sender("a", 1))
        sending.answered(sent, ingest_pb2.PushResponse(known_numbers=known))


def change(name: str, value: object) -> ingest_pb2.Window:
    message = encode_window(closed([(0, 1, 3, 1, 10**8), (1, 3, 4, 1, 10**8)], 30), "h")
    column = getattr(message.places, name)
    del column[:]
    column.extend(value)
    return message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("series", [0, 2]), ("series", [0]), ("stack_steps", [-1, 2]), ("stack_steps", [0, 6]), ("build", [0, 2]),
        ("build_ids", [b"", b"x"]), ("build_ids", [b"x" * 65, b"y"]), ("value", [1 << 63, 1]),
        ("value", [10**16, 1]), ("offset_steps", [-1, 0]), ("offset_steps", [2**63 - 1, 2**63 - 1]),
    ],
)  # fmt: skip
def test_places_that_mean_nothing_are_refused(name: str, value: list[int]) -> None:
    with pytest.raises(Refused):
        received(change(name, value), WireNumbers())
