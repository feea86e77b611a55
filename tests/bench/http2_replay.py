"""Sends gRPC calls that were encoded before, from many connections, with next to no CPU of its own.

gRPC's own client takes as much CPU for a call as a collector for taking it, and on a small machine from the same
CPUs. This one writes HTTP/2 frames (RFC 9113) that are ready, one call after the other on each connection. Of an
answer it reads the message only: a call that failed has none.
"""

import selectors
import socket
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4
_INITIAL_WINDOW_SIZE = 4
_HEAD = struct.Struct(">BHBBI")
_HEAD_BYTES = 9
_MOST_DATA = 16384
_WINDOW = 65535
_OWN_WINDOW = 1 << 30
_READ_BYTES = 1 << 16


class Call(NamedTuple):
    """A call that is ready to be sent."""

    path: bytes
    """Such as b"/package.Service/Method"."""
    message: bytes
    """With gRPC's prefix (`prefixed`)."""


Answered = Callable[["Connection", Call, bytes | None], None]
"""Called with an answer's message; None where the call failed."""


def prefixed(message: bytes, compressed: bool) -> bytes:
    """A message as gRPC puts it on the stream."""
    return struct.pack(">BI", compressed, len(message)) + message


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return _HEAD.pack(len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream) + payload


def _text(text: bytes) -> bytes:
    """A string of a header (RFC 7541, 5.2), not packed; shorter than 127 bytes."""
    assert len(text) < 127
    return bytes((len(text),)) + text


_SHARED = {
    b"content-type": b"application/grpc",
    b"te": b"trailers",
    b"grpc-encoding": b"gzip",
    b"grpc-accept-encoding": b"identity, deflate, gzip",
    b"grpc-timeout": b"20S",
    b"user-agent": b"grpc-python/1.85.1 grpc-c/56.0.0 (linux; chttp2)",
}
# :method POST, :scheme http, :authority, and the path as it is; others enter the table with the first call.
_START = b"\x83\x86\x01" + _text(b"collector")
_FIRST = b"".join(b"\x40" + _text(name) + _text(value) for name, value in _SHARED.items())
_LATER = bytes(0x80 | (62 + place) for place in reversed(range(len(_SHARED))))


class Connection:
    """One sender: a call at a time. `number` is whose it is."""

    def __init__(self, replay: "Replay", address: tuple[str, int], number: int) -> None:
        self.number = number
        self._replay = replay
        self.socket = socket.create_connection(address)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stream, self._headers = -1, _FIRST
        self._credit, self._stream_start = _WINDOW, _WINDOW
        self._stream_credit = 0
        self._call = Call(b"", b"")
        self._rest = memoryview(b"")
        self._out = bytearray(_PREFACE)
        # An answer may name 8,000 unknown stacks and more, which the default window has no room for.
        self._out += _frame(_SETTINGS, 0, 0, struct.pack(">HI", _INITIAL_WINDOW_SIZE, _OWN_WINDOW))
        self._out += _frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", _OWN_WINDOW))
        self._in = bytearray()
        self.trailers = b""
        """The last headers that came, as they are: texts can be read in them, such as why a call failed."""
        self._body = bytearray()

    def call(self, call: Call) -> None:
        """Begin a call; the one before was answered."""
        self._stream += 2
        self._stream_credit = self._stream_start
        self._body.clear()
        headers = _START + b"\x04" + _text(call.path) + self._headers
        self._headers = _LATER
        self._out += _frame(_HEADERS, _END_HEADERS, self._stream, headers)
        self._call, self._rest = call, memoryview(call.message)
        self.write()

    def write(self) -> None:
        """Send as much as the collector and the kernel take now."""
        while self._rest and (size := min(self._credit, self._stream_credit, len(self._rest), _MOST_DATA)):
            ends = _END_STREAM if size == len(self._rest) else 0
            self._out += _frame(_DATA, ends, self._stream, bytes(self._rest[:size]))
            self._rest = self._rest[size:]
            self._credit -= size
            self._stream_credit -= size
        try:
            sent = self.socket.send(self._out)
        except BlockingIOError:
            sent = 0
        del self._out[:sent]
        self._replay.wants_to_write(self, bool(self._out))

    def read(self) -> None:
        """Take in what has come."""
        data = self.socket.recv(_READ_BYTES)
        if not data:
            raise ConnectionError("The collector has closed a connection.")
        self._in += data
        for kind, flags, stream, payload in self._frames():
            self._take(kind, flags, stream, payload)

    def _frames(self) -> Iterator[tuple[int, int, int, bytes]]:
        place = 0
        while len(self._in) >= place + _HEAD_BYTES:
            high, low, kind, flags, stream = _HEAD.unpack_from(self._in, place)
            end = place + _HEAD_BYTES + (high << 16 | low)
            if len(self._in) < end:
                break
            yield kind, flags, stream, bytes(self._in[place + _HEAD_BYTES : end])
            place = end
        del self._in[:place]

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _DATA:
            self._body += payload
        elif kind == _HEADERS:
            self.trailers = payload
        elif kind == _SETTINGS and not flags & _ACK:
            self._settings(payload)
        elif kind == _PING and not flags & _ACK:
            self._out += _frame(_PING, _ACK, 0, payload)
            self.write()
        elif kind == _WINDOW_UPDATE:
            more = int(struct.unpack(">I", payload)[0])
            if stream:
                self._stream_credit += more * (stream == self._stream)
            else:
                self._credit += more
            self.write()
        elif kind == _GOAWAY:
            raise ConnectionError("The collector has ended a connection.")
        ended = kind == _RST_STREAM or (kind in (_HEADERS, _DATA) and flags & _END_STREAM)
        if ended and stream == self._stream and not self._rest:
            self._replay.answered(self, self._call, bytes(self._body[5:]) if self._body else None)

    def _settings(self, payload: bytes) -> None:
        for name, value in struct.iter_unpack(">HI", payload):
            if name == _INITIAL_WINDOW_SIZE:
                self._stream_credit += value - self._stream_start
                self._stream_start = value
        self._out += _frame(_SETTINGS, _ACK, 0)
        self.write()


class Replay:
    """All connections of one process; belongs to one thread."""

    def __init__(self, address: tuple[str, int], connections: int, answered: Answered) -> None:
        """Connect; `answered` may begin the connection's next call."""
        self.answered, self.moved = answered, True
        """`moved`: whether the last look found anything to do."""
        self._selector = selectors.EpollSelector()
        self._writing: set[int] = set()
        self.connections = [Connection(self, address, number) for number in range(connections)]
        for connection in self.connections:
            self._selector.register(connection.socket, selectors.EVENT_READ, connection)

    def look(self, wait_s: float) -> None:
        """Read and write where that is possible, after waiting for it for `wait_s` at most."""
        found = self._selector.select(wait_s)
        self.moved = bool(found)
        for key, events in found:
            if events & selectors.EVENT_WRITE:
                key.data.write()
            if events & selectors.EVENT_READ:
                key.data.read()

    def wants_to_write(self, connection: Connection, wants: bool) -> None:
        """Whether the connection has something that the kernel does not take yet."""
        if wants != (connection.number in self._writing):
            self._writing ^= {connection.number}
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if wants else 0)
            self._selector.modify(connection.socket, events, connection)

    def close(self) -> None:
        """Close all connections."""
        for connection in self.connections:
            connection.socket.close()
        self._selector.close()
