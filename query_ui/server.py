"""Serves the web application with waitress, in a thread of its own; and the command fleetprof-ui."""

import argparse
import errno
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Flask
from waitress import wasyncore
from waitress.server import MultiSocketServer, create_server
from waitress.trigger import trigger

from fleetprof.errors import FleetprofError, InputError, UnavailableError

if TYPE_CHECKING:
    from collector.store.interface import Store

log = logging.getLogger("fleetprof.ui")

THREADS = 8
MAX_BODY_BYTES = 64 << 20
"""Of a request; what is taken is less, but is then refused in words."""
_WAKE_S = 30.0
DEFAULT_ADDRESS = "127.0.0.1:8080"


class Running:
    """A server that accepts requests until `stop`."""

    def __init__(self, app: Flask, host: str, port: int) -> None:
        """Listen and start. Raises UnavailableError when the address cannot be used."""
        self._sockets: dict[int, Any] = {}
        try:
            self._server = create_server(
                app,
                map=self._sockets,
                host=host,
                port=port,
                threads=THREADS,
                ident="fleetprof",
                max_request_body_size=MAX_BODY_BYTES,
            )
        except OSError as error:
            raise _cannot_listen(host, port, error) from None
        self.host = host
        self.port = _port_of(self._server)
        self._stopping = False
        self._pulled = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="http", daemon=True)
        self._thread.start()

    def _loop(self) -> None:
        while not self._stopping:
            # poll(2): select(2) fails on descriptors from 1024 up, and the embedded store alone holds hundreds.
            wasyncore.loop(timeout=_WAKE_S, use_poll=True, map=self._sockets, count=1)
        # An answer's end may wake the loop just before `stop` does: the trigger stays open until that is through.
        self._pulled.wait()
        self._server.close()
        wasyncore.close_all(self._sockets)

    @property
    def url(self) -> str:
        """Where a browser finds it."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::", "") else self.host
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def stop(self) -> None:
        """Stop accepting and close all connections; waits until they are. Call once."""
        # Only the loop's own thread may end it, or it could close the trigger while that is pulled here.
        wake = next(channel for channel in list(self._sockets.values()) if isinstance(channel, trigger))
        wake.pull_trigger(self._end)
        self._pulled.set()
        self._thread.join(timeout=5)
        self._server.task_dispatcher.shutdown(timeout=2)

    def _end(self) -> None:
        self._stopping = True


def _port_of(server: Any) -> int:
    """The port listened on. A name such as localhost can stand for several addresses, each with a socket."""
    if isinstance(server, MultiSocketServer):
        return int(server.effective_listen[0][1])
    return int(server.effective_port)


def serve(app: Flask, host: str, port: int) -> Running:
    """Serve `app` on an address (port 0: any free one); raises UnavailableError when it cannot be used."""
    return Running(app, host, port)


def _cannot_listen(host: str, port: int, error: OSError) -> UnavailableError:
    where = f"{host}:{port}"
    if error.errno == errno.EADDRINUSE:
        return UnavailableError(
            f"Port {port} on {host} is in use by another program.",
            f"Stop that program (find it with: ss -ltnp 'sport = :{port}') or choose another address "
            "with --http or FLEETPROF_HTTP.",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return UnavailableError(
            f"Not allowed to listen on {where}.", "Choose a port from 1024 up, or run as root."
        )
    return UnavailableError(f"Cannot listen on {where}: {error.strerror or error}.", "Check the address.")


def parse_address(text: str) -> tuple[str, int]:
    """(host, port) of "host:port", "[v6]:port" or ":port"; raises InputError."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise InputError(
            f'Address not understood: "{text}".', f"Write it as host:port, e.g. {DEFAULT_ADDRESS}."
        )
    return host.strip("[]") or "127.0.0.1", int(port)


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fleetprof-ui",
        description="Serve the pages and the API over a data folder that no collector has open. "
        "The embedded store belongs to one process: where a collector runs on the folder, the UI runs in "
        "that same process (fleetprof up), and this command says so.",
    )
    parser.add_argument("--data", type=Path, default=Path("data"), help="data folder (default: ./data)")
    parser.add_argument(
        "--store", default=os.environ.get("FLEETPROF_STORE") or "",
        help="a ClickHouse's address, as the collector's setting store; collectors may write to it meanwhile",
    )  # fmt: skip
    parser.add_argument(
        "--http", default=DEFAULT_ADDRESS, help=f"address to serve on (default: {DEFAULT_ADDRESS})"
    )
    parser.add_argument(
        "--auth", choices=("off", "tokens"), default=os.environ.get("FLEETPROF_AUTH") or "off",
        help="who may ask: anyone who can connect, or who has a token of the data folder (default: %(default)s)",
    )  # fmt: skip
    return parser


def main() -> None:
    """The command fleetprof-ui."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    given = _arguments().parse_args()
    try:
        _run(given.data, given.store, given.auth, *parse_address(given.http))
    except FleetprofError as error:
        print(f"fleetprof-ui: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def _open(data: Path, address: str) -> "Store":
    from collector.store.migrate import migrate, plan
    from collector.store.open import open_store

    if address:
        store = open_store(address, create=False)
        if plan(store):
            store.close()
            raise UnavailableError(
                "The store lacks tables of this program.", "Run: fleetprof-collector migrate"
            )
        return store
    if not data.is_dir():
        raise InputError(
            f"There is no data folder at {data}.", "Name one with --data, or start: fleetprof up."
        )
    try:
        store = open_store(data)
    except UnavailableError as error:
        raise UnavailableError(
            error.message,
            f"{error.hint} Where a collector has it open, the pages come from the collector's own process: "
            "fleetprof up.",
        ) from None
    migrate(store)
    return store


def _run(data: Path, address: str, auth: str, host: str, port: int) -> None:
    from collector.exposure import page_exposure
    from collector.query.querier import Querier
    from collector.sources.assemble import sources_of
    from collector.tokens.book import TokenBook
    from collector.tokens.gate import Gate
    from query_ui.app import UiConfig, create_app
    from query_ui.host_names import known_names

    store = _open(data, address)
    try:
        gate = Gate(TokenBook(data)) if auth == "tokens" else None
        if warning := page_exposure(host, gate is not None):
            log.warning("%s", warning)
        sources = sources_of(data) if data.is_dir() else None
        config = UiConfig(names=known_names(host, ""), gate=gate, sources=sources)
        running = serve(create_app(Querier(store), config), host, port)
        print(f"fleetprof UI: {running.url}", flush=True)
        ended = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: ended.set())
        ended.wait()
        running.stop()
    finally:
        store.close()
