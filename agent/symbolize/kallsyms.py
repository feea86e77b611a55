"""The kernel's own functions, and those of its modules and BPF programs, from /proc/kallsyms."""

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from agent.samples import U32, U64
from agent.symbolize.packed_lines import PackedLines
from fleetprof.demangle import readable

MAX_KALLSYMS_BYTES = 64 << 20
CHUNK_BYTES = 256 << 10
"""Parsed at once: all of a kernel's 5 MB would take 50 MB for a moment."""
Flags = npt.NDArray[np.bool_]
_GAP_BYTES = 4096
"""The last function before a hole or a module has no known end: it gets its page and one more, as in perf."""
_TEXT = b"TtWw"
_MARKS = ("_start", "_end", "_begin", "_text", "_stext")
"""Linkers mark the start and end of sections with names that share an address with a real function."""


@dataclass(frozen=True, slots=True)
class KernelSymbols:
    """Function symbols sorted by address. That of symbol i, `TYPE name[\\t[module]]`, is the line of `text`
    that starts at lines[i]."""

    starts: U64
    sizes: U32
    lines: U32
    text: PackedLines

    @classmethod
    def read(cls, path: Path) -> "KernelSymbols":
        """Parse kallsyms; no symbols when it cannot be read or the kernel hides the addresses."""
        try:
            with path.open("rb") as file:
                return cls._of(_whole_lines(file))
        except OSError:
            return cls.parse(b"")

    @classmethod
    def parse(cls, text: bytes) -> "KernelSymbols":
        """Of lines `ADDRESS TYPE name[\t[module]]`; lines of any other form are skipped."""
        return cls._of(_whole_lines(io.BytesIO(text)))

    @classmethod
    def _of(cls, chunks: Iterator[bytes]) -> "KernelSymbols":
        parts, text = [_parse(b"")], PackedLines()
        for part in map(_parse, chunks):
            parts.append(replace(part, lines=part.lines + np.uint32(text.size_bytes), text=b""))
            text.append(part.text)
        addrs = np.concatenate([part.addrs for part in parts])
        order = np.argsort(addrs, kind="stable")
        addrs = addrs[order]
        ends = _ends(addrs, np.concatenate([part.in_module for part in parts])[order])
        wanted = np.concatenate([part.wanted for part in parts])[order]
        lines = np.concatenate([part.lines for part in parts])[order]
        sizes = np.minimum(ends - addrs, np.uint64(2**32 - 1)).astype(np.uint32)
        return cls(addrs[wanted], sizes[wanted], lines[wanted], text)

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def nbytes(self) -> int:
        """Memory in use."""
        return self.starts.nbytes + self.sizes.nbytes + self.lines.nbytes + self.text.nbytes

    def names(self, addrs: U64) -> list[tuple[str, str]]:
        """(function, module) at each address, ("", "") where there is none. The kernel's module is ""."""
        last = np.searchsorted(self.starts, addrs, side="right") - 1
        inside, first = last >= 0, last
        if len(self):
            nearest = np.maximum(last, 0)
            inside &= addrs - self.starts[nearest] < self.sizes[nearest]
            first = np.searchsorted(self.starts, self.starts[nearest])
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
        line = self.text.line(int(self.lines[index])).decode("utf-8", "replace")
        name, _, module = line[2:].partition("\t")
        return line[0] not in "TW" or name.endswith(_MARKS), name, module.strip("[] ")


def _preference(name: str) -> tuple[int, int, str]:
    return len(name) - len(name.lstrip("_")), len(name), name


@lru_cache(maxsize=4096)
def _readable(name: str) -> str:
    return readable(name)[0]


def _whole_lines(file: IO[bytes]) -> Iterator[bytes]:
    """The text in parts of about CHUNK_BYTES that end at line ends; at most MAX_KALLSYMS_BYTES in all."""
    rest = b""
    for _ in range(MAX_KALLSYMS_BYTES // CHUNK_BYTES):
        part = file.read(CHUNK_BYTES)
        if not part:
            return
        whole, newline, rest = (rest + part).rpartition(b"\n")
        yield whole + newline
        rest = rest[-CHUNK_BYTES:]


@dataclass(frozen=True, slots=True)
class _Chunk:
    """All well-formed lines; `lines` and `text` hold the names of all of them, `wanted` marks functions."""

    addrs: U64
    in_module: Flags
    wanted: Flags
    lines: U32
    text: bytes


def _parse(text: bytes) -> _Chunk:
    """Of lines with 16 hex digits, a space, a letter, a space, a name."""
    data = np.frombuffer(text, np.uint8)
    ends = np.flatnonzero(data == ord("\n")).astype(np.int64)
    starts = np.concatenate([np.zeros(min(len(ends), 1), np.int64), ends[:-1] + 1])
    long_enough = ends - starts >= 20
    starts, ends = starts[long_enough], ends[long_enough]
    digits = data[starts[:, None] + np.arange(16)] if len(starts) else np.empty((0, 16), np.uint8)
    values, valid = _hex(digits)
    separators = (data[starts + 16] == ord(" ")) & (data[starts + 18] == ord(" "))
    good = np.flatnonzero(valid & separators)
    addrs, starts, ends = values[good], starts[good] + 17, ends[good]
    wanted = np.isin(data[starts], np.frombuffer(_TEXT, np.uint8)) & (addrs != 0)
    names = b"".join(
        [text[start : end + 1] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    )
    lengths = ends + 1 - starts
    lines = (np.cumsum(lengths) - lengths).astype(np.uint32)
    return _Chunk(addrs, data[ends - 1] == ord("]"), wanted, lines, names)


def _hex(digits: npt.NDArray[np.uint8]) -> tuple[U64, Flags]:
    table = np.full(256, 255, np.uint8)
    for value, letters in enumerate(zip(b"0123456789abcdef", b"0123456789ABCDEF", strict=True)):
        table[list(letters)] = value
    nibbles = table[digits]
    valid = (nibbles != 255).all(axis=1)
    total: U64 = np.zeros(len(digits), np.uint64)
    for column in range(digits.shape[1]):
        total = (total << np.uint64(4)) | (nibbles[:, column] & 15).astype(np.uint64)
    return total, valid


def _ends(addrs: U64, in_module: Flags) -> U64:
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
