"""The layout of an unwind table, as it lies in the disk cache and in a BPF map: bpf/unwind_tables.h in numpy.

A table is an array of lines of 64 bytes. Line 0 is the header. Code is cut into pages of 64 KiB from the header's
`base` on; the directory has, for each page and one more, the line where the page's rows begin. A row is a u32: the
low 16 bits of the address where it begins, then the number of the rule that holds from there to the next row.
The first row of a page begins at the page's first byte, and the last line of a page is filled with its last row.
"""

from enum import IntEnum

import numpy as np
import numpy.typing as npt

VERSION = 1
MAGIC = 0x55504600 | VERSION
LINE_BYTES = 64
ROWS_PER_LINE = 16
PAGE_BITS = 16
PAGE_BYTES = 1 << PAGE_BITS
MAX_PAGES = 1 << 16
"""4 GiB of code in one object."""
MAX_RULES = 65_535


class Cfa(IntEnum):
    """How the canonical frame address (the stack pointer before the call) is found: enum fp_cfa."""

    NONE = 0
    """No call frame information covers the code."""
    SP = 1
    FP = 2
    THIRD = 3
    """By the third register that is followed: rbx on x86-64."""
    PLT = 4
    AT_FP = 5
    """In memory at the frame pointer plus the offset, plus 8 x `extra`."""
    AT_SP = 6
    SIGNAL = 7
    """All registers are in a signal frame: the stack pointer at sp + offset, the program counter behind it."""
    END = 8
    """The return address is undefined: the outermost frame of a thread."""
    REG = 9
    """By register number `extra`, known in a leaf only."""
    UNKNOWN = 10
    """By means that are not followed."""


class At(IntEnum):
    """Where a register of the caller is: enum fp_at."""

    SAME = 0
    CFA = 1
    FP = 2
    SP = 3
    UNKNOWN = 4


RULE = np.dtype(
    [("cfa", "u1"), ("extra", "u1"), ("fp", "u1"), ("third", "u1"),
     ("cfa_offset", "<i4"), ("fp_offset", "<i4"), ("third_offset", "<i4")]
)  # fmt: skip
"""struct fp_rule."""
NO_RULE, UNKNOWN_RULE = 0, 1
"""The first two rules of every table."""

HEADER = np.dtype(
    [("magic", "<u4"), ("machine", "<u4"), ("pages", "<u4"), ("directory_line", "<u4"), ("rules_line", "<u4"),
     ("rules", "<u4"), ("lines", "<u4"), ("checksum", "<u4"), ("base", "<u8"), ("skipped", "<u4"),
     ("reserved", "<u4", 5)]
)  # fmt: skip
"""struct fp_table. `checksum`: CRC-32 of all other lines; `skipped`: FDEs that were damaged."""

FDE = np.dtype([("start", "<u8"), ("end", "<u8"), ("at", "<u8")])
"""Code [start, end), addresses as in the file, and where in the section its FDE lies."""
ROW = np.dtype([("pc", "<u4"), ("rule", "<u4")])
"""From `pc` (from the table's base) on, the rule of that number holds."""

Fdes = npt.NDArray[np.void]
Rows = npt.NDArray[np.void]
Rules = npt.NDArray[np.void]

X86_64, ARM64 = 0, 1

WORK_PER_BYTE = 4
"""Steps that a byte of call frame information may cost; an instruction is one step."""


class TooMuchWork(ValueError):
    """Call frame information that no compiler writes: it would take too long, or give too many rows."""


def first_rules() -> Rules:
    """The rules that every table begins with."""
    rules = np.zeros(2, RULE)
    rules["cfa"] = Cfa.NONE, Cfa.UNKNOWN
    return rules
