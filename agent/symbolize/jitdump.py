"""jit-PID.dump: what a runtime's JIT compiler says of the code it made, as it makes it. Written by the process, so
untrusted.

Format: records behind a header, in the byte order of the machine
(https://github.com/torvalds/linux/blob/master/tools/perf/Documentation/jitdump-specification.txt). Written by V8
(--perf-prof), LLVM, Wasmtime, .NET, PHP, CPython (-X perf_jit) and others.
"""

import os
import re
import struct
from collections import OrderedDict
from typing import NamedTuple

from agent.process import Mapping
from agent.samples import U64
from agent.symbolize.code_ranges import CodeRanges

MAX_NAME_BYTES = 4096
MAX_MOVABLE = 50_000
"""Functions whose name is kept at hand for a move, the newest; no runtime known to us writes moves."""
CHUNK_BYTES = 256 << 10
MAX_CHUNKS_PER_UPDATE = 256
"""64 MiB of a dump are read in one go, the rest with the next look-up: code itself stands in it, too."""
MAX_RECORDS_PER_UPDATE = 100_000
"""As well: some 0.2 s of work."""
_MAX_PLACES = 1024
_MAX_SKIP = 1 << 40

_MAGIC = 0x4A695444
_LOAD, _MOVE, _DEBUG_INFO = 0, 1, 2
_HEADER = struct.Struct("=6I2Q")
_RECORD = struct.Struct("=IIQ")
_LOAD_FIELDS = struct.Struct("=II4Q")
_MOVE_FIELDS = struct.Struct("=II5Q")
_DEBUG_FIELDS = struct.Struct("=QQ")
_LINE_FIELDS = struct.Struct("=QII")
_BODY_BYTES = _LINE_FIELDS.size + _LOAD_FIELDS.size + MAX_NAME_BYTES
"""Of a record's body so much is looked at."""

_PATH = re.compile(r"(?:.*/)?jit-[0-9]{1,10}\.dump(?: \(deleted\))?\Z", re.DOTALL)


def is_jitdump(mapping: Mapping) -> bool:
    """Whether a mapping is the mark by which a runtime tells of its dump: a page of the file, executable."""
    return mapping.path.startswith("/") and bool(_PATH.match(mapping.path))


class JitName(NamedTuple):
    """A function in a dump; `file` and `line` where it begins, "" and 0 where that was not told."""

    name: str
    file: str = ""
    line: int = 0


class JitDump:
    """One dump, read as far as it was written. Later records win over earlier ones that they overlap."""

    def __init__(self) -> None:
        self.bad_records = 0
        self._ranges = CodeRanges()
        self._at = 0
        self._places: OrderedDict[int, bytes] = OrderedDict()
        self._names: OrderedDict[int, bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._ranges)

    @property
    def nbytes(self) -> int:
        """Memory in use."""
        return self._ranges.nbytes + 300 * len(self._names)

    @property
    def full(self) -> bool:
        """Whether it holds so much that no more of it is read."""
        return self._ranges.full

    def update(self, fd: int) -> None:
        """Read what was added to the open dump `fd`; all of it when it was cut short and written anew.

        A record that is not there to its end is left for the next time. Raises OSError when it cannot be read.
        """
        size = os.fstat(fd).st_size
        if size < self._at:
            self.__init__()  # type: ignore[misc]
        if not self._at and not self._read_header(fd):
            return
        records = MAX_RECORDS_PER_UPDATE
        for _ in range(MAX_CHUNKS_PER_UPDATE):
            taken = self._read_chunk(fd, size) if self._at + _RECORD.size <= size else 0
            records -= taken
            if not taken or records < 0 or self.full:
                return

    def names(self, addrs: U64) -> list[JitName]:
        """The function at each address, with an empty name where the dump has none."""
        return [_named(text) for text in self._ranges.texts(addrs)]

    def _read_header(self, fd: int) -> bool:
        data = os.pread(fd, _HEADER.size, 0)
        if len(data) < _HEADER.size:
            return False
        magic, version, header_bytes = _HEADER.unpack(data)[:3]
        if magic != _MAGIC or version != 1 or not _HEADER.size <= header_bytes <= 4096:
            return False
        self._at = header_bytes
        return True

    def _read_chunk(self, fd: int, size: int) -> int:
        """Take in the records that begin in the next CHUNK_BYTES; how many, 0 where they end for now."""
        begin, chunk, taken = self._at, os.pread(fd, CHUNK_BYTES + _BODY_BYTES, self._at), 0
        while (start := self._at - begin) < CHUNK_BYTES and start + _RECORD.size <= len(chunk):
            kind, record_bytes, _ = _RECORD.unpack_from(chunk, start)
            if record_bytes < _RECORD.size or self._at + record_bytes > size:
                return taken  # not written to its end; where it never is, nothing can be found after it
            body = chunk[start + _RECORD.size : start + min(record_bytes, _BODY_BYTES)]
            if not self._take(kind, body):
                self.bad_records += 1
            self._at += record_bytes
            taken += 1
        return taken

    def _take(self, kind: int, body: bytes) -> bool:
        """Take in one record, of which the first _BODY_BYTES are given; False for one that makes no sense."""
        if kind == _LOAD:
            return self._load(body)
        if kind == _MOVE:
            return self._move(body)
        return self._debug_info(body) if kind == _DEBUG_INFO else True

    def _load(self, body: bytes) -> bool:
        if len(body) <= _LOAD_FIELDS.size:
            return False
        _, _, _, start, code_bytes, number = _LOAD_FIELDS.unpack_from(body)
        name = _text(body, _LOAD_FIELDS.size)
        place = self._places.pop(start, b"")
        if not name or not _is_range(start, code_bytes):
            return False
        text = name + b"\0" + place if place else name
        self._names[number] = text
        if len(self._names) > MAX_MOVABLE:
            self._names.popitem(last=False)
        self._ranges.add(start, start + code_bytes, text)
        return True

    def _move(self, body: bytes) -> bool:
        """Code that was moved: its name goes with it."""
        if len(body) < _MOVE_FIELDS.size:
            return False
        _, _, _, old, new, code_bytes, number = _MOVE_FIELDS.unpack_from(body)
        text = self._names.get(number)
        if text is None or not _is_range(old, code_bytes) or not _is_range(new, code_bytes):
            return False
        self._ranges.add(old, old + code_bytes, b"")
        self._ranges.add(new, new + code_bytes, text)
        return True

    def _debug_info(self, body: bytes) -> bool:
        """Remember where the function whose load record follows begins: its first line entry."""
        if len(body) < _DEBUG_FIELDS.size + _LINE_FIELDS.size:
            return len(body) >= _DEBUG_FIELDS.size
        start, count = _DEBUG_FIELDS.unpack_from(body)
        _, line, _ = _LINE_FIELDS.unpack_from(body, _DEBUG_FIELDS.size)
        file = _text(body, _DEBUG_FIELDS.size + _LINE_FIELDS.size)
        if count and file and line < 1 << 31:
            self._places[start] = file + b"\0%d" % line
            if len(self._places) > _MAX_PLACES:
                self._places.popitem(last=False)
        return True


def _is_range(start: int, size: int) -> bool:
    return start > 0 and 0 < size < _MAX_SKIP and start + size < 1 << 64


def _text(body: bytes, at: int) -> bytes:
    """The text up to its NUL, cut to MAX_NAME_BYTES; newlines would end it in CodeRanges."""
    return body[at : at + MAX_NAME_BYTES].partition(b"\0")[0].replace(b"\n", b" ")


def _named(text: str) -> JitName:
    name, _, place = text.partition("\0")
    file, _, line = place.partition("\0")
    return JitName(name, file, int(line) if line else 0)
