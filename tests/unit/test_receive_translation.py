"""Foreign profiles become our own windows: the values, types, labels, frames and times that were sent."""

import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.ingest.admission import admit, receive
from collector.ingest.limits import Limits
from collector.ingest.loss_ledger import LossLedger
from collector.ingest.refusal import Refused
from collector.receivers.foreign import Foreign, Row, from_profile
from collector.receivers.inbox import Inbox, Taken
from collector.receivers.measured import Unsupported, choose
from collector.receivers.otlp_layout import BEFORE_DICTIONARY, BEFORE_STACKS, VALUES_SECOND
from collector.receivers.otlp_profiles import decode_request, read_request
from collector.receivers.times import parse_ns
from collector.receivers.uploads import Upload, read_file
from collector.receivers.windows import make_requests
from fleetprof.errors import InputError
from fleetprof.formats import pprof
from fleetprof.formats.stack_profile import SAMPLES_COUNT, ValueType, from_stacks
from fleetprof.frames import Frame, FrameKind
from fleetprof.losses import DropReason
from fleetprof.profile_types import ProfileType
from tests.unit.foreign_requests import OtlpProfiles, golden
from tests.unit.translated import frames_of, rows_of

NOW_S = 1_795_256_600
START_S = NOW_S - 100  # a window's start
LABELS = {"service": "shop", "host": "box"}


def otlp(request: OtlpProfiles) -> tuple[list[bytes], Taken]:
    inbox, taken = Inbox(lambda data: pytest.fail("nothing is pushed"), LossLedger()), Taken()
    found = read_request(inbox, decode_request(request.encode()), "10.0.0.1", taken)
    inbox.close()
    return make_requests(found, 1, NOW_S), taken


def test_an_otlp_profile() -> None:
    request = OtlpProfiles(
        {"service.name": "shop", "service.version": "1.2", "host.name": "box", "os.type": "x"}
    )
    request.location("run", "cpython", inlined="fast")
    request.profile({"run;main": [50], "main": [7]}, START_S, attributes={"thread.name": "t-1"})
    made, _ = otlp(request)
    labels = (("host", "box"), ("service", "shop"), ("thread", "t-1"), ("version", "1.2"))
    assert rows_of(made) == {
        (START_S, "cpu", labels, "fast;run;main"): 50,
        (START_S, "cpu", labels, "main"): 7,
    }
    kinds = {frame.function: (frame.kind, frame.line) for frame in frames_of(made)}
    assert kinds == {
        "fast": (FrameKind.PYTHON, 7), "run": (FrameKind.PYTHON, 7), "main": (FrameKind.NATIVE, 7),
    }  # fmt: skip


def test_otlp_samples_with_times_fall_into_their_windows() -> None:
    times = [(START_S + 3) * 10**9, (START_S + 12) * 10**9, (START_S + 12) * 10**9 + 1]
    request = OtlpProfiles(LABELS).profile(
        {"leaf;main": []}, START_S, ("samples", "count"), duration_s=20, timestamps={"leaf;main": times}
    )
    made, _ = otlp(request)
    by_window = {window: value for (window, *_), value in rows_of(made).items()}
    assert by_window == {START_S: 10_000_000, START_S + 10: 20_000_000}
    second = admit(receive(made[1], Limits()), Limits(), NOW_S)
    assert second.start_s == START_S + 10


def test_counts_beside_times_of_the_same_samples_are_not_added() -> None:
    request = OtlpProfiles(LABELS)
    request.profile({"main": [3]}, START_S, ("samples", "count"))
    request.profile({"main": [30_000_000]}, START_S, ("cpu", "nanoseconds"))
    assert sum(rows_of(otlp(request)[0]).values()) == 30_000_000


def test_a_profile_of_memory_is_rejected_and_the_others_are_taken() -> None:
    request = OtlpProfiles(LABELS).profile({"main": [9]}, START_S, ("alloc_space", "bytes"))
    request.profile({"main": [5]}, START_S)
    made, taken = otlp(request)
    assert sum(rows_of(made).values()) == 5
    assert taken.rejected == 1
    assert "alloc_space/bytes" in taken.problems[0]
    assert "offcpu" in taken.problems[0]


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("otlp-profiles-1.7.bin", BEFORE_STACKS),
        ("otlp-profiles-1.9.bin", VALUES_SECOND),
        ("otlp-profiles-1.9-attributes.bin", VALUES_SECOND),
        ("otlp-profiles-1.9-times.bin", VALUES_SECOND),
    ],
)
def test_other_layouts_are_refused_by_name(name: str, layout: str) -> None:
    inbox = Inbox(lambda data: pytest.fail("nothing is pushed"), LossLedger())
    with pytest.raises(Refused, match="OTLP profiles are in a layout") as caught:
        read_request(inbox, decode_request(golden(name)), "", Taken())
    inbox.close()
    assert layout in caught.value.message
    assert caught.value.reason is DropReason.PROTOCOL_VERSION


def test_a_request_without_dictionary_is_refused_by_name() -> None:
    request = OtlpProfiles(LABELS).profile({"main": [5]}, START_S)
    request.message.ClearField("dictionary")
    with pytest.raises(Refused) as caught:
        otlp(request)
    assert BEFORE_DICTIONARY in caught.value.message


def test_a_request_with_a_field_that_is_not_known_is_refused() -> None:
    data = OtlpProfiles(LABELS).profile({"main": [5]}, START_S).encode() + b"\x7a\x01x"  # field 15
    inbox = Inbox(lambda data: pytest.fail("nothing is pushed"), LossLedger())
    with pytest.raises(Refused) as caught:
        read_request(inbox, decode_request(data), "", Taken())
    inbox.close()
    assert caught.value.reason is DropReason.PROTOCOL_VERSION


def test_a_pprof_file_of_go() -> None:
    upload = Upload(LABELS)
    made = make_requests(read_file(golden("go-cpu.pb.gz"), upload), 1, NOW_S)
    rows = rows_of(made)
    assert sum(rows.values()) == 740_000_000  # as `go tool pprof -top` says
    of_endpoint: Counter[str] = Counter()
    for (_, _, labels, _), value in rows.items():
        of_endpoint[dict(labels).get("endpoint", "")] += value
    assert of_endpoint["/buy"] > of_endpoint[""] > 0
    frames = {frame.function: frame for frame in frames_of(made)}
    assert frames["main.leaf"].kind is FrameKind.GO
    assert (frames["main.leaf"].mapping, frames["main.leaf"].line) == ("gob", 10)
    assert frames["main.leaf"].build_id == "d6daddd986293034dd2d1d921b8b7e68483980fa"


def test_folded_stacks_of_py_spy() -> None:
    upload = Upload(LABELS, "folded", START_S * 10**9, (START_S + 3) * 10**9, kind=FrameKind.PYTHON)
    made = make_requests(read_file(golden("py-spy.folded"), upload), 1, NOW_S)
    labels = tuple(sorted(LABELS.items()))
    leaf_first = "inner (spin.py:4);outer (spin.py:6);<module> (spin.py:8)"
    assert rows_of(made) == {(START_S, "cpu", labels, leaf_first): 299 * 10_000_000}
    assert {frame.kind for frame in frames_of(made)} == {FrameKind.PYTHON}


@pytest.mark.parametrize(
    ("types", "period", "chosen"),
    [
        ([("samples", "count"), ("cpu", "nanoseconds")], ("cpu", "nanoseconds", 10), (ProfileType.CPU, 1, 1)),
        ([("samples", "count")], ("cpu", "microseconds", 10), (ProfileType.CPU, 0, 10_000)),
        ([("offcpu", "ms")], ("", "", 0), (ProfileType.OFFCPU, 0, 10**6)),
        ([("events", "nanoseconds")], ("", "", 0), (ProfileType.OFFCPU, 0, 1)),
        ([("runq", "s")], ("", "", 0), (ProfileType.RUNQ, 0, 10**9)),
    ],
)
def test_types_and_units(
    types: list[tuple[str, str]], period: tuple[str, str, int], chosen: tuple[ProfileType, int, int]
) -> None:
    columns = choose([ValueType(*each) for each in types], ValueType(*period[:2]), period[2])
    assert [(column.type, column.place, column.factor) for column in columns] == [chosen]


@pytest.mark.parametrize(
    "types", [[("alloc_space", "bytes")], [("samples", "count")], [("cpu", "bytes")], [("wall", "ns")], []]
)
def test_types_that_are_not_kept_are_refused_by_name(types: list[tuple[str, str]]) -> None:
    with pytest.raises(Unsupported, match="supported: cpu, offcpu and runq") as caught:
        choose([ValueType(*each) for each in types], ValueType("space", "bytes"), 512)
    assert all(f"{name}/{unit}" in str(caught.value) for name, unit in types)


def foreign(rows: list[Row], start_ns: int, end_ns: int) -> Foreign:
    frames = [Frame(FrameKind.NATIVE, name, "app") for name in "abc"]
    return Foreign(LABELS, ProfileType.CPU, frames, [[0, 2], [1, 2]], rows, start_ns, end_ns)


@given(
    values=st.lists(st.tuples(st.integers(0, 10**12), st.integers(0, 1000), st.integers(0, 1)), min_size=1),
    start_s=st.floats(0, 60),
    length_s=st.floats(0, 120),
)
def test_a_long_profile_is_spread_and_its_sums_are_exact(
    values: list[tuple[int, int, int]], start_s: float, length_s: float
) -> None:
    rows = [Row(stack, value, captures) for value, captures, stack in values]
    start_ns = int((START_S + start_s) * 10**9)
    end_ns = start_ns + int(length_s * 10**9)
    made = rows_of(make_requests([foreign(rows, start_ns, end_ns)], 1, NOW_S))
    sums: Counter[str] = Counter()
    for (window_s, _, _, stack), value in made.items():
        assert start_ns // 10**10 * 10 <= window_s
        assert window_s * 10**9 <= end_ns
        sums[stack] += value
    expected: Counter[str] = Counter()
    for value, _, stack in values:
        expected["a;c" if stack == 0 else "b;c"] += value
    assert +sums == +expected


def test_samples_of_a_long_profile_fall_into_windows_by_their_share() -> None:
    rows = [Row(0, 10_000_000, 1)] * 1000
    begin_ns = (START_S + 5) * 10**9
    made = make_requests([foreign(rows, begin_ns, begin_ns + 20 * 10**9)], 1, NOW_S)
    shares = [value / 10**10 for _, value in sorted(rows_of(made).items())]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.01)


def test_the_same_content_has_the_same_name_and_other_content_another() -> None:
    def names(run_id: int) -> list[tuple[str, int, int]]:
        rows = [Row(0, 100, 10), Row(1, 50, 5)]
        made = make_requests([foreign(rows, START_S * 10**9, (START_S + 25) * 10**9)], run_id, NOW_S)
        keys = [admit(receive(each, Limits()), Limits(), NOW_S).key for each in made]
        return [(key.agent_id, key.run_id, key.sequence) for key in keys]

    assert names(7) == names(7)
    assert len(set(names(7)) | set(names(8))) == 6


def test_deep_stacks_are_cut_from_the_leaf_and_counted() -> None:
    frames = [Frame(FrameKind.NATIVE, f"f{n}", "") for n in range(1500)]
    profile = from_stacks([frames], [[4, 40]], (SAMPLES_COUNT, ValueType("cpu", "nanoseconds")))
    (found,) = from_profile(profile, LABELS, START_S * 10**9, START_S * 10**9)
    window = admit(receive(make_requests([found], 1, NOW_S)[0], Limits()), Limits(), NOW_S)
    assert window.losses == {DropReason.STACK_TRUNCATED: 4}
    assert len(found.stacks[0]) == 1024
    assert found.frames[found.stacks[0][0]].function == "f0"


def test_names_that_are_no_text_are_made_text() -> None:
    upload = Upload({"service": "a\x00\udcff", "host": "h\x00" + "x" * 400}, "folded")
    made = make_requests(read_file(b"main;\xff\xfe\x00 3\n", upload), 1, NOW_S)
    window = admit(receive(made[0], Limits()), Limits(), NOW_S)
    assert len(window.host.encode()) <= 255
    assert sum(rows_of(made).values()) == 3 * 10_000_000


def test_negative_and_huge_values_are_refused() -> None:
    for value in (-1, 2**62):
        profile = from_stacks([[Frame(FrameKind.NATIVE, "a", "")]], [[value]], (ValueType("cpu", "s"),))
        with pytest.raises(Refused):
            read_file(pprof.encode(profile), Upload(LABELS))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1795256600", 1_795_256_600 * 10**9),
        ("1795256600.5", 1_795_256_600_500_000_000),
        ("1795256600123", 1_795_256_600_123_000_000),
        ("1795256600123456789", 1_795_256_600_123_456_789),
        ("2026-11-21T10:23:20Z", 1_795_256_600 * 10**9),
    ],
)
def test_times(text: str, expected: int) -> None:
    assert parse_ns(text, "from") == expected


@pytest.mark.parametrize("text", ["now-1h", "yesterday", "-5", "1e9", "²"])
def test_times_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match="from is not understood"):
        parse_ns(text, "from")


def test_a_profile_without_time_is_of_now() -> None:
    made = make_requests(read_file(b"main 3\n", Upload(LABELS, "folded")), 1, time.time())
    ((window_s, *_),) = rows_of(made)
    assert abs(window_s - time.time()) < 30
