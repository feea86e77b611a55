"""Agents against real gRPC servers over TLS: good ones get through, of bad ones the log says exactly why."""

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest

from agent import connection as connecting
from agent.connection import Connection
from agent.doctor import collector_fact
from agent.tls import explain
from collector.server_tls import ServerCertificates
from collector.tls_connections import TlsConnections
from fleetprof.setting_kinds import Address
from fleetprof.tls import TlsFiles
from fleetprof.v1 import ingest_pb2, ingest_pb2_grpc
from tests.unit.loop_server import loop_server
from tests.unit.tls_files import FUTURE, PAST, Authority

Response = ingest_pb2.PushResponse


class Accepting(ingest_pb2_grpc.IngestServiceServicer):
    def Push(self, request: ingest_pb2.PushRequest, context: grpc.ServicerContext) -> Response:
        return Response(status=Response.STATUS_ACCEPTED)


def served(credentials: grpc.ServerCredentials | None, port: int = 0) -> tuple[grpc.Server, Address]:
    server = grpc.server(futures.ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
    ingest_pb2_grpc.add_IngestServiceServicer_to_server(Accepting(), server)
    address = f"127.0.0.1:{port}"
    bound = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    server.start()
    return server, Address("127.0.0.1", bound)


def unchecked(files: TlsFiles) -> grpc.ServerCredentials:
    """A server that shows its certificate whatever its dates, as one does whose certificate expires."""
    assert files.certificate
    assert files.key
    return grpc.ssl_server_credentials([(files.key.read_bytes(), files.certificate.read_bytes())])


@pytest.fixture
def serve() -> Iterator[Callable[..., Address]]:
    servers: list[grpc.Server] = []

    def start(credentials: grpc.ServerCredentials | None, port: int = 0) -> Address:
        server, address = served(credentials, port)
        servers.append(server)
        return address

    yield start
    for server in servers:
        server.stop(None)


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    return Authority.make(tmp_path / "ours")


@pytest.fixture
def foreign(tmp_path: Path) -> Authority:
    return Authority.make(tmp_path / "foreign")


def push(connection: Connection, timeout_s: float = 10) -> Response:
    stub = ingest_pb2_grpc.IngestServiceStub(connection.channel)
    answer: Response = stub.Push(ingest_pb2.PushRequest(), timeout=timeout_s)
    return answer


def mutual(ours: Authority) -> ServerCertificates:
    server = ours.server()
    return ServerCertificates(TlsFiles(ours.ca, server.certificate, server.key))


def test_tls_and_mutual_tls_get_through(ours: Authority, serve: Callable[..., Address]) -> None:
    plain_agent, agent = TlsFiles(ca=ours.ca), ours.agent()
    for credentials, files in (
        (ServerCertificates(ours.server()).credentials(), plain_agent),
        (ServerCertificates(ours.server()).credentials(), agent),
        (mutual(ours).credentials(), agent),
    ):
        address = serve(credentials)
        connection = Connection(address, files)
        assert push(connection).status == Response.STATUS_ACCEPTED
        assert explain(address, files, "") == ""
        connection.close()


def test_a_server_name_stands_in_for_the_address(ours: Authority, serve: Callable[..., Address]) -> None:
    address = serve(ServerCertificates(ours.server(host="collector.lan")).credentials())
    connection = Connection(address, TlsFiles(ca=ours.ca), "collector.lan")
    assert push(connection).status == Response.STATUS_ACCEPTED
    assert explain(address, TlsFiles(ca=ours.ca), "collector.lan") == ""
    connection.close()


class Case:
    """What a server shows, what an agent has, and words of the reason."""

    def __init__(
        self,
        server: Callable[[Authority, Authority], grpc.ServerCredentials | None],
        agent: Callable[[Authority, Authority], TlsFiles],
        *words: str,
    ) -> None:
        self.server, self.agent, self.words = server, agent, words


CASES = {
    "expired server": Case(
        lambda ours, foreign: unchecked(ours.server(validity=PAST)),
        lambda ours, foreign: TlsFiles(ca=ours.ca),
        "has expired",
        "Renew it on the collector",
    ),
    "server of tomorrow": Case(
        lambda ours, foreign: unchecked(ours.server(validity=FUTURE)),
        lambda ours, foreign: TlsFiles(ca=ours.ca),
        "is not valid yet",
        "clocks",
    ),
    "foreign server": Case(
        lambda ours, foreign: unchecked(foreign.server()),
        lambda ours, foreign: TlsFiles(ca=ours.ca),
        "not signed by an authority in",
        "ca.pem",
    ),
    "wrong address": Case(
        lambda ours, foreign: unchecked(ours.server(host="10.9.9.9")),
        lambda ours, foreign: TlsFiles(ca=ours.ca),
        'is not for "127.0.0.1"',
        "tls_server_name",
    ),
    "no certificate": Case(
        lambda ours, foreign: mutual(ours).credentials(),
        lambda ours, foreign: TlsFiles(ca=ours.ca),
        "wants a certificate of this agent",
        "tls_key",
    ),
    "foreign agent": Case(
        lambda ours, foreign: mutual(ours).credentials(),
        lambda ours, foreign: TlsFiles(ours.ca, foreign.agent().certificate, foreign.agent().key),
        "this agent's certificate",
        "tls_client_ca",
    ),
    "expired agent": Case(
        lambda ours, foreign: mutual(ours).credentials(),
        lambda ours, foreign: ours.agent(validity=PAST),
        "expired on",
        "this agent's own",
    ),
    "agent of tomorrow": Case(
        lambda ours, foreign: mutual(ours).credentials(),
        lambda ours, foreign: ours.agent(validity=FUTURE),
        "not valid before",
        "this agent's own",
    ),
    "TLS agent, plain server": Case(
        lambda ours, foreign: None,
        lambda ours, foreign: TlsFiles(ca=ours.ca),
        "does not speak TLS",
        "tls_certificate",
    ),
    "plain agent, TLS server": Case(
        lambda ours, foreign: unchecked(ours.server()),
        lambda ours, foreign: TlsFiles(),
        "wants TLS",
        "tls_ca",
    ),
    "plain agent, mutual TLS server": Case(
        lambda ours, foreign: mutual(ours).credentials(),
        lambda ours, foreign: TlsFiles(),
        "wants TLS",
        "tls_ca",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_failed_handshake_is_explained_once(
    name: str,
    ours: Authority,
    foreign: Authority,
    serve: Callable[..., Address],
    caplog: pytest.LogCaptureFixture,
) -> None:
    case = CASES[name]
    address = serve(case.server(ours, foreign))
    with caplog.at_level(logging.INFO, "fleetprof"):
        connection = Connection(address, case.agent(ours, foreign))
        caplog.clear()
        for _ in range(2):
            with pytest.raises(grpc.RpcError) as caught:
                push(connection)
            connection.failed(caught.value)
        connection.close()
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith(f"Collector {address} cannot be reached: ")
    for word in case.words:
        assert word in said


def test_an_address_where_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert "refused" in explain(Address("127.0.0.1", taken.getsockname()[1]), TlsFiles(), "")


def test_a_peer_that_never_answers_does_not_hold_the_agent_up(ours: Authority) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = Address("127.0.0.1", mute.getsockname()[1])
        assert "ended the TLS handshake" in explain(address, TlsFiles(ca=ours.ca), "", timeout_s=0.2)
        assert explain(address, TlsFiles(), "", timeout_s=0.2) == ""


def test_a_renewed_server_certificate_needs_no_restart(
    ours: Authority, serve: Callable[..., Address], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.server_tls.LOOK_EVERY_S", 0.0)
    address = serve(ServerCertificates(ours.server(host="10.9.9.9")).credentials())
    files = TlsFiles(ca=ours.ca)
    assert "is not for" in explain(address, files, "")
    ours.server(host="127.0.0.1")
    assert explain(address, files, "") == ""


def test_a_bad_renewal_keeps_the_old_certificate(
    ours: Authority,
    serve: Callable[..., Address],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("collector.server_tls.LOOK_EVERY_S", 0.0)
    server = ours.server()
    address = serve(ServerCertificates(server).credentials())
    assert server.certificate
    server.certificate.write_text("half a file")
    for _ in range(2):
        assert explain(address, TlsFiles(ca=ours.ca), "") == ""
    assert [record.getMessage() for record in caplog.records if "cannot be used" in record.getMessage()] != []
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1


def test_a_renewed_agent_certificate_needs_no_restart(ours: Authority, serve: Callable[..., Address]) -> None:
    address = serve(mutual(ours).credentials())
    connection = Connection(address, ours.agent(validity=PAST))
    with pytest.raises(grpc.RpcError) as caught:
        push(connection)
    connection.failed(caught.value)
    ours.agent()
    connection.failed(caught.value)
    assert push(connection).status == Response.STATUS_ACCEPTED
    connection.close()


def test_it_says_when_the_collector_is_back(
    serve: Callable[..., Address], caplog: pytest.LogCaptureFixture
) -> None:
    server, address = served(None)
    server.stop(None).wait()
    connection = Connection(address)
    with caplog.at_level(logging.INFO, "fleetprof"):
        with pytest.raises(grpc.RpcError) as caught:
            push(connection)
        connection.failed(caught.value)
        serve(None, address.port)
        deadline = time.monotonic() + 20
        while True:
            try:
                push(connection)
                break
            except grpc.RpcError:
                assert time.monotonic() < deadline
        connection.worked()
    assert [record.getMessage() for record in caplog.records] == [
        f"Collector {address} cannot be reached: Connection refused. Windows wait; retrying.",
        f"Collector {address} is back.",
    ]
    connection.close()


def test_refusals_are_said_once_in_a_row(caplog: pytest.LogCaptureFixture) -> None:
    connection = Connection(Address("127.0.0.1", 1))
    for why in ("a", "a", "b"):
        connection.refused("a window", why)
        connection.refused("this agent", "c")
    connection.accepted("a window")
    connection.refused("a window", "b")
    said = [record.getMessage().partition("refused ")[2] for record in caplog.records]
    assert said == ["a window: a", "this agent: c", "a window: b", "a window: b"]
    connection.close()


def test_failures_of_two_threads_are_looked_into_once(monkeypatch: pytest.MonkeyPatch) -> None:
    began, go = threading.Event(), threading.Event()
    calls = []

    def slow(*_: object) -> str:
        calls.append(1)
        began.set()
        assert go.wait(20)
        return "Slow."

    monkeypatch.setattr(connecting, "explain", slow)
    connection = Connection(Address("127.0.0.1", 1))
    with pytest.raises(grpc.RpcError) as caught:
        push(connection, 5)
    first = threading.Thread(target=connection.failed, args=(caught.value,))
    first.start()
    assert began.wait(20)
    connection.failed(caught.value)  # does not wait for the first
    go.set()
    first.join()
    assert len(calls) == 1
    connection.close()


def test_doctor_tells_about_tls(ours: Authority, foreign: Authority, serve: Callable[..., Address]) -> None:
    address = serve(mutual(ours).credentials())
    assert collector_fact(address, files=ours.agent()).found == "answers over TLS"
    for files, words in (
        (TlsFiles(), "wants TLS"),
        (TlsFiles(ca=ours.ca), "wants a certificate of this agent"),
        (TlsFiles(ca=foreign.ca), "is not signed by an authority in"),
        (ours.agent("old", PAST), "expired on"),
        (TlsFiles(ca=ours.folder / "none.pem"), "Check its path"),
    ):
        fact = collector_fact(address, 1.0, files)
        assert not fact.ok
        assert words in fact.advice


def test_a_renewed_agent_certificate_is_used_before_anything_fails(
    ours: Authority, serve: Callable[..., Address], caplog: pytest.LogCaptureFixture
) -> None:
    """What a heartbeat asks for: the old connection goes on until the new files are there, and no call fails."""
    address = serve(mutual(ours).credentials())
    connection = Connection(address, ours.agent())
    before = connection.channel
    push(connection)
    connection.renew()
    assert connection.channel is before
    ours.agent()
    connection.renew()
    assert connection.channel is not before
    assert push(connection).status == Response.STATUS_ACCEPTED
    connection.close()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_call_that_a_renewal_cuts_off_is_no_failure(
    ours: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        connection = Connection(Address("127.0.0.1", mute.getsockname()[1]), ours.agent())
        stub = ingest_pb2_grpc.IngestServiceStub(connection.channel)
        call = stub.Push.future(ingest_pb2.PushRequest(), timeout=20)
        ours.agent()
        connection.renew()
        with pytest.raises((grpc.RpcError, grpc.FutureCancelledError)):
            call.result()
        connection.failed(call)
        connection.close()
    assert caplog.records == []


def test_handshakes_that_fail_are_counted_and_logged_once(
    ours: Authority, foreign: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    now_s = [0.0]
    certificates = mutual(ours)
    certificates.connections = TlsConnections(lambda: now_s[0])

    def add(_: grpc.aio.Server, services: Any) -> None:
        ingest_pb2_grpc.add_IngestServiceServicer_to_server(Accepting(), services)

    theirs = TlsFiles(ours.ca, foreign.agent().certificate, foreign.agent().key)
    old = ours.agent("old", validity=PAST)
    with loop_server(add, [certificates.connections], certificates.credentials()) as address:
        good = [Connection(address, ours.agent()) for _ in range(3)]
        for connection in good:
            push(connection)
            push(connection)
        for files in (theirs, TlsFiles(ours.ca, old.certificate, old.key), TlsFiles(ca=ours.ca)):
            bad = Connection(address, files)
            with pytest.raises(grpc.RpcError):
                push(bad)
            bad.close()
        assert certificates.connections.unused == 0
        now_s[0] = 31.0
        # A client may try a failed handshake again, so there are three or more.
        assert 3 <= certificates.connections.unused <= 9
        for connection in good:
            push(connection)
            connection.close()
    assert caplog.text.count("came to nothing") == 1
