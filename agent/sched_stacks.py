"""Kernel stacks of waits begin at the caller of `__schedule`.

Taken by a program, a stack starts with the program itself, the tracepoint's machinery and `__schedule`. How
many frames these are differs from kernel to kernel, so they are cut off by address. Of a sleeping thread the
kernel leaves out all its scheduling functions by itself.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agent.sample_rows import slice_stacks
from agent.samples import Stacks

KALLSYMS = Path("/proc/kallsyms")
_CHUNK_BYTES = 1 << 20
_MARK = b" __schedule\n"


@dataclass(frozen=True, slots=True)
class CodeRange:
    """Addresses of one kernel function, `end` excluded; both 0 when unknown."""

    start: int
    end: int


def schedule_range(kallsyms: Path = KALLSYMS) -> CodeRange:
    """Where `__schedule` lies; unknown (and nothing is cut) when the kernel hides addresses."""
    with kallsyms.open("rb") as lines:
        before = b""
        while chunk := lines.read(_CHUNK_BYTES):
            chunk = before + chunk
            at = chunk.find(_MARK)
            if at >= 0:
                text = chunk + lines.read(_CHUNK_BYTES)
                return _range(text[text.rfind(b"\n", 0, at) + 1 :])
            before = chunk[-200:]
    return CodeRange(0, 0)


def _range(text: bytes) -> CodeRange:
    """From kallsyms lines of which the first is the function's: up to the next different address."""
    lines = text.splitlines()
    start = int(lines[0].split(b" ", 1)[0], 16)
    for line in lines[1:64]:
        addr = int(line.split(b" ", 1)[0], 16)
        if addr > start:
            return CodeRange(start, addr)
    return CodeRange(0, 0)


def below_scheduler(stacks: Stacks, schedule: CodeRange) -> Stacks:
    """The stacks without the frames up to and including `schedule`; stacks without it stay whole."""
    inside = (stacks.addrs >= np.uint64(schedule.start)) & (stacks.addrs < np.uint64(schedule.end))
    found = np.flatnonzero(inside)
    if not len(found):
        return stacks
    first = stacks.starts[:-1].copy()
    row = np.searchsorted(stacks.starts, found, side="right") - 1
    # In reverse, so that the occurrence nearest to the leaf is the one that remains.
    first[row[::-1]] = found[::-1] + 1
    return slice_stacks(stacks, first, stacks.starts[1:])
