"""Frames that were stored without a name are shown with it once their debug information is there."""

import functools
import os
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from agent.symbolize.elf import FileBytes
from agent.symbolize.load_object import load_object
from collector.compare.compare import compare
from collector.debuginfo.debuginfod import Debuginfod
from collector.debuginfo.files import SYMCACHE, DebugFile, DebugFiles
from collector.debuginfo.intake import Intake
from collector.debuginfo.namer import Namer
from collector.debuginfo.naming import Naming
from collector.debuginfo.origin import Origin
from collector.debuginfo.workers import WorkerLimits, Workers
from collector.ingest.definition_blocks import frame_block
from collector.query.model import Matcher, Profile, Query, TimeRange
from collector.query.querier import Querier
from collector.query.tallies import top_of
from collector.store.columns import from_ragged
from collector.store.interface import Store
from fleetprof.frames import UNSAMPLED, Frame, FrameKind, frame_id
from fleetprof.profile_types import selection
from tests.e2e.product import wait_until
from tests.store.generate import TYPES, Fleet, Rows, insert, make_rows
from tests.workloads.stripped import Stripped, build_stripped

pytestmark = pytest.mark.store

HOUR_S = 3600
START_S = 1_790_002_800
"""At a full hour."""


@pytest.fixture(scope="module")
def cpp(tmp_path_factory: pytest.TempPathFactory) -> Stripped:
    return build_stripped("cpp", tmp_path_factory.mktemp("cpp"))


@pytest.fixture(scope="module")
def rust(tmp_path_factory: pytest.TempPathFactory) -> Stripped:
    return build_stripped("rust", tmp_path_factory.mktemp("rust"))


class Kept:
    """Debug files that name frames of a store."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.files, self.workers = DebugFiles(folder, 1 << 30), Workers(WorkerLimits(cpu_s=60, wall_s=300))
        self.intake = Intake(self.files, self.workers)
        self.naming = Naming(store, self.files, self.workers)

    def upload(self, path: Path) -> DebugFile:
        return self.intake.take(path.name, path.stat().st_size, [path.read_bytes()]).file


@pytest.fixture
def kept(store: Store, tmp_path: Path) -> Iterator[Kept]:
    found = Kept(store, tmp_path / "debuginfo")
    yield found
    found.workers.close()


def frames_of_an_agent(path: Path, mapping: str, step: int) -> list[Frame]:
    """What an agent makes of each `step`-th byte of the code of a file that it finds no symbols in."""
    fd = os.open(path, os.O_RDONLY)
    try:
        source = FileBytes(fd)
        symbols = load_object(source, str(path), (), 64 << 20)
        assert symbols.segments
        starts, ends = symbols.segments.offsets.starts, symbols.segments.offsets.ends
        offsets = np.concatenate([np.arange(a, b, step) for a, b in zip(starts, ends, strict=True)])
        frames = symbols.frames(source, offsets.astype(np.uint64), mapping)
    finally:
        os.close(fd)
    return [frame for frame in frames if not frame.function]


def insert_stacks(store: Store, service: str, stacks: list[tuple[Frame, ...]], versions: str = "1") -> Rows:
    """A row of one second for each stack, host (3) and version, in three windows of ten seconds."""
    frames = list(dict.fromkeys(frame for stack in stacks for frame in stack))
    place = {frame: number for number, frame in enumerate(frames)}
    labels = [
        {"host": f"{service}-{version}-{host}", "service": service, "version": version}
        for version in versions
        for host in range(3)
    ]
    fleet = Fleet(START_S, 3, (service,))
    shape = (3, len(labels), len(stacks))
    window, series, stack = (part.ravel() for part in np.indices(shape))
    rows = Rows(
        fleet, labels, frames, [(), *(tuple(place[frame] for frame in stack) for stack in stacks)],
        START_S + 10 * window, series, np.zeros(len(stack), np.int64), stack + 1,
        np.full(len(stack), 10**9, np.uint64), np.ones(len(stack), np.uint64),
        [(each["host"], START_S + 10 * number) for each in labels for number in range(3)],
    )  # fmt: skip
    insert(store, rows)
    return rows


def ask(service: str, version: str = "", start_s: int = START_S, seconds: int = 30) -> Query:
    matchers = [Matcher("service", "=", service)]
    if version:
        matchers.append(Matcher("version", "=", version))
    return Query(selection("cpu"), tuple(matchers), TimeRange(start_s, start_s + seconds))


def stacks_of(profile: Profile) -> Counter[tuple[str, ...]]:
    found: Counter[tuple[str, ...]] = Counter()
    for row, value in enumerate(profile.values.tolist()):
        codes = profile.frame_index[profile.starts[row] : profile.starts[row + 1]].tolist()
        found[tuple(profile.frames[code].name for code in codes)] += value
    return found


def bare(name: str) -> str:
    return name.partition("(")[0].rpartition("::")[2]


@pytest.mark.parametrize("language", ["cpp", "rust"])
def test_stripped_programs_get_names_and_inlined_functions_in_old_data(
    store: Store, service: str, language: str, request: pytest.FixtureRequest, kept: Kept
) -> None:
    """Every frame whose code the debug file knows; the rest stays mapping+0xoffset."""
    built: Stripped = request.getfixturevalue(language)
    start = Frame(FrameKind.NATIVE, "_start", "libc.so.6")
    nameless = frames_of_an_agent(built.stripped, service, 16 if language == "cpp" else 512)
    assert {frame.build_id for frame in nameless} == {built.build_id}
    insert_stacks(store, service, [(frame, start) for frame in nameless])
    querier = Querier(store)
    before = querier.profile(ask(service))
    assert {name[0] for name in stacks_of(before)} == {frame.name for frame in nameless}
    file = kept.upload(built.debug)
    kept.naming.name_all(file)
    after = Querier(store).profile(ask(service))
    assert after.total == before.total
    names = stacks_of(after)
    deepest = ["taxed", "add_up", "total", "_start"]
    assert any([bare(name) for name in stack[-4:]] == deepest for stack in names), names
    still = {stack[0] for stack in names if stack[0].startswith(f"{service}+0x")}
    # Rust's code is all known; in C++'s are a few bytes of start-up code and stubs without debug information.
    assert len(still) <= len(nameless) * (0.1 if language == "rust" else 0.4), still
    total = next(frame for frame in after.frames if bare(frame.name) == "total")
    is_rust = total.kind is FrameKind.RUST
    assert (total.mapping, Path(total.file).name) == (service, f"inlined.{'rs' if is_rust else 'cc'}")
    source = (Path(__file__).parents[1] / "workloads" / Path(total.file).name).read_text().splitlines()
    # The function's own line, or that of the first code in it.
    assert any("total(" in line for line in source[total.line - 2 : total.line])
    top, everything = Querier(store).top(ask(service))
    assert everything == after.total
    assert [(row.frame, row.self_value, row.total_value) for row in top[:5]] == [
        (row.frame, row.self_value, row.total_value) for row in top_of(after)[:5]
    ]


def test_frames_that_come_later_are_named_and_a_better_file_names_anew(
    store: Store, service: str, cpp: Stripped, kept: Kept
) -> None:
    frames = frames_of_an_agent(cpp.stripped, service, 64)
    half = len(frames) // 2
    insert_stacks(store, service, [(frame,) for frame in frames[:half]])
    file = kept.upload(cpp.whole)
    kept.naming.name_all(file)
    first = kept.naming.named
    insert_stacks(store, service, [(frame,) for frame in frames[half:]])
    for found, page in kept.naming.name_new([file]):
        assert found == file
        kept.naming.name(found, page)
    assert kept.naming.named > first
    assert list(kept.naming.name_new([file])) == []
    again = kept.upload(cpp.debug)
    kept.naming.name_all(again)
    names = {name for stack in stacks_of(Querier(store).profile(ask(service))) for name in stack}
    assert "total" in map(bare, names)


def test_the_thread_names_what_any_process_puts_into_the_folder(
    store: Store, service: str, cpp: Stripped, kept: Kept
) -> None:
    frames = frames_of_an_agent(cpp.stripped, service, 64)
    insert_stacks(store, service, [(frame,) for frame in frames])
    namer = Namer(kept.naming, kept.files, look_every_s=0.05, name_new_every_s=0.05)
    try:
        file = kept.upload(cpp.debug)
        wait_until(lambda: (found := kept.files.find(file.build_id)) and found.named, "the frames are named")
        assert kept.files.open(file, SYMCACHE)
        damaged = kept.upload(cpp.whole)
        cache = kept.files.folder / f"{damaged.build_id}.{damaged.version}.symcache"
        wait_until(lambda: (found := kept.files.find(file.build_id)) and found.named, "they are named anew")
        cache.write_bytes(b"no symcache")
        insert_stacks(store, service, [(frame._replace(mapping=service + "-2"),) for frame in frames])
        wait_until(lambda: (found := kept.files.find(file.build_id)) and found.problem, "it is given up")
    finally:
        kept.workers.close()
        namer.stop()


def symbolize(store: Store, frames: list[Frame], chains: list[list[Frame]]) -> None:
    """As Naming does."""
    functions = {frame_id(frame): frame for chain in chains for frame in chain}
    store.insert("frames", frame_block(functions), uuid.uuid4().hex)
    flat = np.array([frame_id(frame) for chain in chains for frame in chain], np.uint64)
    lengths = [len(chain) for chain in chains]
    block = {
        "id": np.array([frame_id(frame) for frame in frames], np.uint64),
        "functions": from_ragged(flat, lengths),
        "lines": from_ragged(np.zeros(len(flat), np.uint32), lengths),
        "updated_ns": np.full(len(frames), time.time_ns(), np.uint64),
    }
    store.insert("symbolized", block, uuid.uuid4().hex)


def _which(frame: Frame) -> str:
    return frame.name + frame.mapping


@pytest.mark.parametrize("hours", [0, 7])
def test_answers_are_the_sums_over_stacks_as_they_are_read(store: Store, service: str, hours: int) -> None:
    """Random stacks, some frames named later: by stack and by function, from samples and from roll-ups."""
    windows = max(hours * 360, 6)
    rows = make_rows(Fleet(START_S, windows, (service,), hosts=1, functions=30, rows_a_window=3, seed=hours))
    own = [
        frame._replace(mapping=f"{service}-{frame.mapping}", build_id=frame.build_id and service)
        for frame in rows.frames
    ]
    rows = replace(rows, frames=own)
    insert(store, rows)
    nameless = [frame for frame in own if not frame.function and frame.kind is not FrameKind.KERNEL]
    assert len(nameless) >= 2
    existing = next(frame for frame in own if frame.function)
    inlined = Frame(FrameKind.NATIVE, "inlined", service, "", 0, "a.cc", 3)
    outer = Frame(FrameKind.NATIVE, "outer", service, "", 0, "a.cc", 1)
    chains = [[inlined, outer], [outer], [existing]]
    named = dict(zip(nameless, chains, strict=False))
    symbolize(store, list(named), list(named.values()))

    def read(stack: int) -> tuple[Frame, ...]:
        found = [part for place in rows.stacks[stack] for part in named.get(own[place], [own[place]])]
        return tuple(found) or (UNSAMPLED,)

    query = ask(service, seconds=max(windows * 10, HOUR_S * hours + 10))
    cpu = np.flatnonzero(rows.type == TYPES.index("cpu"))
    expected: Counter[tuple[str, ...]] = Counter()
    self_of: Counter[Frame] = Counter()
    total_of: Counter[Frame] = Counter()
    for row in cpu.tolist():
        frames, value = read(int(rows.stack[row])), int(rows.value[row])
        expected[tuple(frame.name for frame in frames)] += value
        self_of[frames[0]] += value
        for frame in set(frames):
            total_of[frame] += value
    querier = Querier(store)
    assert stacks_of(querier.profile(query)) == expected
    top, everything = querier.top(query, limit=1000)
    assert everything == sum(expected.values())
    found = {row.frame.name + row.frame.mapping: (row.self_value, row.total_value) for row in top}
    assert found == {frame.name + frame.mapping: (self_of[frame], total) for frame, total in total_of.items()}


def test_comparisons_speak_of_functions_too(store: Store, service: str) -> None:
    """Two offsets of one function, each in a version of its own."""
    one, two = (Frame(FrameKind.NATIVE, "", service, service, offset) for offset in (16, 32))
    main = Frame(FrameKind.NATIVE, "main", service)
    insert_stacks(store, service, [(one, main), (two, main)], versions="12")
    before = compare(store, ask(service, "1"), ask(service, "2"))
    assert {one, two} <= set(before.frames)
    work = Frame(FrameKind.NATIVE, "work", service, file="a.cc", line=2)
    symbolize(store, [one, two], [[work], [work]])
    after = compare(store, ask(service, "1"), ask(service, "2"))
    assert {frame.name for frame in after.frames} == {"work", "main"}


def test_files_of_nameless_builds_are_fetched_from_upstream(
    store: Store, service: str, cpp: Stripped, kept: Kept, tmp_path: Path
) -> None:
    """A static tree of files is a debuginfod server, too."""
    insert_stacks(store, service, [(frame,) for frame in frames_of_an_agent(cpp.stripped, service, 16)])
    folder = tmp_path / "served" / "buildid" / cpp.build_id
    folder.mkdir(parents=True)
    (folder / "debuginfo").write_bytes(cpp.debug.read_bytes())
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "served"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        upstream = Debuginfod([f"http://127.0.0.1:{server.server_port}"], kept.intake)
        namer = Namer(kept.naming, kept.files, upstream, look_every_s=0.05, name_new_every_s=0.05)
        try:
            wait_until(
                lambda: (found := kept.files.find(cpp.build_id)) and found.named, "it is fetched and used"
            )
            kept.files.remove(cpp.build_id)
            data = cpp.whole.read_bytes()
            kept.intake.take("x", len(data), [data], cpp.build_id, Origin.AGENT)
            wait_until(
                lambda: (found := kept.files.find(cpp.build_id)) and found.origin is Origin.DEBUGINFOD,
                "it is fetched although an agent brought it",
            )
        finally:
            kept.workers.close()
            namer.stop()
            server.shutdown()
    names = {name for stack in stacks_of(Querier(store).profile(ask(service))) for name in stack}
    assert "total" in map(bare, names)
