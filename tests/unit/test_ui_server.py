"""The web server: starts, stops, and says in words why it cannot."""

import os
import resource
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from flask import Flask

from fleetprof.errors import InputError, UnavailableError
from query_ui.server import parse_address, serve


def hello() -> Flask:
    app = Flask(__name__, static_folder=None)
    app.add_url_rule("/", view_func=lambda: "hello")
    return app


def test_serves_on_a_free_port_until_stopped() -> None:
    running = serve(hello(), "127.0.0.1", 0)
    assert running.port > 0
    with urllib.request.urlopen(running.url) as answer:
        assert answer.read() == b"hello"
    running.stop()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", running.port)) != 0


@contextmanager
def descriptors_in_use(count: int) -> Iterator[None]:
    """Have all descriptors below `count` taken, as an embedded store with many parts has."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, count + 100)), hard))
    taken = [os.open("/dev/null", os.O_RDONLY)]
    while taken[-1] < count:
        taken.append(os.dup(taken[0]))
    try:
        yield
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_serves_with_more_descriptors_than_select_takes() -> None:
    with descriptors_in_use(1024):
        running = serve(hello(), "127.0.0.1", 0)
        with urllib.request.urlopen(running.url, timeout=20) as answer:
            assert answer.read() == b"hello"
        running.stop()


def test_name_of_several_addresses_is_served_on_all(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    both = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0)),
    ]
    with monkeypatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", lambda *_, **__: both)
        running = serve(hello(), "both.test", port)
    assert running.port == port
    for host in ("127.0.0.1", "[::1]"):
        with urllib.request.urlopen(f"http://{host}:{port}/") as answer:
            assert answer.read() == b"hello"
    running.stop()


def test_port_can_be_used_again_after_stop() -> None:
    first = serve(hello(), "127.0.0.1", 0)
    urllib.request.urlopen(first.url).read()
    first.stop()
    second = serve(hello(), "127.0.0.1", first.port)
    second.stop()


def test_taken_port_is_said_in_words() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(UnavailableError, match=f"Port {port} .* in use") as caught:
            serve(hello(), "127.0.0.1", port)
    assert "--http" in caught.value.hint


def test_host_that_is_not_ours_is_said_in_words() -> None:
    with pytest.raises(UnavailableError, match="Cannot listen on"):
        serve(hello(), "203.0.113.7", 8080)


@pytest.mark.parametrize(
    ("text", "address"),
    [("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:8080", ("::1", 8080)), (":9", ("127.0.0.1", 9))],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "8080", "host:", "host:http", "host:70000", "host:²"])
def test_bad_addresses_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="Address not understood"):
        parse_address(text)
