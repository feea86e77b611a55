"""Mutated tables of code, as hostile processes may have them: Go's function tables, jitdumps, perf maps.

    .venv/bin/python -m tests.fuzz.code_tables --table jitdump --inputs 1000000

Whatever comes out of them, nothing may be raised, take seconds, or grow without bound.
"""

import argparse
import os
import random
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import numpy as np

from agent.symbolize.elf import MemoryBytes
from agent.symbolize.jitdump import JitDump
from agent.symbolize.load_object import load_object
from agent.symbolize.perf_map import PerfMap
from tests.fuzz.mutate import VARINTS, Mutator
from tests.unit import test_go_pclntab, test_symbolize_jitdump

LONGEST_S = 5
MOST_GROWTH_BYTES = 200 << 20
ADDRS = np.array([*range(0, 0x4000, 61), 1 << 47, (1 << 64) - 1], np.uint64)
GOLDEN = Path(__file__).parents[1] / "golden" / "symbols"


class Result(NamedTuple):
    """How a run went; `named` inputs still had names in them."""

    inputs: int
    named: int
    seconds: float
    growth_bytes: int


def _go(data: bytes) -> bool:
    source = MemoryBytes(data)
    symbols = load_object(source, "/x", (), 4 << 20)
    offsets = np.array([*range(0x1000, 0x1100, 7), 0, 1 << 60], np.uint64)
    frames = symbols.frames(source, offsets, "m")
    assert all(len(frame.function) <= 1024 and 0 <= frame.line < 1 << 31 for frame in frames)
    return any(frame.function for frame in frames)


def _jitdump(data: bytes) -> bool:
    dump = JitDump()
    _read(dump, data)
    codes = dump.names(ADDRS)
    assert all(0 <= code.line < 1 << 31 for code in codes)
    return any(code.name for code in codes)


def _perf_map(data: bytes) -> bool:
    known = PerfMap()
    _read(known, data)
    return any(known.names(ADDRS))


def _read(table: JitDump | PerfMap, data: bytes) -> None:
    """Half of it first: the rest is added while it is being read."""
    fd = os.memfd_create("table")
    try:
        for part in (data[: len(data) // 2], data[len(data) // 2 :]):
            os.write(fd, part)
            table.update(fd)
    finally:
        os.close(fd)


def _maps() -> list[bytes]:
    texts = [path.read_bytes()[:4000] for path in sorted(GOLDEN.glob("*.map"))]
    return [b"1000 40 one\n2000 40 two\n1010 8 JS:*inner /srv/a.js:1:2\n", *texts]


TABLES: dict[str, tuple[Callable[[bytes], bool], Callable[[], list[bytes]]]] = {
    "go": (_go, lambda: test_go_pclntab.PLACES),
    "jitdump": (_jitdump, lambda: [test_symbolize_jitdump.WHOLE]),
    "perf-map": (_perf_map, _maps),
}


def _words(chance: random.Random, data: bytes) -> bytes:
    """A few aligned words that stand for something made small, large or another one."""
    out = bytearray(data)
    used = [at for at in range(0, len(out) - 8, 4) if out[at : at + 4] != b"\0\0\0\0"]
    for _ in range(chance.randint(1, 4)):
        at, size = chance.choice(used), chance.choice((1, 4, 8))
        value = chance.choice((*VARINTS, chance.getrandbits(16), chance.getrandbits(64)))
        out[at : at + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
    return bytes(out)


def run(table: str, inputs: int, seed: int, seconds: float = float("inf")) -> Result:
    """Feed so many inputs, or as many as there is time for; what breaks is in the error's notes."""
    target, seeds_of = TABLES[table]
    chance, seeds = random.Random(seed), seeds_of()
    mutator = Mutator(chance, seeds, structured=False, packed=False)
    before, began_s, named, done = _peak_bytes(), time.monotonic(), 0, 0
    signal.signal(signal.SIGALRM, _too_slow)
    while done < inputs and time.monotonic() - began_s < seconds:
        data = mutator.next() if chance.random() < 0.3 else _words(chance, chance.choice(seeds))
        signal.alarm(LONGEST_S)
        try:
            named += target(data)
        except BaseException as error:
            error.add_note(f"Input {done} of seed {seed}: {data!r}")
            raise
        finally:
            signal.alarm(0)
        done += 1
    growth = _peak_bytes() - before
    assert growth < MOST_GROWTH_BYTES, f"memory grew by {growth >> 20} MiB"
    return Result(done, named, time.monotonic() - began_s, growth)


def _too_slow(number: int, frame: FrameType | None) -> None:
    raise TimeoutError(f"an input took more than {LONGEST_S} s")


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def main() -> None:
    """Run, and print a line a table."""
    parser = argparse.ArgumentParser(description="Fuzz the tables of code that processes bring along.")
    parser.add_argument("--table", action="append", choices=tuple(TABLES), help="default: all")
    parser.add_argument("--inputs", type=int, default=1_000_000, help="inputs for each; default 10^6")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="for each, at most")
    parser.add_argument("--seed", type=int, default=1, help="another seed makes other inputs")
    given = parser.parse_args()
    for table in given.table or TABLES:
        found = run(table, given.inputs, given.seed, given.seconds)
        rate = found.inputs / found.seconds
        print(
            f"{table}: {found.inputs} inputs, {found.named} with names left, {rate:.0f}/s, "
            f"memory +{found.growth_bytes >> 20} MiB",
            flush=True,
        )


if __name__ == "__main__":
    main()
