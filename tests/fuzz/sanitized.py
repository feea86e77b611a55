"""The builder of unwind tables in C, compiled with sanitizers and fed with damaged call frame information.

.venv/bin/python -m tests.fuzz.sanitized --inputs 10000000
"""

import argparse
import contextlib
import json
import os
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from agent.symbolize.elf import ElfError, ElfFile, MemoryBytes
from agent.unwind.build import FrameSection
from tests.fuzz.elf_fields import whole_records

DRIVER = Path(__file__).with_name("cfi_driver.c")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")
_FILES = (
    *("/bin/true", "/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/libc.so.6"),
    *("/lib/x86_64-linux-gnu/libstdc++.so.6", "/usr/lib/x86_64-linux-gnu/libstdc++.so.6"),
)
_SIZES = (200, 500, 1000)


class Crashed(AssertionError):
    """An input broke the builder; it is in the message."""


def build(folder: Path) -> Path | None:
    """The driver, None where there is no compiler or it has no sanitizers."""
    gcc, out = shutil.which("gcc"), folder / "cfi_driver"
    if not gcc:
        return None
    flags = ["-O2", "-g", "-Wno-unused-function", *SANITIZERS]
    done = subprocess.run([gcc, *flags, "-o", out, DRIVER], capture_output=True, text=True, check=False)
    if "cannot find" in done.stderr and "asan" in done.stderr:
        return None
    if done.returncode:
        raise AssertionError(done.stderr)
    return out


def write_seeds(path: Path) -> None:
    """Sections of real files, cut to whole records of some sizes."""
    with path.open("wb") as file:
        for name in _FILES:
            with contextlib.suppress(ElfError, FileNotFoundError):
                section = FrameSection(ElfFile(MemoryBytes(Path(name).read_bytes())))
                for size in _SIZES:
                    data = whole_records(section.data, size)
                    file.write(struct.pack("<4Q", section.vaddr, section.base, section.code_end, len(data)))
                    file.write(data)


def feed(driver: Path, inputs: int, seed: int, folder: Path) -> dict[str, Any]:
    """What the driver tells; raises Crashed."""
    seeds, last = folder / "seeds", folder / "last"
    write_seeds(seeds)
    # A sanitizer's complaint must not take core files or minutes of symbolizing.
    environment = {**os.environ, "ASAN_OPTIONS": "abort_on_error=0:detect_leaks=1"}
    command = [driver, seeds, str(inputs), str(seed), last]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        size, which = struct.unpack_from("<QQ", last.read_bytes())
        data = last.read_bytes()[16 : 16 + size]
        raise Crashed(f"{done.stderr[-3000:]}\nInput of seed {which}: {data!r}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    """Build it, feed it, print what it tells."""
    parser = argparse.ArgumentParser(description="Feed the builder of unwind tables, with sanitizers.")
    parser.add_argument("--inputs", type=int, default=10_000_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        driver = build(Path(folder))
        if driver is None:
            raise SystemExit("gcc with its sanitizers is not installed here.")
        print(feed(driver, given.inputs, given.seed, Path(folder)))


if __name__ == "__main__":
    main()
