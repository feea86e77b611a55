"""Lines of text that are seldom read, kept compressed: a kernel's names take 0.7 MB in place of 3.3."""

import zlib

BLOCK_BYTES = 16 << 10
"""Compressed by itself; reading a line costs 40 us unless the line before came from the same block."""
_FASTEST = 1


class PackedLines:
    """Text ending in newlines, appended piece by piece and read line by line. Not thread-safe."""

    def __init__(self) -> None:
        self._blocks: list[bytes] = []
        self._tail = bytearray()
        self._recent = (-1, b"")
        self.size_bytes = 0
        """Of the text, unpacked: where the next piece will begin."""

    def append(self, text: bytes) -> None:
        """Add whole lines at the end."""
        self.size_bytes += len(text)
        self._tail += text
        while len(self._tail) >= BLOCK_BYTES:
            self._blocks.append(zlib.compress(self._tail[:BLOCK_BYTES], _FASTEST))
            del self._tail[:BLOCK_BYTES]

    @property
    def nbytes(self) -> int:
        """Memory in use."""
        return sum(map(len, self._blocks)) + len(self._tail) + len(self._recent[1])

    def line(self, start: int) -> bytes:
        """The line that begins at byte `start`, without its newline."""
        number, offset = divmod(start, BLOCK_BYTES)
        found, newline, _ = self._block(number)[offset:].partition(b"\n")
        while not newline and number < len(self._blocks):
            number += 1
            more, newline, _ = self._block(number).partition(b"\n")
            found += more
        return found

    def _block(self, number: int) -> bytes:
        if number == len(self._blocks):
            return bytes(self._tail)
        if self._recent[0] != number:
            self._recent = (number, zlib.decompress(self._blocks[number]))
        return self._recent[1]
