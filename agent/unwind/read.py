"""Looks up rules in a table as the BPF program does, for tests and for people."""

import numpy as np

from agent.unwind.layout import (
    HEADER,
    LINE_BYTES,
    MAGIC,
    PAGE_BITS,
    PAGE_BYTES,
    ROW,
    ROWS_PER_LINE,
    RULE,
    Rows,
    Rules,
)


class TableReader:
    """One table, whole in memory; raises ValueError for what is none."""

    def __init__(self, data: bytes) -> None:
        if len(data) < LINE_BYTES or len(data) % LINE_BYTES:
            raise ValueError("no whole lines")
        self.header = np.frombuffer(data, HEADER, 1)[0]
        if self.header["magic"] != MAGIC or int(self.header["lines"]) * LINE_BYTES != len(data):
            raise ValueError("no unwind table of this version")
        self._words = np.frombuffer(data, np.uint32)
        self.base = int(self.header["base"])
        self.pages = int(self.header["pages"])
        start = int(self.header["rules_line"]) * LINE_BYTES
        self.rules: Rules = np.frombuffer(data, RULE, int(self.header["rules"]), start)
        first = int(self.header["directory_line"]) * ROWS_PER_LINE
        self._directory = self._words[first : first + self.pages + 1]

    def rows(self) -> Rows:
        """All rows in order of address, without those that only repeat the one before."""
        first, last = int(self._directory[0]), int(self._directory[-1])
        words = self._words[first * ROWS_PER_LINE : last * ROWS_PER_LINE]
        per_page = (self._directory[1:] - self._directory[:-1]).astype(np.int64) * ROWS_PER_LINE
        rows = np.zeros(len(words), ROW)
        rows["pc"] = np.repeat(np.arange(self.pages), per_page) << PAGE_BITS | words >> 16
        rows["rule"] = words & 0xFFFF
        changed = np.ones(len(rows), bool)
        changed[1:] = rows["rule"][1:] != rows["rule"][:-1]
        return rows[changed]

    def rule(self, vaddr: int) -> np.void:
        """The rule that holds at an address, as in the file."""
        offset = vaddr - self.base
        page = offset >> PAGE_BITS
        if not 0 <= page < self.pages:
            none: np.void = self.rules[0]
            return none
        start, end = (int(self._directory[page + more]) * ROWS_PER_LINE for more in (0, 1))
        wanted = np.uint32((offset & (PAGE_BYTES - 1)) << 16 | 0xFFFF)
        at = int(np.searchsorted(self._words[start:end], wanted, side="right")) - 1
        found: np.void = self.rules[int(self._words[start + at]) & 0xFFFF]
        return found
