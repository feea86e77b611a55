"""The `fleetprof` command against the real server over a real store."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.query.querier import Querier
from collector.store.chdb import ChdbStore
from fleetprof.formats import pprof
from query_ui import cli
from query_ui.app import UiConfig, create_app
from query_ui.server import serve
from tests.store.generate import Fleet, Rows, insert, make_rows

START_S = 1_791_000_000
SELECTOR = 'service="terminal-shop"'


@pytest.fixture(scope="module")
def rows(store: ChdbStore) -> Rows:
    made = make_rows(Fleet(START_S, 6, ("terminal-shop",), hosts=6, seed=9))
    insert(store, made)
    return made


@pytest.fixture
def server(store: ChdbStore, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    running = serve(create_app(Querier(store), UiConfig(now=lambda: START_S + 60)), "127.0.0.1", 0)
    monkeypatch.setenv("FLEETPROF_SERVER", running.url)
    yield
    running.stop()


Captured = pytest.CaptureFixture[str]


def total(rows: Rows, kind: int = 0) -> int:
    return int(rows.value[rows.type == kind].sum())


@pytest.mark.usefixtures("server")
def test_top_lists_functions_with_averages(rows: Rows, capsys: Captured) -> None:
    assert cli.run(["top", SELECTOR, "--limit", "5", "--from", "now-1m"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{total(rows) / 1e9 / 60:.2f} cores on average over 1 min"
    assert lines[2].split() == ["Self", "Total", "Cores", "Function"]
    assert len(lines) == 8
    shares = [float(line.split()[0]) for line in lines[3:]]
    assert shares == sorted(shares, reverse=True)


@pytest.mark.usefixtures("server")
def test_query_prints_a_tree(capsys: Captured) -> None:
    assert cli.run(["query", SELECTOR, "--type", "offcpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "threads on average" in lines[0]
    assert lines[3].split() == ["100.00", "%", "0.00", "%", lines[3].split()[4], "(all)"]


@pytest.mark.usefixtures("server")
def test_files(rows: Rows, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    target = tmp_path / "x.pb.gz"
    assert cli.run(["query", SELECTOR, "--format", "pprof", "-o", str(target)]) == 0
    assert int(pprof.decode(target.read_bytes()).values[:, -1].sum()) == total(rows)
    capfdbinary.readouterr()
    assert cli.run(["query", SELECTOR, "--format", "folded"]) == 0
    text = capfdbinary.readouterr().out.decode()
    assert sum(int(line.rsplit(" ", 1)[1]) for line in text.splitlines()) == total(rows)


@pytest.mark.usefixtures("server")
def test_file_that_cannot_be_written(tmp_path: Path, capsys: Captured) -> None:
    assert cli.run(["query", "--format", "folded", "-o", str(tmp_path / "no" / "x")]) == 3
    assert "Cannot write" in capsys.readouterr().err


@pytest.mark.usefixtures("server")
def test_labels(rows: Rows, capsys: Captured) -> None:
    assert cli.run(["labels", "version", "--selector", SELECTOR]) == 0
    versions = sorted({labels["version"] for labels in rows.labels})
    assert capsys.readouterr().out.split() == versions


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["top", "service=x"], "Selector not understood at character 9"),
        (["top", "--type", "heap"], 'Unknown profile type "heap"'),
        (["query", "--from", "now", "--to", "now-1h"], "before it starts"),
        (["top", "--limit", "-3"], "limit is not understood"),
    ],
)
def test_refusals_end_with_two_and_the_servers_words(
    arguments: list[str], said: str, capsys: Captured
) -> None:
    assert cli.run(arguments) == 2
    assert said in capsys.readouterr().err


@pytest.mark.usefixtures("server")
def test_nothing_found_is_explained_on_stderr(capsys: Captured) -> None:
    assert cli.run(["top", 'service="terminal-shoq"']) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "Did you mean terminal-shop?" in said.err
