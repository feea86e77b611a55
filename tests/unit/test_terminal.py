"""The terminal client without a store: tables, the call tree, and errors in one message with an exit code."""

import io
import socket
from collections.abc import Iterator

import pytest
from flask import Flask, Response

from fleetprof import __version__
from query_ui import cli
from query_ui.server import serve
from query_ui.terminal.call_tree import Line, lines_of
from query_ui.terminal.tables import print_table


def test_plain_tables_align_numbers_right() -> None:
    out = io.StringIO()
    print_table(
        out, ("Self", "Cores", "Function"), [("1.00 %", "0.5", "main"), ("12.00 %", "10.5", "f")], left=2
    )
    assert out.getvalue() == "   Self  Cores  Function\n 1.00 %    0.5  main\n12.00 %   10.5  f\n"


def test_names_cannot_drive_the_terminal() -> None:
    out = io.StringIO()
    print_table(out, ("Function",), [("evil\x1b[2Jname\r\n\udc80",)], left=0)
    assert out.getvalue() == "Function\nevil\ufffd[2Jname\ufffd\ufffd\ufffd\n"


def test_call_tree_sums_and_prunes() -> None:
    flame = {
        "names": ["(all)", "a", "b", "c"],
        "name": [0, 1, 2, 3],
        "depth": [0, 1, 2, 1],
        "self": [0, 60, 39, 1],
        "whole": 100,
    }
    assert list(lines_of(flame, 0.02)) == [
        Line(0, "(all)", 0, 100),
        Line(1, "a", 60, 99),
        Line(2, "b", 39, 39),
    ]


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as holder:  # bound but not listening: connections are refused
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@pytest.mark.parametrize("command", [["top"], ["query"], ["labels"], ["labels", "host"]])
def test_server_away(command: list[str], closed_port: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([*command, "--server", f"127.0.0.1:{closed_port}"]) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert "No fleetprof server answers" in said.err
    assert "fleetprof up" in said.err


LOGIN = "<html>a router's login</html>"


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, LOGIN), (200, "[]"), (401, LOGIN), (404, '{"message": "no such route"}'), (500, "[]"), (502, "")],
)
def test_other_servers_are_recognised(status: int, body: str, capsys: pytest.CaptureFixture[str]) -> None:
    app = Flask(__name__, static_folder=None)
    app.add_url_rule("/<path:rest>", view_func=lambda rest: Response(body, status=status))
    running = serve(app, "127.0.0.1", 0)
    try:
        assert cli.run(["top", "--server", running.url]) == 3
    finally:
        running.stop()
    assert "is not a fleetprof server" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["top", "--server", "ftp://x"], "not the URL of a server"),
        (["top", "--server", ""], "not the URL of a server"),
        (["labels", "a/../b", "--server", "http://127.0.0.1:1"], "not a label name"),
        (["query", "-o", "x", "--server", "http://127.0.0.1:1"], "not written to a file"),
    ],
)
def test_wrong_input(command: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(command) == 2
    assert said in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.run(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"fleetprof {__version__}\n"


def test_server_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, closed_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLEETPROF_SERVER", f"http://127.0.0.1:{closed_port}")
    assert cli.run(["labels"]) == 3
    assert str(closed_port) in capsys.readouterr().err
