"""An HTTP receiver for tests: keeps what it got, and misbehaves as told."""

import json
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Receiver:
    """`plan` says how the next requests are answered: a status code, "reset", or "drop" (take it, then
    reset); when it is empty all are taken."""

    url: str = ""
    plan: list[int | str] = field(default_factory=list)
    got: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    """(path, headers, body) of each request that was taken."""
    asked: int = 0

    @property
    def keys(self) -> list[str]:
        """Idempotency keys in the order of arrival."""
        return [headers.get("Idempotency-Key", "") for _, headers, _ in self.got]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver that listens on a port of its own."""
    receiver = Receiver()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                receiver.asked += 1
                answer = receiver.plan.pop(0) if receiver.plan else 200
                if answer == "drop" or (isinstance(answer, int) and answer < 300):
                    receiver.got.append((self.path, dict(self.headers), body))
            if isinstance(answer, str):
                # An RST instead of a FIN, as from a process that was killed.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                self.connection.close()
                return
            self.send_response(answer)
            if answer in (301, 302, 307):
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"said")

        def finish(self) -> None:
            try:
                super().finish()
            except OSError:
                pass

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
