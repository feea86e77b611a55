"""Tokens: what the file keeps, who may pass, what each may push, and what is said of those who may not."""

import logging
import os
import sqlite3
import threading
import time
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.connection import Connection
from agent.token import Token as AgentToken
from collector.cli import main
from collector.ingest.refusal import Later, Refused
from collector.tokens import book as booking
from collector.tokens.allowance import Allowance, Allowances, Limit
from collector.tokens.book import FILE, TokenBook
from collector.tokens.distinct import Distinct
from collector.tokens.gate import CURRENT, Gate, NotAllowed, Reason
from collector.tokens.interceptor import TokenInterceptor, host_of
from collector.tokens.token import Scope, Token, split
from fleetprof.errors import InputError, UnavailableError
from fleetprof.losses import DropReason
from fleetprof.setting_kinds import Address
from fleetprof.v1 import ingest_pb2, ingest_pb2_grpc
from tests.unit.loop_server import loop_server

Response = ingest_pb2.PushResponse
INGEST = (Scope.INGEST,)


@pytest.fixture
def book(tmp_path: Path) -> TokenBook:
    return TokenBook(tmp_path / "data")


def reason(gate: Gate, header: str | None, scope: Scope = Scope.INGEST) -> Reason | str:
    try:
        return gate.judge(header, scope).name
    except NotAllowed as refused:
        return refused.reason


def test_the_file_holds_no_token_and_is_its_owners_alone(book: TokenBook) -> None:
    text = book.create("agents", INGEST)
    parts = split(text)
    assert parts
    content = book.path.read_bytes()
    assert parts[1].encode() not in content
    assert bytes.fromhex(parts[1]) not in content
    assert book.path.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in book.path.parent.iterdir()) == [FILE]


def test_root_makes_the_file_for_the_folders_owner(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("needs root")
    folder = tmp_path / "data"
    folder.mkdir()
    os.chown(folder, 12345, 12346)
    found = TokenBook(folder).path.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (12345, 12346, 0o600)


def test_who_may_pass(book: TokenBook) -> None:
    now_s = [time.time()]
    gate = Gate(book, lambda: now_s[0])
    texts = {scope: book.create(str(scope), [scope]) for scope in Scope}
    for scope, text in texts.items():
        for wanted in Scope:
            good = scope in (wanted, Scope.ADMIN)
            assert reason(gate, f"Bearer {text}", wanted) == (scope if good else Reason.SCOPE)
    brief = book.create("brief", INGEST, expires_s=int(now_s[0]) + 60)
    assert reason(gate, f"bearer {brief}") == "brief"
    now_s[0] += 61
    assert reason(gate, f"Bearer {brief}") == Reason.EXPIRED
    assert reason(gate, None) == reason(gate, "") == Reason.NONE
    good = texts[Scope.INGEST]
    other = "0" if good[-1] != "0" else "1"
    for bad in (good[:-1] + other, "fpt_00000000_" + "0" * 64, good[:-1], good + "0", good.upper(), "x", "ü"):
        assert reason(gate, f"Bearer {bad}") == Reason.WRONG
    for bad in (good, f"Basic {good}", "Bearer", "Bearer  ", f"Bearer {good} {good}"):
        assert reason(gate, bad) == Reason.WRONG
    book.revoke("ingest")
    assert reason(gate, f"Bearer {good}") == Reason.REVOKED


def test_a_running_collector_sees_what_another_process_changes(
    book: TokenBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(booking, "LOOK_EVERY_S", 0.0)
    gate, other = Gate(book), TokenBook(book.path.parent)
    text = other.create("late", INGEST)
    assert reason(gate, f"Bearer {text}") == "late"
    other.revoke("late")
    assert reason(gate, f"Bearer {text}") == Reason.REVOKED
    again = other.create("late", INGEST)
    assert reason(gate, f"Bearer {again}") == "late", "a name is free again once its token is revoked"
    assert reason(gate, f"Bearer {text}") == Reason.REVOKED


def test_a_file_that_breaks_leaves_the_tokens_read_before(
    book: TokenBook, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(booking, "LOOK_EVERY_S", 0.0)
    gate, text = Gate(book), book.create("agents", INGEST)
    book.path.write_bytes(b"no database at all" * 100)
    for _ in range(3):
        assert reason(gate, f"Bearer {text}") == "agents"
    assert caplog.text.count("stay in force") == 1
    with pytest.raises(UnavailableError, match="Cannot use the tokens' file"):
        TokenBook(book.path.parent)


def test_a_file_of_a_newer_program_is_refused_by_name(book: TokenBook) -> None:
    with sqlite3.connect(book.path) as connection:
        connection.execute("PRAGMA user_version = 9")
    with pytest.raises(UnavailableError, match="newer fleetprof"):
        TokenBook(book.path.parent)


@pytest.mark.parametrize("name", ["", "x" * 65, "two\nlines", "\0"])
def test_names_that_would_not_fit_a_line(book: TokenBook, name: str) -> None:
    with pytest.raises(InputError):
        book.create(name, INGEST)


def test_the_refused_are_logged_once_a_peer_and_counted(
    book: TokenBook, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate(book)
    guess = "fpt_00000000_" + "ab" * 32
    for peer in ("10.0.0.1", "10.0.0.2", "10.0.0.1"):
        for header in (None, f"Bearer {guess}", None):
            with pytest.raises(NotAllowed) as caught:
                gate.judge(header, Scope.INGEST)
            gate.count(caught.value, peer)
    assert gate.refused == {Reason.NONE: 6, Reason.WRONG: 3}
    assert len(caplog.records) == 4
    assert "ab" * 32 not in caplog.text
    assert "fpt_" not in caplog.text


class Accepting(ingest_pb2_grpc.IngestServiceServicer):
    def __init__(self) -> None:
        self.names: list[str] = []

    def Push(self, request: ingest_pb2.PushRequest, context: grpc.ServicerContext) -> Response:
        token = CURRENT.get()
        self.names.append(token.name if token else "")
        return Response(status=Response.STATUS_ACCEPTED)


@pytest.fixture
def served(book: TokenBook) -> "tuple[Accepting, Gate, Address]":
    gate, service = Gate(book), Accepting()

    def add(server: grpc.aio.Server, services: Any) -> None:
        ingest_pb2_grpc.add_IngestServiceServicer_to_server(service, services)
        health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)

    with loop_server(add, [TokenInterceptor(gate)]) as address:
        yield service, gate, address


def push(connection: Connection, size: int = 0) -> Response:
    request = ingest_pb2.PushRequest(agent_id="x" * size)
    return ingest_pb2_grpc.IngestServiceStub(connection.channel).Push(request, timeout=20)


def test_calls_over_grpc(
    served: "tuple[Accepting, Gate, Address]",
    book: TokenBook,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    service, gate, address = served
    path = tmp_path / "token"
    path.write_text(book.create("agents", INGEST) + "\n")
    connection = Connection(address, token=AgentToken(path=path))
    assert push(connection).status == Response.STATUS_ACCEPTED
    assert service.names == ["agents"]
    for token, code in (
        (AgentToken(), grpc.StatusCode.UNAUTHENTICATED),
        (AgentToken(book.create("eyes", [Scope.READ])), grpc.StatusCode.PERMISSION_DENIED),
    ):
        foreign = Connection(address, token=token)
        for size in (0, 3 << 20):  # larger than a stream's first window: refused without being read
            with pytest.raises(grpc.RpcError) as caught:
                push(foreign, size)
            assert caught.value.code() is code
            foreign.failed(caught.value)
        health_pb2_grpc.HealthStub(foreign.channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
        foreign.close()
    assert service.names == ["agents"]
    assert gate.refused == {Reason.NONE: 2, Reason.SCOPE: 2}
    ours = [record.getMessage() for record in caplog.records if record.name == "fleetprof.tokens"]
    assert [line.split(":")[0] for line in ours] == ["Refused a call from 127.0.0.1"] * 2
    agents = [record.getMessage() for record in caplog.records if record.name == "fleetprof.connection"]
    assert len(agents) == 2
    assert "refuses this agent: This collector asks for a token" in agents[0]
    # A token that is replaced in its file needs no restart.
    book.revoke("agents")
    with pytest.raises(grpc.RpcError, match="was revoked on"):
        push(connection)
    path.write_text(book.create("agents-2", INGEST))
    assert push(connection).status == Response.STATUS_ACCEPTED
    assert service.names == ["agents", "agents-2"]
    connection.close()


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("ipv4:10.0.0.1:4711", "10.0.0.1"),
        ("ipv6:%5B2001:db8::1%5D:4711", "2001:db8::1"),
        ("ipv6:[::1]:4711", "::1"),
        ("unix:/run/x", "unix:/run/x"),
    ],
)
def test_a_peer_is_its_address_not_its_port(peer: str, host: str) -> None:
    assert host_of(peer) == host


def test_an_agents_token_files(tmp_path: Path) -> None:
    path = tmp_path / "token"
    with pytest.raises(InputError, match="cannot be read"):
        AgentToken(path=path)
    path.write_text(" \n")
    with pytest.raises(InputError, match="holds no token"):
        AgentToken(path=path)
    path.write_text("one\n")
    token = AgentToken(path=path)
    assert token.current() == "one"
    path.write_text("t w o\n")
    assert token.current() == "one"
    path.write_text("three\n")
    assert token.current() == "three"
    path.unlink()
    assert token.current() == "three"
    with pytest.raises(InputError, match="Both"):
        AgentToken("x", path)
    with pytest.raises(InputError) as caught:
        AgentToken("geheim\nnis")
    assert "geheim" not in str(caught.value)


OWNER = Token("00000001", "fleet", b"", frozenset(INGEST), 0)
OTHER = Token("00000002", "other", b"", frozenset(INGEST), 0)
NOTHING = np.empty(0, np.uint64)


def ids(first: int, count: int) -> "np.ndarray":
    """Hashes of the numbers from `first` on."""
    numbers = np.arange(first, first + count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    numbers ^= numbers >> np.uint64(29)
    return numbers * np.uint64(0xBF58476D1CE4E5B9)


def test_a_rate_asks_to_come_later_and_says_when() -> None:
    now_s = [100.0]
    allowances = Allowances(Allowance(rows_per_minute=600, bytes_per_minute=1000), lambda: now_s[0])
    allowances.take(OWNER, 10, 600, NOTHING, NOTHING)
    with pytest.raises(Later) as later:
        allowances.take(OWNER, 10, 100, NOTHING, NOTHING)
    assert later.value.overloaded
    assert later.value.retry_ms == pytest.approx(10_000, abs=2)
    assert "600 rows a minute (token_rows_per_minute)" in later.value.message
    allowances.take(OTHER, 10, 100, NOTHING, NOTHING)  # each token has its own
    now_s[0] += later.value.retry_ms / 1000
    allowances.take(OWNER, 10, 100, NOTHING, NOTHING)
    now_s[0] += 3600
    allowances.take(OWNER, 5000, 0, NOTHING, NOTHING)  # a window larger than a minute's worth passes once
    with pytest.raises(Later, match="1000 bytes a minute"):
        allowances.take(OWNER, 1, 0, NOTHING, NOTHING)
    assert allowances.breaches == {Limit.ROWS: 1, Limit.BYTES: 1}


def test_too_many_series_or_stacks_are_refused_for_an_hour_the_known_pass() -> None:
    now_s = [100.0]
    allowances = Allowances(Allowance(series_per_hour=100, stacks_per_hour=1000), lambda: now_s[0])
    allowances.take(OWNER, 1, 1, ids(0, 90), ids(0, 900))
    for series, stacks, limit in (
        (ids(1000, 50), NOTHING, DropReason.SERIES_LIMIT),
        (NOTHING, ids(5000, 300), DropReason.STACK_LIMIT),
    ):
        with pytest.raises(Refused) as refused:
            allowances.take(OWNER, 1, 1, series, stacks)
        assert refused.value.reason is limit
        allowances.take(OWNER, 1, 1, ids(0, 90), ids(0, 900))
    assert allowances.breaches == {Limit.SERIES: 1, Limit.STACKS: 1}
    now_s[0] += 3600
    allowances.take(OWNER, 1, 1, ids(1000, 50), ids(5000, 300))


@settings(max_examples=30)
@given(st.integers(1, 300_000), st.integers(0, 1 << 60))
def test_the_count_of_distinct_ids_is_near_the_truth(count: int, first: int) -> None:
    numbers = ids(first, count)
    known = Distinct().after(numbers[: count // 2]).after(numbers)
    assert known.count == pytest.approx(count, rel=0.05, abs=2)
    assert known.after(numbers) is known


def test_extreme_ids_are_counted() -> None:
    extreme = np.array([0, 1, (1 << 50) - 1, 1 << 50, (1 << 64) - 1], np.uint64)
    assert 3 <= Distinct().after(extreme).count <= 5.5


def test_create_list_and_revoke_while_the_collector_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(booking, "LOOK_EVERY_S", 0.0)
    data = ("--data", str(tmp_path))
    assert main(["token", "list", *data]) == 0
    assert capsys.readouterr().out == "There are no tokens.\n"
    assert not (tmp_path / FILE).exists()
    gate = Gate(TokenBook(tmp_path))
    scopes = ("--scope", "ingest", "--scope", "read")
    assert main(["token", "create", *data, *scopes, "--expires", "90d", "fleet"]) == 0
    text = capsys.readouterr().out.strip()
    assert reason(gate, f"Bearer {text}", Scope.READ) == "fleet"
    assert reason(gate, f"Bearer {text}", Scope.ADMIN) == Reason.SCOPE
    path = tmp_path / "agent.token"
    assert main(["token", "create", *data, "--scope", "ingest", "-o", str(path), "agent"]) == 0
    assert text not in capsys.readouterr().out
    assert path.stat().st_mode & 0o777 == 0o600
    assert reason(gate, f"Bearer {AgentToken(path=path).current()}") == "agent"
    assert main(["token", "revoke", *data, "fleet"]) == 0
    assert reason(gate, f"Bearer {text}", Scope.READ) == Reason.REVOKED
    capsys.readouterr()
    assert main(["token", "list", *data]) == 0
    shown = capsys.readouterr().out
    assert "fleet  ingest,read" in shown
    assert "revoked on" in shown
    assert "fpt_" not in shown
    for wrong in (
        ["revoke", *data, "nobody"],
        ["revoke", *data, "fleet"],
        ["create", *data, "--scope", "ingest", "agent"],
        ["create", *data, "--scope", "ingest", "--expires", "soon", "x"],
        ["create", *data, "--scope", "ingest", "-o", str(path), "x"],
        ["create", *data, "--scope", "ingest", "-o", str(tmp_path / "new"), "agent"],
    ):
        assert main(["token", *wrong]) == 2, wrong
    assert not (tmp_path / "new").exists()


def test_tokens_are_read_and_made_by_many_threads(book: TokenBook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(booking, "LOOK_EVERY_S", 0.0)
    gate, failed = Gate(book), threading.Event()

    def work(number: int) -> None:
        for n in range(10):
            text = book.create(f"{number}-{n}", INGEST)
            if reason(gate, f"Bearer {text}") != f"{number}-{n}":
                failed.set()

    with futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert not failed.is_set()
    assert len(book.all()) == 80


def test_nothing_of_a_token_is_logged_at_any_level(
    served: "tuple[Accepting, Gate, Address]", book: TokenBook, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        text = book.create("agents", INGEST)
        connection = Connection(served[2], token=AgentToken(text))
        push(connection)
        book.revoke("agents")
        with pytest.raises(grpc.RpcError) as caught:
            push(connection)
        connection.failed(caught.value)
        connection.close()
    assert text[13:] not in caplog.text
