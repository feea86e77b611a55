"""What symbols cost: loading large objects and looking up addresses, against nm(1) reading the same file.

Run by itself: `python -m tests.bench.bench_symbols`.
"""

import glob
import os
import resource
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from agent.process import Mapping, Process
from agent.symbolize.elf import PF_X, PT_LOAD, ElfFile, FileBytes
from agent.symbolize.kallsyms import KernelSymbols
from agent.symbolize.symbolizer import Symbolizer

OBJECTS = {
    "libc": "/lib/*/libc.so.6",
    "libLLVM": "/usr/lib/*/libLLVM-1*.so.1",
    "node": "/usr/bin/node",
    "libjvm": "/usr/lib/jvm/*/lib/server/libjvm.so",
}
LOOKUPS = 2000


class OneFile:
    """The descriptor of the only file there is."""

    def __init__(self, path: str) -> None:
        self.number = os.open(path, os.O_RDONLY)

    def fd(self, mapping: Mapping) -> int | None:
        return self.number


def measure(path: str) -> str:
    """One line of figures, taken in a process of its own so that its memory is its own."""
    files = OneFile(path)
    code = max(
        (s for s in ElfFile(FileBytes(files.number)).segments if s.type == PT_LOAD and s.flags & PF_X),
        key=lambda segment: segment.file_size,
    )
    mapping = Mapping(1 << 40, (1 << 40) + code.file_size, code.offset, path, 1, 1)
    process = Process(2**22 + 1, 1, 1, "bench", "/bench", mappings=[mapping])
    addrs = np.random.default_rng(1).integers(1 << 40, mapping.end_addr, LOOKUPS).astype(np.uint64)
    symbolizer = Symbolizer(files)
    before = _rss_kb()
    load = _seconds(lambda: symbolizer.user_frames(process, addrs[:1]))
    loaded_kb = _rss_kb() - before
    first = _seconds(lambda: symbolizer.user_frames(process, addrs))
    again = _seconds(lambda: symbolizer.user_frames(process, addrs))
    named = sum(bool(frame.function) for frame in symbolizer.user_frames(process, addrs))
    peer = _seconds(lambda: subprocess.run(["nm", "-D", path], capture_output=True, check=False))
    return (
        f"{os.path.getsize(path) / 1e6:7.1f} MB  load {load * 1e3:6.1f} ms (nm -D: {peer / load:4.1f}x)  "
        f"kept {symbolizer.nbytes / 1e6:5.2f} MB, RSS +{loaded_kb / 1e3:5.1f} MB  "
        f"new name {first / LOOKUPS * 1e6:5.1f} us, known {again / LOOKUPS * 1e6:5.1f} us  "
        f"named {named / LOOKUPS:4.0%}"
    )


def kernel() -> str:
    """Reading this kernel's symbols."""
    before = _rss_kb()
    start = time.perf_counter()
    symbols = KernelSymbols.read(Path("/proc/kallsyms"))
    seconds = time.perf_counter() - start
    addrs = np.random.default_rng(1).choice(symbols.starts, LOOKUPS)
    look_up = _seconds(lambda: symbols.names(addrs))
    return (
        f"{len(symbols)} functions  load {seconds * 1e3:6.1f} ms  kept {symbols.nbytes / 1e6:5.2f} MB, "
        f"RSS peak +{(_rss_kb() - before) / 1e3:5.1f} MB  look-up {look_up / LOOKUPS * 1e6:5.1f} us"
    )


def _seconds(work: object) -> float:
    assert callable(work)
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _rss_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _found() -> Iterator[tuple[str, str]]:
    for name, pattern in OBJECTS.items():
        paths = sorted(glob.glob(pattern))
        if paths:
            yield name, paths[-1]


@pytest.mark.parametrize(("name", "path"), _found())
def test_bench_objects(name: str, path: str) -> None:
    pid = os.fork()
    if not pid:
        print(f"\n{name:8} {measure(path)}", flush=True)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


def test_bench_kernel() -> None:
    print(f"\nkernel   {kernel()}")


if __name__ == "__main__":
    for object_name, object_path in _found():
        print(f"{object_name:8}", end=" ", flush=True)
        test_bench_objects(object_name, object_path)
    test_bench_kernel()
