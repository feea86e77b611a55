"""Packed lines come back as they went in, wherever blocks end."""

from hypothesis import given
from hypothesis import strategies as st

from agent.symbolize.packed_lines import BLOCK_BYTES, PackedLines

lengths = st.one_of(st.integers(0, 40), st.integers(BLOCK_BYTES - 3, BLOCK_BYTES + 3))


@given(st.lists(st.lists(lengths, max_size=5), max_size=5))
def test_every_line_comes_back(pieces: list[list[int]]) -> None:
    packed, expected = PackedLines(), {}
    for number, piece in enumerate(pieces):
        start = packed.size_bytes
        lines = [bytes([97 + (number + place) % 26]) * length for place, length in enumerate(piece)]
        for line in lines:
            expected[start] = line
            start += len(line) + 1
        packed.append(b"".join(line + b"\n" for line in lines))
        assert packed.size_bytes == start
    assert {start: packed.line(start) for start in expected} == expected


def test_it_takes_less_than_the_text() -> None:
    packed = PackedLines()
    for number in range(20_000):
        packed.append(b"t function_%d\n" % number)
    assert packed.nbytes < packed.size_bytes / 2
