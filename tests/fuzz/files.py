"""Files that processes bring along: executables and libraries, tables of code, debug files."""

import contextlib
import io
import os
import random
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

from agent.cpython.find import find_interpreter
from agent.symbolize.build_id import build_id_of
from agent.symbolize.elf import ElfError, ElfFile, MemoryBytes
from agent.symbolize.jitdump import JitDump
from agent.symbolize.load_object import load_object
from agent.symbolize.perf_map import PerfMap
from agent.unwind.build import FrameSection, RowSource, write_table
from agent.unwind.cfi import CfiRows
from agent.unwind.cfi_library import LibraryRows, load_library
from agent.unwind.objects import ObjectCode, TableBuilder, _Order
from agent.unwind.read import TableReader
from agent.unwind.table_files import TableFiles
from collector.debuginfo.segments import NotElf, read_segments
from fleetprof.losses import DropReason
from tests.fuzz.binary import BinaryInputs, Field, Seed, words
from tests.fuzz.elf_fields import eh_frame_fields, elf_fields, is_elf, whole_records
from tests.fuzz.interpreter_image import interpreter_image
from tests.fuzz.subject import Subject, Wrong
from tests.unit import elf_images, test_go_pclntab, test_symbolize_jitdump

GOLDEN = Path(__file__).parents[1] / "golden" / "symbols"
SYMBOL_LIMIT_BYTES = 4 << 20
MAX_NAME_BYTES = 1024
SMALL_BYTES, LARGE_BYTES = 40_000, 8 << 20
MAX_SECTION_BYTES = 1500
_SMALL = (
    "/bin/true",
    "/lib/x86_64-linux-gnu/libdl.so.2",
    "/lib/x86_64-linux-gnu/libutil.so.1",
    "/bin/mktemp",
)
_LARGE = (
    *(
        "/lib64/ld-linux-x86-64.so.2",
        "/lib/x86_64-linux-gnu/libc.so.6",
        "/usr/bin/python3.11",
        sys.executable,
    ),
    *("/usr/local/go/pkg/tool/*/buildid", "/usr/lib/go-*/pkg/tool/*/buildid"),
    *("/usr/lib/debug/.build-id/*/*.debug", "/root/.pyenv/versions/*/lib/libpython3.*.so"),
    *([os.environ["FLEETPROF_FUZZ_FILES"] + "/*"] if "FLEETPROF_FUZZ_FILES" in os.environ else []),
)
"""C, Go, debug files and interpreters, as far as they are here, and what else a folder of one's own holds."""
ADDRS = np.array(
    [0, 0x1000, 0x1020, 0x103F, 0x2000, 0x2010, 0x3000, 0x3030, 1 << 47, (1 << 64) - 1], np.uint64
)
_LOSSES = (None, DropReason.OBJECT_UNREADABLE, DropReason.SYMBOL_LIMIT)


def _found(patterns: tuple[str, ...], most_bytes: int, most: int = 12) -> list[Seed]:
    paths = sorted({path.resolve() for each in patterns for path in Path("/").glob(each.lstrip("/"))})
    small = [path for path in paths if path.is_file() and 0 < path.stat().st_size <= most_bytes]
    read = [data for path in small[:most] if is_elf(data := path.read_bytes())]
    return [Seed(data, elf_fields(data)) for data in read]


def _made() -> Seed:
    names = [f"_ZN4shop4f{i:03}Ev" for i in range(40)]
    symbols = [elf_images.Symbol(name, elf_images.TEXT_ADDR + 16 * i, 16) for i, name in enumerate(names)]
    data = elf_images.image(symbols)
    return Seed(data, elf_fields(data))


@cache
def _seldom() -> list[Seed]:
    return _found(_LARGE, LARGE_BYTES)


def _elf() -> Subject:
    seeds = [_made(), *_found(_SMALL, SMALL_BYTES)]
    return _subject(_feed_elf, seeds, _seldom)


def _go() -> Subject:
    return _subject(_feed_elf, [Seed(data, _go_fields(data)) for data in test_go_pclntab.PLACES])


def _go_fields(data: bytes) -> list[Field]:
    """Of the headers, and of all that is no code."""
    return [*(elf_fields(data) if is_elf(data) else []), *words(data, 0x1000)]


def _subject(
    feed: Callable[[bytes], bool], seeds: list[Seed], rare: Callable[[], list[Seed]] = list
) -> Subject:
    def inputs(chance: random.Random) -> BinaryInputs:
        return BinaryInputs(chance, seeds, rare())

    return Subject(feed, [seed.data for seed in seeds], inputs)


def _feed_elf(data: bytes) -> bool:
    source = MemoryBytes(data)
    symbols = load_object(source, "/srv/app", (), SYMBOL_LIMIT_BYTES)
    offsets = np.linspace(0, len(data), 24).astype(np.uint64)
    offsets = np.append(offsets, np.array([0x1000, 0x1009, 0x1100, 1 << 40, (1 << 64) - 1], np.uint64))
    frames = symbols.frames(source, offsets, "m")
    for frame in frames:
        if len(frame.function.encode()) > MAX_NAME_BYTES or len(frame.file.encode()) > MAX_NAME_BYTES:
            raise Wrong(f"A name of {len(frame.function)} and {len(frame.file)} characters")
        if not 0 <= frame.line < 1 << 31:
            raise Wrong(f"Line {frame.line}")
    if symbols.loss not in _LOSSES or len(frames) != len(offsets):
        raise Wrong(f"{len(frames)} frames, {symbols.loss}")
    return any(frame.function for frame in frames)


def _unwind_files() -> Subject:
    """What the thread that builds unwind tables does with a file; it must not end."""
    seeds = [seed for seed in _found(_SMALL, SMALL_BYTES) if _cut_frames(seed.data)]
    builder = TableBuilder(TableFiles(Path("/proc/nowhere")))

    def feed(data: bytes) -> bool:
        built = builder._build(_Order(ObjectCode(), MemoryBytes(data)))
        if built.file is None:
            return False
        with built.file as file:
            file.seek(0)
            TableReader(file.read())
        return True

    return _subject(feed, seeds)


def _cut_frames(data: bytes) -> bool:
    """Whether a file has call frame information, and little of it."""
    try:
        return len(FrameSection(ElfFile(MemoryBytes(data))).data) < 2000
    except ElfError:
        return False


def _python_files() -> Subject:
    """Interpreters, found in files small enough to be fed by the thousand."""
    data = interpreter_image()
    return _subject(_feed_python, [Seed(data, [*elf_fields(data), *words(data, 0x2000, size=8)])])


def _feed_python(data: bytes) -> bool:
    found = find_interpreter(MemoryBytes(data))
    if found is None:
        return False
    found.bias(0x7F0000000000, 0)
    if not found.layout.is_sound:
        raise Wrong("a layout that reads anywhere")
    return True


def _eh_frame() -> Subject:
    """Call frame information by itself, built in C, and now and then in Python, which must say the same."""
    seeds, sections = [], []
    for seed in (*_found(_SMALL, SMALL_BYTES), *_found(_LARGE[:2], LARGE_BYTES)):
        with contextlib.suppress(ElfError):
            section = FrameSection(ElfFile(MemoryBytes(seed.data)))
            section.data = whole_records(section.data, MAX_SECTION_BYTES)
            sections.append(section)
            # Which section's addresses are used is the first byte.
            data = bytes([len(sections) - 1]) + section.data
            seeds.append(Seed(data, [Field(at + 1, size) for at, size in eh_frame_fields(section.data)]))
    library, turn = load_library(), iter(range(1 << 62))

    def feed(data: bytes) -> bool:
        if not data:
            return False
        section = FrameSection.__new__(FrameSection)
        section.__dict__.update(sections[data[0] % len(sections)].__dict__ | {"data": data[1:]})
        table = _table(section, LibraryRows(library, section.data, section.vaddr, section.machine))
        if next(turn) % 64 == 0 and table != _table(
            section, CfiRows(section.data, section.vaddr, section.machine)
        ):
            raise Wrong("Python makes another table of it than C")
        return table is not None

    return _subject(feed, seeds)


def _table(section: FrameSection, source: RowSource) -> bytes | None:
    out = io.BytesIO()
    try:
        size = write_table(section, source, out)
    except ElfError:
        return None
    reader = TableReader(out.getvalue())
    rows = reader.rows()
    if size != len(out.getvalue()) or (rows["pc"][1:] < rows["pc"][:-1]).any():
        raise Wrong("a table whose rows are out of order")
    if (rows["rule"] >= len(reader.rules)).any():
        raise Wrong("a row without its rule")
    return out.getvalue()


def _jitdump() -> Subject:
    data = test_symbolize_jitdump.WHOLE
    return _subject(_feed_jitdump, [Seed(data, words(data))])


def _feed_jitdump(data: bytes) -> bool:
    dump = JitDump()
    _read(dump, data)
    codes = dump.names(ADDRS)
    if not all(0 <= code.line < 1 << 31 for code in codes):
        raise Wrong("a line out of range")
    return any(code.name for code in codes)


def _perf_map() -> Subject:
    first = b"1000 40 one\n2000 40 two\n1010 8 JS:*inner /srv/a.js:1:2\n"
    texts = [first, *(path.read_bytes()[:1000] for path in sorted(GOLDEN.glob("*.map")))]
    starts = [int(line.split()[0], 16) for text in texts for line in text.splitlines()[:3]]
    addrs = np.array(starts, np.uint64)

    def feed(data: bytes) -> bool:
        known = PerfMap()
        _read(known, data)
        return any(known.names(addrs))

    return _subject(feed, [Seed(text) for text in texts])


def _read(table: JitDump | PerfMap, data: bytes) -> None:
    """Half of it first: the rest is added while it is being read."""
    fd = os.memfd_create("table")
    try:
        for part in (data[: len(data) // 2], data[len(data) // 2 :]):
            os.write(fd, part)
            table.update(fd)
    finally:
        os.close(fd)


def _debug_file() -> Subject:
    return _subject(_feed_debug_file, [_made(), *_found(_SMALL, SMALL_BYTES)], _seldom)


def _feed_debug_file(data: bytes) -> bool:
    try:
        segments, base = read_segments(data)
    except NotElf:
        return False
    if base < 0 or any(value < 0 for segment in segments for value in segment):
        raise Wrong("a negative address")
    with contextlib.suppress(ElfError):
        build_id_of(ElfFile(MemoryBytes(data)))
    return bool(segments)


SUBJECTS: dict[str, Callable[[], Subject]] = {
    "elf": _elf,
    "go": _go,
    "eh-frame": _eh_frame,
    "unwind-files": _unwind_files,
    "python-files": _python_files,
    "perf-map": _perf_map,
    "jitdump": _jitdump,
    "debug-file": _debug_file,
}
