"""A TCP proxy between agents and collector that can cut connections anywhere, or hold back answers."""

import contextlib
import random
import selectors
import socket
import threading

_CHUNK = 1 << 16


class Proxy:
    """Forwards connections to 127.0.0.1:`target` on a thread of its own until closed."""

    def __init__(self, target: int) -> None:
        self.target = target
        """May be changed: new connections go there."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._peers: dict[socket.socket, socket.socket] = {}
        self._from_collector: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._left: int | None = None
        self._mute = False
        self._closing = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def cut_after(self, length: int) -> None:
        """Cut every connection in the middle of the bytes, when `length` more have passed."""
        with self._lock:
            self._left = length

    def hold_answers(self, held: bool) -> None:
        """Throw away what the collector answers from now on; on release, the connections are cut."""
        with self._lock:
            self._mute = held
            if not held:
                self._left = 0

    def close(self) -> None:
        """End all connections."""
        self._closing = True
        self._thread.join()
        self._cut_all()
        self._listener.close()
        self._selector.close()

    def _run(self) -> None:
        while not self._closing:
            for key, _ in self._selector.select(0.05):
                if key.fileobj is self._listener:
                    self._connect()
                elif isinstance(key.fileobj, socket.socket) and key.fileobj in self._peers:
                    self._forward(key.fileobj)
            with self._lock:
                if self._left == 0:
                    self._cut_all()

    def _connect(self) -> None:
        client, _ = self._listener.accept()
        try:
            server = socket.create_connection(("127.0.0.1", self.target), timeout=1)
        except OSError:
            client.close()  # the collector is down: so it looks to the agent
            return
        for one, other in ((client, server), (server, client)):
            one.settimeout(5)
            self._peers[one] = other
            self._selector.register(one, selectors.EVENT_READ)
        self._from_collector.add(server)

    def _forward(self, source: socket.socket) -> None:
        try:
            data = source.recv(_CHUNK)
            with self._lock:
                if data and self._left is not None:
                    data, self._left = data[: self._left], max(self._left - len(data), 0)
                if self._mute and source in self._from_collector:
                    return
            if data:
                self._peers[source].sendall(data)
                return
        except OSError:
            pass
        self._cut(source)

    def _cut(self, one: socket.socket) -> None:
        other = self._peers.pop(one, None)
        for each in (one, other):
            if each is not None:
                self._peers.pop(each, None)
                self._from_collector.discard(each)
                with contextlib.suppress(KeyError, ValueError):
                    self._selector.unregister(each)
                each.close()

    def _cut_all(self) -> None:
        self._left = None
        for each in list(self._peers):
            self._cut(each)


def random_cut(chance: random.Random) -> int:
    """Where in a stream to cut: in the first bytes of a frame, in the middle of a window, between windows."""
    return chance.choice([chance.randrange(1, 60), chance.randrange(1, 5_000), chance.randrange(1, 200_000)])
