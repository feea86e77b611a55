"""Small real files, and twins that say in plain text what must be read from them.

`names.elf` holds functions from C, C++ and Rust; its twin lists `OFFSET KIND NAME` for every function and for
the gaps between. `*.map` are perf maps of real runtimes, cut short; their twins list every line as a frame.
To make them again after a wanted change: `python -m tests.golden.test_symbols`.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from agent.symbolize.elf import FileBytes, MemoryBytes
from agent.symbolize.kallsyms import KernelSymbols
from agent.symbolize.load_object import load_object
from agent.symbolize.perf_map import PerfMap
from agent.symbolize.runtime_names import runtime_name
from fleetprof.frames import FrameKind

FOLDER = Path(__file__).parent / "symbols"
RUNTIMES = {"node": FrameKind.NODE, "java": FrameKind.JVM, "python": FrameKind.JIT}

SOURCE = r"""
.macro function name size
.type \name, @function
.globl \name
\name: .skip \size, 0x90
.size \name, \size
.endm
.text
.globl _start
_start: .skip 8, 0x90
function main 0x10
.skip 0x10
function _ZN4shop6Basket3addERKSt3mapINSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEEiE 0x20
function _ZN4core3fmt9Formatter9write_str17h0123456789abcdefE 8
function _RNvXs_NtC4shop6basketNtB4_6BasketNtNtC4core3fmt7Display3fmt 8
function _RINvNtC4core3mem4dropNtC4shop6BasketEB2_ 8
function __real_read 8
.set read, __real_read
.weak read
.type read, @function
"""


def elf_twin(path: Path) -> str:
    """Every change of function along the executable segment."""
    with path.open("rb") as file:
        own = FileBytes(file.fileno())
        symbols = load_object(own, "", (), 1 << 20)
        offsets = np.arange(own.size, dtype=np.uint64)
        frames = symbols.frames(own, offsets, path.name)
    lines = [f"build id {symbols.build_id}"]
    last = None
    for offset, frame in enumerate(frames):
        if frame.function != last:
            lines.append(f"{offset:#06x} {frame.kind.name if frame.function else '-':6} {frame.function}")
        last = frame.function
    return "\n".join(line.rstrip() for line in lines) + "\n"


def map_twin(path: Path) -> str:
    """Every line of a perf map as a frame."""
    known = PerfMap()
    fd = os.open(path, os.O_RDONLY)
    try:
        known.update(fd)
    finally:
        os.close(fd)
    addrs = [int(start, 16) for start in re.findall(r"(?m)^([0-9a-fx]+) [0-9a-fx]+ ", path.read_text())]
    names = known.names(np.array(addrs, np.uint64))
    found = [runtime_name(name, RUNTIMES[path.stem]) for name in names]
    lines = [f"{n.kind.name}\t{n.function}\t{n.mapping}\t{n.file}\t{n.line}" for n in found]
    return "\n".join([*lines, f"skipped {known.bad_lines}"]) + "\n"


def kallsyms_twin(path: Path) -> str:
    """Every address of kallsyms, and the one before it."""
    text = path.read_bytes()
    addrs = sorted({int(line[:16], 16) - back for line in text.splitlines() for back in (0, 1)})
    names = KernelSymbols.parse(text).names(np.array(addrs, np.uint64))
    lines = [f"{addr:016x}\t{name}\t{module}" for addr, (name, module) in zip(addrs, names, strict=True)]
    return "\n".join(line.rstrip() for line in lines) + "\n"


TWINS = {".elf": elf_twin, ".map": map_twin, ".kallsyms": kallsyms_twin}
FILES = [path for path in sorted(FOLDER.iterdir()) if path.suffix in TWINS]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_files_and_their_twins(path: Path) -> None:
    assert TWINS[path.suffix](path) == path.with_suffix(path.suffix + ".txt").read_text()


def test_there_is_something_to_compare() -> None:
    assert {path.suffix for path in FILES} == set(TWINS)


def test_an_image_in_memory_reads_like_a_file() -> None:
    image = (FOLDER / "names.elf").read_bytes()
    symbols = load_object(MemoryBytes(image), "", (), 1 << 20)
    assert symbols.build_id == "0123456789abcdef0123456789abcdef01234567"


def _make() -> None:
    script = "gcc -nostdlib -static -Wl,--build-id=0x{id} -Wl,-z,noseparate-code -x assembler -o {out} -"
    build_id = "0123456789abcdef0123456789abcdef01234567"
    command = script.format(id=build_id, out=FOLDER / "names.elf")
    subprocess.run(command.split(), input=SOURCE, text=True, check=True)
    for path in sorted(FOLDER.iterdir()):
        if path.suffix in TWINS:
            path.with_suffix(path.suffix + ".txt").write_text(TWINS[path.suffix](path))


if __name__ == "__main__":
    sys.exit(_make())
