"""Code without a function symbol that has a name all the same: PLT entries of functions that the C library chooses
when a program starts, and what signal handlers return to."""

import subprocess
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from agent.symbolize.elf import ElfFile, MemoryBytes
from agent.symbolize.load_object import load_object

PROGRAM = """
#include <string.h>
int main(int n, char **words) { return (int)strlen(words[0]) + memcmp(words[0], words[n - 1], n); }
"""


@pytest.fixture(scope="module")
def static(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("plt") / "static"
    command: list[str | Path] = ["gcc", "-static", "-fno-builtin", "-x", "c", "-", "-o", made]
    subprocess.run(command, input=PROGRAM, text=True, check=True)
    return made


def out(*command: str | Path) -> list[list[str]]:
    """The words of each line."""
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [line.split() for line in told.splitlines()]


def test_entries_of_a_static_program(static: Path) -> None:
    source = MemoryBytes(static.read_bytes())
    section = ElfFile(source).section(".plt")
    assert section
    names = defaultdict(set)
    for address, _, name in (words for words in out("nm", static) if len(words) == 3):
        names[int(address, 16)].add(name)
    chosen = [words for words in out("readelf", "-rW", static) if "R_X86_64_IRELATIVE" in words]
    by_slot = {int(words[0], 16): names[int(words[-1], 16)] for words in chosen}
    jumps = [words for words in out("objdump", "-d", "-j", ".plt", static) if "jmp" in words]
    entries = {
        int(words[0].rstrip(":"), 16): by_slot[int(words[words.index("#") + 1], 16)] for words in jumps
    }
    assert len(entries) == section.size // 8 > 4

    offsets = np.array([address - section.vaddr + section.offset for address in entries], np.uint64)
    frames = load_object(source, "static", (), 1 << 30).frames(source, offsets + np.uint64(3), "static")
    for frame, known in zip(frames, entries.values(), strict=True):
        assert frame.function.endswith("@plt")
        assert frame.function.removesuffix("@plt") in known


def test_what_a_signal_handler_returns_to(static: Path) -> None:
    (word,) = (words for words in out("nm", static) if words[-1] == "__restore_rt")
    source = MemoryBytes(static.read_bytes())
    text = ElfFile(source).section(".text")
    assert text
    start = int(word[0], 16) - text.vaddr + text.offset
    symbols = load_object(source, "static", (), 1 << 30)
    frames = symbols.frames(source, np.array([start - 1, start], np.uint64), "static")
    assert [frame.function for frame in frames] == ["__restore_rt", "__restore_rt"]
    end = np.array([source.size - 5], np.uint64)
    assert symbols.frames(source, end, "static")[0].function == ""
