"""The kernel's own functions, and those of its modules and BPF programs, from /proc/kallsyms."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from agent.samples import I64, U64
from agent.symbolize.demangle import readable

MAX_KALLSYMS_BYTES = 64 << 20
_GAP_BYTES = 4096
"""The last function before a hole or a module has no known end: it gets its page and one more, as in perf."""
_TEXT = b"TtWw"
_MARKS = ("_start", "_end", "_begin", "_text", "_stext")
"""Linkers mark the start and end of sections with names that share an address with a real function."""


@dataclass(frozen=True, slots=True)
class KernelSymbols:
    """Function symbols sorted by address. The name of i is text[name_starts[i]:name_ends[i]]."""

    starts: U64
    ends: U64
    name_starts: I64
    name_ends: I64
    text: bytes

    @classmethod
    def read(cls, path: Path) -> "KernelSymbols":
        """Parse kallsyms; no symbols when it cannot be read or the kernel hides the addresses."""
        try:
            with path.open("rb") as file:
                text = file.read(MAX_KALLSYMS_BYTES)
        except OSError:
            text = b""
        return cls.parse(text)

    @classmethod
    def parse(cls, text: bytes) -> "KernelSymbols":
        """Of lines `ADDRESS TYPE name[\\t[module]]`; lines of any other form are skipped."""
        lines = _lines(np.frombuffer(text, np.uint8))
        order = np.argsort(lines.addrs, kind="stable")
        addrs, modules = lines.addrs[order], lines.in_module[order]
        ends = _ends(addrs, modules)
        wanted = lines.is_text[order] & (addrs != 0)
        chosen = order[wanted]
        return cls(addrs[wanted], ends[wanted], *_compact(text, lines.starts[chosen], lines.ends[chosen]))

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def nbytes(self) -> int:
        """Memory in use."""
        arrays = (self.starts, self.ends, self.name_starts, self.name_ends)
        return sum(array.nbytes for array in arrays) + len(self.text)

    def names(self, addrs: U64) -> list[tuple[str, str]]:
        """(function, module) at each address, ("", "") where there is none. The kernel's module is ""."""
        last = np.searchsorted(self.starts, addrs, side="right") - 1
        inside = (last >= 0) & (addrs < self.ends[np.maximum(last, 0)]) if len(self) else last >= 0
        first = np.searchsorted(self.starts, self.starts[np.maximum(last, 0)]) if len(self) else last
        return [
            self._best(low, high) if hit else ("", "")
            for low, high, hit in zip(first.tolist(), last.tolist(), inside.tolist(), strict=True)
        ]

    def _best(self, first: int, last: int) -> tuple[str, str]:
        """Of several names for one address: no linker's mark, exported before local, then as for files."""
        names = [self._split(index) for index in range(first, min(last, first + 16) + 1)]
        _, name, module = min(names, key=lambda found: (found[0], _preference(found[1])))
        return _readable(name), module

    def _split(self, index: int) -> tuple[bool, str, str]:
        line = self.text[int(self.name_starts[index]) : int(self.name_ends[index])].decode("utf-8", "replace")
        name, _, module = line[2:].partition("\t")
        return line[0] not in "TW" or name.endswith(_MARKS), name, module.strip("[] ")


def _preference(name: str) -> tuple[int, int, str]:
    return len(name) - len(name.lstrip("_")), len(name), name


@lru_cache(maxsize=4096)
def _readable(name: str) -> str:
    return readable(name)[0]


@dataclass(frozen=True, slots=True)
class _Lines:
    addrs: U64
    starts: I64
    """Where the type letter is."""
    ends: I64
    is_text: npt.NDArray[np.bool_]
    in_module: npt.NDArray[np.bool_]


def _lines(data: npt.NDArray[np.uint8]) -> _Lines:
    """All well-formed lines: 16 hex digits, a space, a letter, a space, a name."""
    ends = np.flatnonzero(data == ord("\n")).astype(np.int64)
    starts = np.concatenate([np.zeros(min(len(ends), 1), np.int64), ends[:-1] + 1])
    long_enough = ends - starts >= 20
    starts, ends = starts[long_enough], ends[long_enough]
    digits = data[starts[:, None] + np.arange(16)] if len(starts) else np.empty((0, 16), np.uint8)
    values, valid = _hex(digits)
    separators = (data[starts + 16] == ord(" ")) & (data[starts + 18] == ord(" "))
    good = np.flatnonzero(valid & separators)
    kinds = data[starts[good] + 17]
    is_text = np.isin(kinds, np.frombuffer(_TEXT, np.uint8))
    return _Lines(values[good], starts[good] + 17, ends[good], is_text, data[ends[good] - 1] == ord("]"))


def _hex(digits: npt.NDArray[np.uint8]) -> tuple[U64, npt.NDArray[np.bool_]]:
    table = np.full(256, 255, np.uint8)
    for value, letters in enumerate(zip(b"0123456789abcdef", b"0123456789ABCDEF", strict=True)):
        table[list(letters)] = value
    nibbles = table[digits]
    valid = (nibbles != 255).all(axis=1)
    total: U64 = np.zeros(len(digits), np.uint64)
    for column in range(digits.shape[1]):
        total = (total << np.uint64(4)) | (nibbles[:, column] & 15).astype(np.uint64)
    return total, valid


def _ends(addrs: U64, in_module: npt.NDArray[np.bool_]) -> U64:
    """Each symbol reaches to the next address, but not from the kernel into a module or over a large hole."""
    if not len(addrs):
        return addrs
    position = np.searchsorted(addrs, addrs, side="right")
    limited: U64 = (addrs | np.uint64(_GAP_BYTES - 1)) + np.uint64(_GAP_BYTES + 1)
    limited = np.maximum(limited, addrs)
    following = np.append(addrs, np.uint64(2**64 - 1))[position]
    next_in_module = np.append(in_module, False)[position]
    hole = (following - addrs > np.uint64(1 << 20)) | (next_in_module & ~in_module)
    return np.where(hole, np.minimum(limited, following), following)


def _compact(text: bytes, starts: I64, ends: I64) -> tuple[I64, I64, bytes]:
    """The name part of chosen lines only, in their order: half of the memory."""
    lengths = ends - starts
    new_ends = np.cumsum(lengths)
    parts = zip(starts.tolist(), ends.tolist(), strict=True)
    return new_ends - lengths, new_ends, b"".join([text[start:end] for start, end in parts])
