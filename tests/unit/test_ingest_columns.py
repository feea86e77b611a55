"""Columns of many windows at once: varints, requests in odd encodings, good windows among bad ones."""

import time

import numpy as np
import pytest
from google.protobuf.internal import encoder
from hypothesis import given
from hypothesis import strategies as st

from collector.ingest.admission import admit, receive
from collector.ingest.in_flight import InFlight
from collector.ingest.limits import Limits
from collector.ingest.refusal import Later
from collector.ingest.rows import decode_rows
from collector.ingest.varint import BadVarint, decode_varints
from collector.ingest.window import Window
from fleetprof.v1 import ingest_pb2
from tests.store.pushes import Row, push_request

LIMITS = Limits()
SIZES = st.sampled_from([1, 7, 8, 14, 21, 28, 35, 49, 56, 57, 63, 64])
NUMBERS = SIZES.flatmap(lambda bits: st.integers(0, 2**bits - 1))


def encoded(number: int) -> bytes:
    """As the protobuf library writes it."""
    pieces: list[bytes] = []
    encoder._EncodeVarint(pieces.append, number)
    return b"".join(pieces)


@given(st.lists(st.lists(NUMBERS, max_size=6), max_size=6))
def test_varints_of_many_pieces(pieces: list[list[int]]) -> None:
    numbers, counts = decode_varints([b"".join(map(encoded, piece)) for piece in pieces])
    assert numbers.tolist() == [number for piece in pieces for number in piece]
    assert counts.tolist() == [len(piece) for piece in pieces]


@given(st.lists(st.binary(max_size=12), max_size=4))
def test_bytes_that_are_no_varints_never_spill_into_the_next_piece(pieces: list[bytes]) -> None:
    try:
        numbers, counts = decode_varints(pieces)
    except BadVarint:
        return
    parts = np.split(numbers, counts.cumsum()[:-1]) if pieces else []
    for piece, part in zip(pieces, parts, strict=True):
        alone, _ = decode_varints([piece])
        assert alone.tolist() == part.tolist()


def window_of(data: bytes) -> Window:
    return admit(receive(data, LIMITS), LIMITS, time.time())


def request(sequence: int = 1) -> ingest_pb2.PushRequest:
    rows = [Row("a;main", 300 + n, offsets=[n, 500]) for n in range(5)]
    return push_request(rows, {"host": "h", "service": "s"}, sequence)


def field(number: int, wire_type: int, content: bytes) -> bytes:
    length = encoded(len(content)) if wire_type == 2 else b""
    return encoded(number << 3 | wire_type) + length + content


def test_a_column_written_number_by_number_or_in_pieces_is_read_alike() -> None:
    """Both are legal protobuf, and messages may come in pieces that are to be merged."""
    plain = request()
    expected = decode_rows([window_of(plain.SerializeToString())], LIMITS)[0]
    values = list(plain.window.samples.value)
    plain.window.samples.ClearField("value")
    by_number = b"".join(field(4, 0, encoded(value)) for value in values)
    halves = b"".join(field(4, 2, b"".join(map(encoded, half))) for half in (values[:2], values[2:]))
    for column in (by_number, halves):
        data = plain.SerializeToString() + field(5, 2, field(9, 2, column))
        rows, refused = decode_rows([window_of(data)], LIMITS)
        assert not refused
        assert rows.value.tolist() == expected.value.tolist() == values
        assert rows.offsets.tolist() == expected.offsets.tolist()


@given(st.sets(st.integers(0, 5)))
def test_a_bad_window_is_refused_alone(bad: set[int]) -> None:
    windows = []
    for number in range(6):
        made = request(number + 1)
        made.window.samples.value[0] = number + 1
        if number in bad:
            made.window.samples.stack[1] = 77
        windows.append(window_of(made.SerializeToString()))
    rows, refused = decode_rows(windows, LIMITS)
    assert set(refused) == bad
    good = [number + 1 for number in range(6) if number not in bad]
    assert rows.value[np.arange(len(good)) * 5].tolist() == good
    assert rows.counts.tolist() == [5] * len(good)


def test_room_is_bounded_and_given_back() -> None:
    room = InFlight(limit_bytes=1000)
    leave = room.take(150, 0)
    with pytest.raises(Later) as later:
        room.take(100, 0)
    assert later.value.overloaded
    assert later.value.retry_ms > 0
    leave()
    assert room.held_bytes == 0
    room.take(10_000, 10_000)()  # one request always fits, however large
    assert room.held_bytes == 0
