"""Decodes columns of varints (protobuf's variable-length integers) with numpy, of many messages at once.

Each byte holds 7 bits of a number, lowest first; its highest bit says that another byte follows. The bytes of
up to 8 of them are gathered as one 64-bit word, whose 7-bit groups are then closed up in three steps.
https://protobuf.dev/programming-guides/encoding/#varints
"""

from collections.abc import Sequence

import numpy as np

from collector.ingest.window import I64, U8, U64

_LONGEST = 10
_WORD = 8
_LOW_BITS = np.array([0, *((1 << (8 * length)) - 1 for length in range(1, _WORD + 1))], np.uint64)
_STEPS = (
    (np.uint64(0x007F_007F_007F_007F), 1),
    (np.uint64(0x0000_3FFF_0000_3FFF), 2),
    (np.uint64(0x0000_0000_0FFF_FFFF), 4),
)
"""Bits that stay where they are, and by how much those above them move down."""


class BadVarint(Exception):
    """A piece that ends inside a number, or a number longer than 64 bits."""


def decode_varints(pieces: Sequence[bytes]) -> tuple[U64, I64]:
    """The numbers of all pieces, one after the other, and how many each piece has; raises BadVarint."""
    lengths = np.fromiter(map(len, pieces), np.int64, len(pieces))
    data = np.frombuffer(b"".join(pieces), np.uint8)
    last = data < 0x80
    if last.all():
        return data.astype(np.uint64), lengths
    ends = np.flatnonzero(last)
    stops = lengths.cumsum()
    if not last[stops[lengths > 0] - 1].all():
        raise BadVarint
    counts = np.diff(np.searchsorted(ends, stops), prepend=0)
    return _decode(data, ends), counts


def _decode(data: U8, ends: I64) -> U64:
    """The numbers whose last bytes are at `ends`."""
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1] + 1])
    sizes = ends - starts + 1
    if sizes.max() > _LONGEST:
        raise BadVarint
    padded = np.concatenate([data, np.zeros(_WORD, np.uint8)])
    words = np.lib.stride_tricks.as_strided(padded[:_WORD].view("<u8"), (len(data),), (1,))
    numbers = _close_up(words[starts] & _LOW_BITS[np.minimum(sizes, _WORD)])
    for place in np.flatnonzero(sizes > _WORD).tolist():
        numbers[place] = _decode_long(data[starts[place] : ends[place] + 1])
    return numbers


def _close_up(words: U64) -> U64:
    """56 bits out of 8 groups of 7 bits, each in a byte."""
    for low, shift in _STEPS:
        words = (words & low) | ((words >> np.uint64(shift)) & (low << np.uint64(7 * shift)))
    return words


def _decode_long(data: U8) -> int:
    number: int = sum((byte & 0x7F) << (7 * place) for place, byte in enumerate(data.tolist()))
    if number >= 1 << 64:
        raise BadVarint
    return number


def signed(numbers: U64) -> I64:
    """What zigzag-coded numbers stand for: 0, -1, 1, -2, …; https://protobuf.dev/programming-guides/encoding/#signed-ints"""
    return (numbers >> np.uint64(1)).astype(np.int64) ^ -(numbers & np.uint64(1)).astype(np.int64)
