"""A function by line of source: what agents push, listed, against addr2line; its text; what is missing."""

import io
import shutil
import subprocess
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from collector.debuginfo.files import DebugFile, DebugFiles
from collector.debuginfo.intake import Intake
from collector.debuginfo.naming import Naming
from collector.debuginfo.workers import WorkerLimits, Workers
from collector.ingest.committer import Committer
from collector.ingest.journal import Journal
from collector.ingest.known import KnownDefinitions
from collector.ingest.limits import Limits
from collector.ingest.loss_ledger import LossLedger
from collector.pipeline import Pipeline
from collector.query.model import Matcher, Query, TimeRange
from collector.query.querier import Querier
from collector.sources.archives import Of
from collector.sources.assemble import open_archives, sources_of
from collector.sources.model import SourceListing, SourceQuestion
from collector.sources.unpack import source_files
from collector.store.interface import Store
from fleetprof.errors import InputError
from fleetprof.frames import Frame, FrameKind, frame_id, stack_id
from fleetprof.profile_types import selection
from fleetprof.series import series_id
from fleetprof.v1 import ingest_pb2
from query_ui import cli
from query_ui.app import UiConfig, create_app
from query_ui.server import serve
from tests.store.pushes import add_places, define, push_request, recent_window_s
from tests.store.test_debuginfo_names import START_S, ask, frames_of_an_agent, insert_stacks
from tests.ui import listed
from tests.ui.shop import NOW_S
from tests.workloads.build import SOURCES, tool
from tests.workloads.stripped import Stripped, build_stripped

pytestmark = pytest.mark.store

TOTAL = "shop::Cart::total() const"
MAIN = Frame(FrameKind.NATIVE, "main", "cpp")
SECOND = 10**9


@pytest.fixture(scope="module")
def cpp(tmp_path_factory: pytest.TempPathFactory) -> Stripped:
    return build_stripped("cpp", tmp_path_factory.mktemp("cpp"))


class Kept:
    """A data folder's debug files and sources."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.workers = folder, Workers(WorkerLimits(cpu_s=60, wall_s=300))
        self.files = DebugFiles(folder / "debuginfo", 1 << 30)
        self.sources = sources_of(folder)

    def upload(self, path: Path) -> DebugFile:
        return Intake(self.files, self.workers).take(path.name, path.stat().st_size, [path.read_bytes()]).file

    def upload_sources(self, of: Of, **texts: str) -> None:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for name, text in texts.items():
                archive.writestr(name.replace("__", "/"), text)
        packed.seek(0)
        open_archives(self.folder).keep(of, "sources.zip", source_files(packed))


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    found = Kept(tmp_path / "data")
    yield found
    found.sources.close()
    found.workers.close()


def code_of(built: Stripped, function: str) -> range:
    """The offsets of a function in the file; of a program whose code lies in the file as in memory."""
    lines = subprocess.run(
        [tool("nm"), "-C", "-S", built.whole], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    start, size = next(line.split()[:2] for line in lines if line.endswith(f" {function}"))
    return range(int(start, 16), int(start, 16) + int(size, 16))


def lines_by_addr2line(built: Stripped, offsets: Sequence[int]) -> list[list[tuple[str, int]]]:
    """(function, line) at each offset, innermost first, as binutils see it."""
    command = [tool("addr2line"), "-C", "-f", "-i", "-a", "-e", str(built.whole), *map(hex, offsets)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    found: list[list[tuple[str, int]]] = []
    rows = iter(out)
    for row in rows:
        if row.startswith("0x"):
            found.append([])
            continue
        line = next(rows).partition(" (")[0].rpartition(":")[2]
        found[-1].append((row, int(line) if line.isdigit() else 0))
    return found


def push(store: Store, folder: Path, *requests: ingest_pb2.PushRequest) -> None:
    known, ledger = KnownDefinitions(store), LossLedger()
    committer = Committer(store, Journal(folder / "journal"), known, ledger, linger_s=0.001)
    pipeline = Pipeline(known, committer, ledger, Limits())
    try:
        for request in requests:
            assert (
                pipeline.push(request.SerializeToString()).status == ingest_pb2.PushResponse.STATUS_ACCEPTED
            )
    finally:
        assert committer.stop(30)


def window_with_places(
    service: str, version: str, own: int, build_id: str, places: dict[int, int], sequence: int
) -> ingest_pb2.PushRequest:
    """A window in which TOTAL has `own` ns of its own, `places` says at which offsets of a build."""
    labels = {"host": f"host-{service}", "service": service, "version": version}
    start_s = recent_window_s(sequence)
    request = push_request([], labels, sequence, start_s, agent_id=service, defined=False)
    total = Frame(FrameKind.NATIVE, TOTAL, "cpp")
    stacks = [[MAIN, MAIN], [total, MAIN]]
    define(request.definitions, stacks, [labels])
    request.window.stack_ids.extend(stack_id(list(map(frame_id, stack))) for stack in stacks)
    request.window.series_ids.append(series_id(labels))
    samples = request.window.samples
    for stack, value in ((0, SECOND), (1, own)):
        samples.series.append(0)
        samples.stack.append(stack)
        samples.type.append(1)
        samples.value.append(value)
        samples.captures.append(1)
    add_places(request, places, build_id, stack=1)
    return request


def listing(kept: Kept, store: Store, query: Query, function: str = TOTAL, build: str = "") -> SourceListing:
    return kept.sources.listing(Querier(store), SourceQuestion(query, function, build_id=build))


def recent(service: str) -> Query:
    span = TimeRange(recent_window_s(20), recent_window_s(-1))
    return Query(selection("cpu"), (Matcher("service", "=", service),), span)


def values(found: SourceListing) -> dict[int, int]:
    return {line.number: line.value for line in found.lines if line.value}


def expected_lines(built: Stripped, places: dict[int, int]) -> tuple[dict[int, int], Counter[str]]:
    """Line of TOTAL → value, and inlined function → value."""
    lines, inlined = Counter[int](), Counter[str]()
    for value, chain in zip(places.values(), lines_by_addr2line(built, list(places)), strict=True):
        lines[chain[-1][1]] += value
        if len(chain) > 1:
            inlined[chain[-2][0].partition("(")[0]] += value
    return dict(lines), inlined


def test_what_agents_push_is_listed_by_line(
    store: Store, service: str, cpp: Stripped, kept: Kept, tmp_path: Path
) -> None:
    """At first nothing is known but the function; then the lines of its build; then the text of its version."""
    code = code_of(cpp, TOTAL)
    offsets = {offset: (place + 1) * 1000 for place, offset in enumerate(code[:: max(len(code) // 12, 1)])}
    own = sum(offsets.values()) + 500
    ours = cpp.build_id, offsets
    push(
        store, tmp_path, window_with_places(service, "1.4", own, *ours, 1),
        window_with_places(service, "1.4", own, *ours, 2),
        window_with_places(service, "1.3", 5 * SECOND, "abcdef0123", {77: 4 * SECOND}, 3),
    )  # fmt: skip
    whole = 2 * own + 5 * SECOND

    first = listing(kept, store, recent(service))
    assert (first.own, first.lines, first.unplaced, first.build_id) == (whole, [], whole, "abcdef0123")
    assert [build.lines_known for build in first.builds] == [False, False]
    assert "debuginfo upload" in first.notices[0].command

    kept.upload(cpp.debug)
    second = listing(kept, store, recent(service))
    lines, inlined = expected_lines(cpp, {offset: 2 * value for offset, value in offsets.items()})
    assert values(second) == lines
    assert (second.build_id, second.own) == (cpp.build_id, whole)
    assert second.unplaced == whole - 2 * sum(offsets.values())
    assert second.hottest == max(lines, key=lambda line: lines[line])
    found = Counter({name.partition("(")[0]: value for line in second.lines for name, value in line.inlined})
    assert found == inlined
    assert all(line.text is None for line in second.lines)
    assert f"--service {service} --version 1.4" in second.notices[0].command

    text = (SOURCES / "inlined.cc").read_text()
    kept.upload_sources(
        Of(service=service, version="1.3"), **{"tests__workloads__inlined.cc": "of another version"}
    )
    kept.upload_sources(Of(service=service, version="1.4"), **{"shop__tests__workloads__inlined.cc": text})
    third = listing(kept, store, recent(service))
    assert values(third) == lines
    assert [line.text for line in third.lines] == [
        line.expandtabs(8) for line in text.split("\n")[third.lines[0].number - 1 : third.lines[-1].number]
    ]
    assert (
        text.split("\n")[third.start_line - 1]
        .strip()
        .startswith("__attribute__((noinline)) unsigned long total")
    )
    assert third.text_from == f"sources.zip, uploaded for {service} 1.4"
    assert third.notices == []

    with pytest.raises(InputError, match="no time in build"):
        listing(kept, store, recent(service), build="0123456789")
    with pytest.raises(InputError, match="No function is called"):
        listing(kept, store, recent(service), "shop::Cart::totally()")
    callers = listing(
        kept, store, Query(selection("cpu"), (Matcher("service", "=", "none"),), recent(service).range)
    )
    assert "no time of its own" in callers.notices[0].text


def test_frames_without_a_name_are_places_themselves(
    store: Store, service: str, cpp: Stripped, kept: Kept
) -> None:
    """Their lines are what debug information said when it named them, and their time is all there."""
    code = code_of(cpp, TOTAL)
    nameless = [frame for frame in frames_of_an_agent(cpp.stripped, service, 4) if frame.offset in code]
    assert len(nameless) > 8
    rows = insert_stacks(store, service, [(frame, MAIN) for frame in nameless])
    each = int(rows.value.sum()) // len(nameless)
    naming = Naming(store, kept.files, kept.workers)
    naming.name_all(kept.upload(cpp.debug))
    shutil.rmtree(kept.files.folder)
    found = listing(kept, store, ask(service))
    lines, inlined = expected_lines(cpp, {frame.offset: each for frame in nameless})
    assert values(found) == lines
    assert (found.own, found.unplaced, found.build_id) == (each * len(nameless), 0, cpp.build_id)
    # The inlined function has its own lines, of the same frames.
    inner = listing(kept, store, ask(service), "shop::add_up(shop::Item const*, int)")
    assert sum(values(inner).values()) == inlined["shop::add_up"]
    assert inner.start_line <= inner.hottest < found.start_line


def test_interpreted_functions_have_text_without_values(store: Store, service: str, kept: Kept) -> None:
    leaf = Frame(FrameKind.PYTHON, "serve", "views.py", file="/srv/shop/app/views.py", line=3)
    insert_stacks(store, service, [(leaf,)])
    assert "sources upload FILE.zip" in listing(kept, store, ask(service), "serve").notices[1].command
    kept.upload_sources(Of(service=service), **{"app__views.py": "import os\n\ndef serve():\n    pass\n"})
    found = listing(kept, store, ask(service), "serve")
    assert (found.file, found.start_line, values(found)) == (leaf.file, 3, {})
    assert found.lines[2].text == "def serve():"
    assert [notice.text for notice in found.notices] == [
        "Lines of Python functions are not measured: values are of the whole function."
    ]


def test_the_terminal_prints_what_the_server_answers(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed.fill(store, tmp_path)
    sources = sources_of(tmp_path)
    running = serve(create_app(Querier(store), UiConfig(now=lambda: NOW_S, sources=sources)), "127.0.0.1", 0)
    try:
        asked = ["source", "total", "--service", "till", "--server", running.url]
        assert cli.run(asked) == 0
        lines = capsys.readouterr().out.splitlines()
        assert cli.run([*asked, "--build", listed.OLD, "--limit", "1"]) == 0
        other = capsys.readouterr().out.splitlines()
        assert cli.run(["source", "scan", "--server", running.url]) == 0
        missing = capsys.readouterr()
    finally:
        running.stop()
        sources.close()
    assert lines[1] == (
        f"{listed.TOTAL.file}:140, in till, build {listed.NEW}, "
        "text from till-3.2.tar.gz, uploaded for till 3.2"
    )
    rows = {line[20:27].strip(): line for line in lines[3:]}
    assert rows["147"].split() == ["50.00", "%", "█" * 10, "147", "sum", "+=", "cart->items[i].price;"]
    assert rows["160"].endswith("/* 160 */   ← round_up inlined")
    assert rows["148"].strip() == "148  /* 148 */"
    assert [line.split()[3] for line in other[3:4]] == ["146"]
    assert missing.out.startswith("scan: 0.005 cores of its own on average")
    assert "Set source_lines = 200" in missing.err


def test_long_ranges_are_listed_from_hourly_sums(store: Store, service: str, kept: Kept) -> None:
    leaf = Frame(FrameKind.NATIVE, "hourly", "app", file="/src/hourly.c", line=3)
    rows = insert_stacks(store, service, [(leaf,)])
    found = listing(kept, store, ask(service, start_s=START_S - 7200, seconds=5 * 7200), "hourly")
    assert found.own == int(rows.value.sum())
