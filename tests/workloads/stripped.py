"""Builds programs with inlined functions, and takes their debug information from them."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.workloads.build import SOURCES, tool


@dataclass(frozen=True, slots=True)
class Stripped:
    """One build: as linked, without debug information and symbols, and what was taken from it."""

    whole: Path
    stripped: Path
    debug: Path

    @property
    def build_id(self) -> str:
        """Lower-case hex."""
        notes = _output(tool("readelf"), "-n", self.stripped)
        return notes.partition("Build ID: ")[2].split()[0]


def build_stripped(language: str, folder: Path, *flags: str) -> Stripped:
    """Build `cpp` or `rust` into `folder`, optimised and without frame pointers."""
    whole, debug, stripped = (folder / f"{language}{suffix}" for suffix in (".whole", ".debug", ""))
    command: list[str | Path]
    if language == "cpp":
        command = [tool("g++"), "-O2", "-g", *flags, SOURCES / "inlined.cc", "-o", whole]
    else:
        wanted = ("-C", "opt-level=3", "-g", "-C", "link-arg=-Wl,--build-id")
        command = [tool("rustc"), *wanted, *flags, SOURCES / "inlined.rs", "-o", whole]
    _output(*command)
    _output(tool("objcopy"), "--only-keep-debug", whole, debug)
    _output(tool("strip"), "-o", stripped, whole)
    return Stripped(whole, stripped, debug)


def _output(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
