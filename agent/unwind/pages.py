"""Packs rows into pages of lines (see layout.py), batch by batch, so that a large table never is in memory."""

import numpy as np

from agent.samples import I64, U32
from agent.unwind.layout import NO_RULE, PAGE_BITS, PAGE_BYTES, ROW, ROWS_PER_LINE, Rows


class PagePacker:
    """Takes rows in order of address and gives lines.

    `directory[p]` is the line at which page p begins, counted from the first line given; it has one entry more
    than there are pages once `finish` was called.
    """

    def __init__(self) -> None:
        self._rest = np.zeros(0, ROW)
        self._page = 0
        self._rule = NO_RULE
        self._lines = 0
        self._directory: list[I64] = []

    @property
    def directory(self) -> I64:
        """The line of each page packed so far, and of the next."""
        return np.concatenate([*self._directory, np.array([self._lines], np.int64)])

    def add(self, rows: Rows) -> U32:
        """Take rows, and give the lines of all pages that are complete by now, flat."""
        rows = np.concatenate([self._rest, rows])
        if not len(rows):
            return np.empty(0, np.uint32)
        complete = int(rows["pc"][-1]) >> PAGE_BITS
        cut = int(np.searchsorted(rows["pc"], complete << PAGE_BITS))
        self._rest = rows[cut:]
        return self._pack(rows[:cut], complete)

    def finish(self, pages: int, end: int) -> U32:
        """The lines of what is left: up to page `pages`, with nothing known from address `end` on."""
        last = np.zeros(int(end < pages * PAGE_BYTES), ROW)
        last["pc"], last["rule"] = end, NO_RULE
        rows = np.concatenate([self._rest, last])
        self._rest = self._rest[:0]
        return self._pack(rows, pages)

    def _pack(self, rows: Rows, end_page: int) -> U32:
        """Lines of the pages from the first not yet packed up to `end_page`, which all `rows` lie in."""
        count = end_page - self._page
        if count <= 0:
            return np.empty(0, np.uint32)
        page = (rows["pc"] >> PAGE_BITS).astype(np.int64) - self._page
        first = np.searchsorted(page, np.arange(count + 1))
        low = rows["pc"] & np.uint32(PAGE_BYTES - 1)
        begins = np.zeros(count, bool)
        has_rows = first[1:] > first[:-1]
        begins[has_rows] = low[first[:-1][has_rows]] == 0
        sizes = first[1:] - first[:-1] + ~begins
        lines = -(-sizes // ROWS_PER_LINE)
        starts = np.concatenate([np.zeros(1, np.int64), lines.cumsum()])
        before = np.concatenate([np.array([self._rule], np.uint32), rows["rule"]])[first[:-1]]
        packed = np.zeros(int(starts[-1]) * ROWS_PER_LINE, np.uint32)
        known = np.zeros(len(packed), bool)
        slots = starts[:-1] * ROWS_PER_LINE
        packed[slots], known[slots] = before, True
        at = slots[page] + ~begins[page] + np.arange(len(rows)) - first[:-1][page]
        packed[at], known[at] = low << np.uint32(16) | rows["rule"], True
        filled = np.maximum.accumulate(np.where(known, np.arange(len(packed)), 0))
        self._directory.append(self._lines + starts[:-1])
        self._lines += int(starts[-1])
        self._page = end_page
        if len(rows):
            self._rule = int(rows["rule"][-1])
        return packed[filled]
