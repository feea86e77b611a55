"""debuginfod servers: what they send is kept if it is what was asked for, and never believed otherwise."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from collector.debuginfo.debuginfod import ASK_AGAIN_S, Debuginfod
from collector.debuginfo.files import DebugFiles
from collector.debuginfo.intake import Intake
from collector.debuginfo.workers import WorkerLimits, Workers
from fleetprof.errors import InputError
from tests.workloads.stripped import Stripped, build_stripped

Answer = Callable[[BaseHTTPRequestHandler], None]


class Upstream:
    """A server whose answers a test gives; `asked` are the paths in order."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer: Answer = lambda request: request.send_error(404)
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                owner.asked.append(self.path)
                owner.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    found = Upstream()
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Stripped:
    return build_stripped("cpp", tmp_path_factory.mktemp("cpp"))


@pytest.fixture
def intake(tmp_path: Path) -> Intake:
    return Intake(DebugFiles(tmp_path / "kept", 1 << 20), Workers(WorkerLimits(cpu_s=60, wall_s=300)))


def sending(data: bytes, status: int = 200, **headers: str) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in {"Content_Length": str(len(data)), **headers}.items():
            if value:
                request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(data)

    return answer


def test_a_file_is_fetched_and_one_that_is_not_there_not_asked_for_again(
    upstream: Upstream, built: Stripped, intake: Intake
) -> None:
    now = 1000.0
    client = Debuginfod([upstream.url + "/"], intake, clock=lambda: now)
    assert client.worth_asking(built.build_id)
    assert not client.fetch(built.build_id)
    assert not client.worth_asking(built.build_id)
    now += ASK_AGAIN_S + 1
    assert client.worth_asking(built.build_id)
    upstream.answer = sending(built.debug.read_bytes())
    assert client.fetch(built.build_id)
    assert upstream.asked == [f"/buildid/{built.build_id}/debuginfo"] * 2
    (kept,) = intake.files.all()
    assert (kept.build_id, kept.name, kept.lines) == (built.build_id, "from 127.0.0.1", True)


def test_the_next_server_is_asked(upstream: Upstream, built: Stripped, intake: Intake) -> None:
    upstream.answer = sending(built.debug.read_bytes())
    assert Debuginfod(["http://127.0.0.1:1", upstream.url], intake).fetch(built.build_id)


@pytest.mark.parametrize(
    "wrong",
    [
        sending(b"no ELF file"),
        sending(b"", 500),
        sending(b"x" * 100, Content_Length=""),
        sending(b"x" * 100, Content_Length="1000"),
        sending(b"x" * 100, Content_Length="-5"),
        sending(b"x" * 100, Content_Length="many"),
        sending(b"x" * 100, Content_Length=str(1 << 40)),
        sending(b"", 302, Location="file:///etc/passwd"),
        sending(b"", 302, Location="ftp://127.0.0.1/x"),
        lambda request: request.wfile.write(b"no HTTP\r\n" * 1000),
        lambda request: request.connection.close(),
    ],
)
def test_what_is_no_debug_file_is_not_kept(
    wrong: Answer, upstream: Upstream, built: Stripped, intake: Intake
) -> None:
    upstream.answer = wrong
    assert not Debuginfod([upstream.url], intake).fetch(built.build_id)
    assert intake.files.all() == []
    assert list((intake.files.folder / "incoming").iterdir()) == []


def test_a_file_of_another_build_is_not_kept(upstream: Upstream, built: Stripped, intake: Intake) -> None:
    upstream.answer = sending(built.debug.read_bytes())
    assert not Debuginfod([upstream.url], intake).fetch("ab" * 20)
    assert intake.files.all() == []


def test_only_build_ids_are_asked_for(intake: Intake) -> None:
    assert not Debuginfod([], intake).worth_asking("../../secret")


@pytest.mark.parametrize("url", ["debuginfod.example", "file:///etc", "ftp://host/x", "http://"])
def test_a_wrong_url_is_told(url: str, intake: Intake) -> None:
    with pytest.raises(InputError, match="debuginfod_urls"):
        Debuginfod([url], intake)
