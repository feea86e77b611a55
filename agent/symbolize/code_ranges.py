"""Code that a runtime made while running: named address ranges that are added one by one and found in bulk.

Memory is given back to other code and used again, so what was added later hides what it overlaps.
"""

from array import array

import numpy as np

from agent.samples import I64, U64
from agent.symbolize.intervals import Intervals
from agent.symbolize.packed_lines import PackedLines

ENTRY_BYTES = 56
"""Of memory for a range, its name aside: three words here, four in the sorted index."""
MAX_ENTRIES = 300_000
MAX_TEXT_BYTES = 32 << 20
"""A large Java program has some 50,000 functions of 100 bytes each."""
_MAX_DECODED = 20_000
_DECODED_BYTES = 200


class CodeRanges:
    """Ranges with a line of text each. Not thread-safe."""

    def __init__(self) -> None:
        self._starts = array("Q")
        self._ends = array("Q")
        self._text_at = array("Q")
        self._texts = PackedLines()
        self._decoded: dict[int, str] = {}
        self._index: tuple[Intervals, I64] | None = None

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def nbytes(self) -> int:
        """Memory in use."""
        return self._texts.nbytes + ENTRY_BYTES * len(self) + _DECODED_BYTES * len(self._decoded)

    @property
    def full(self) -> bool:
        """Whether more should not be added."""
        return len(self) >= MAX_ENTRIES or self._texts.size_bytes >= MAX_TEXT_BYTES

    def add(self, start: int, end: int, text: bytes) -> None:
        """Add [start, end), 0 <= start < end < 2^64; an empty text hides what was there. No newline in it."""
        self._index = None
        self._starts.append(start)
        self._ends.append(end)
        self._text_at.append(self._texts.size_bytes)
        self._texts.append(text + b"\n")

    def texts(self, addrs: U64) -> list[str]:
        """The text at each address, "" where there is none; bytes that are no UTF-8 are replaced."""
        intervals, order = self.indexed()
        found = intervals.find(addrs, order)
        return [self._text(int(order[at])) if at >= 0 else "" for at in found.tolist()]

    def indexed(self) -> tuple[Intervals, I64]:
        """Ranges sorted by start, and for each when it was added."""
        if self._index is None:
            starts, ends = np.array(self._starts, np.uint64), np.array(self._ends, np.uint64)
            order = np.argsort(starts, kind="stable").astype(np.int64)
            starts = starts[order]
            last = np.append(starts[1:] != starts[:-1], True) if len(starts) else np.empty(0, np.bool_)
            order = order[last]
            self._index = Intervals.of_sorted(starts[last], ends[order]), order
        return self._index

    def _text(self, entry: int) -> str:
        known = self._decoded.get(entry)
        if known is None:
            if len(self._decoded) >= _MAX_DECODED:
                self._decoded.clear()
            known = self._texts.line(self._text_at[entry]).decode("utf-8", "replace").strip()
            self._decoded[entry] = known
        return known
