"""The row builder in C (cfi.c), through ctypes."""

import ctypes
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from agent.libbpf import OBJECTS
from agent.unwind.layout import (
    FDE,
    MAX_RULES,
    ROW,
    RULE,
    WORK_PER_BYTE,
    Fdes,
    Rows,
    Rules,
    TooMuchWork,
    first_rules,
)
from fleetprof.errors import UnavailableError

LIBRARY = OBJECTS / "libcfi.so"
HASH_SLOTS = 1 << 17
ROW_CAPACITY = 1 << 17


class _Builder(ctypes.Structure):
    """struct builder of cfi.c."""

    _fields_ = (
        ("section", ctypes.c_void_p),
        ("size", ctypes.c_uint64),
        ("vaddr", ctypes.c_uint64),
        ("base", ctypes.c_uint64),
        ("work", ctypes.c_uint64),
        ("rules", ctypes.c_void_p),
        ("slots", ctypes.c_void_p),
        ("rule_count", ctypes.c_uint32),
        ("last_rule", ctypes.c_uint32),
        ("row_count", ctypes.c_uint32),
        ("row_capacity", ctypes.c_uint32),
        ("rows", ctypes.c_void_p),
        ("end", ctypes.c_uint64),
        ("machine", ctypes.c_uint32),
        ("skipped", ctypes.c_uint32),
    )


def load_library(path: Path = LIBRARY) -> ctypes.CDLL:
    """The library; raises UnavailableError where it is not built, or built for another CPU."""
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise UnavailableError(f"The builder of unwind tables in C cannot be used: {error}.") from error
    pointer, number = ctypes.c_void_p, ctypes.c_long
    library.cfi_index.restype, library.cfi_index.argtypes = number, [pointer, pointer, number]
    library.cfi_rows.restype = number
    library.cfi_rows.argtypes = [pointer, pointer, number, ctypes.c_uint64]
    return library


class LibraryRows:
    """Rows of one section; see agent.unwind.cfi.CfiRows, which does the same in Python."""

    def __init__(self, library: ctypes.CDLL, section: bytes, vaddr: int, machine: int) -> None:
        self._library = library
        self._section = section
        self._rules = np.zeros(MAX_RULES, RULE)
        self._slots = np.zeros(HASH_SLOTS, np.uint32)
        self._rows = np.zeros(ROW_CAPACITY, ROW)
        first = first_rules()
        self._rules[: len(first)] = first
        self._builder = _Builder(
            section=ctypes.cast(ctypes.c_char_p(section), ctypes.c_void_p),
            size=len(section),
            vaddr=vaddr,
            work=WORK_PER_BYTE * len(section),
            rules=self._rules.ctypes.data,
            slots=self._slots.ctypes.data,
            rule_count=len(first),
            rows=self._rows.ctypes.data,
            row_capacity=ROW_CAPACITY,
            machine=machine,
        )

    def index(self) -> Fdes:
        """The FDEs in the section's order."""
        at = ctypes.byref(self._builder)
        fdes = np.zeros(self._library.cfi_index(at, None, 0), FDE)
        self._library.cfi_index(at, fdes.ctypes.data, len(fdes))
        return fdes

    def rows(self, fdes: Fdes, base: int, code_end: int) -> Iterator[Rows]:
        """Rows of FDEs sorted by start, batch by batch; raises TooMuchWork."""
        builder, done = self._builder, 0
        builder.base = builder.end = base
        while done < len(fdes):
            builder.row_count = 0
            rest = fdes[done:]
            taken = self._library.cfi_rows(ctypes.byref(builder), rest.ctypes.data, len(rest), code_end)
            if taken < 0:
                raise TooMuchWork
            done += taken
            yield self._rows[: builder.row_count].copy()

    @property
    def end(self) -> int:
        """Where the code covered so far ends."""
        return int(self._builder.end)

    @property
    def rules(self) -> Rules:
        """The rules so far, by number."""
        return self._rules[: self._builder.rule_count].copy()

    @property
    def skipped(self) -> int:
        """FDEs that could not be understood to their end."""
        return int(self._builder.skipped)
