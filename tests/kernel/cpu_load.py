"""A busy program with known frames, and draining a backend until it has used an amount of CPU time."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from agent.backends.interface import Backend
from agent.sample_rows import take
from agent.samples import Captures, Stacks, concat
from fleetprof.losses import Losses
from tests.workloads.build import SOURCES, Running, running, tool

DEADLINE_S = 60.0


def build_busy(folder: Path) -> Path:
    """Compile busy.c with frame pointers."""
    program = folder / "busy"
    flags = ["-O1", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls"]
    subprocess.run([tool("gcc"), *flags, "-o", str(program), str(SOURCES / "busy.c")], check=True)
    return program


def busy(program: Path, mode: str, depth: int, *prefix: str) -> AbstractContextManager[Running]:
    """Run it (see tests/workloads/busy.c); its `addrs` are "start" and "stop" of the call chain's code."""
    return running([str(program), mode, str(depth)], 120, prefix)


def cpu_ns(pid: int) -> int:
    """CPU time of a living process, by its own clock (clock_getcpuclockid(3))."""
    return time.clock_gettime_ns((~pid << 3) | 2)


def poll(until: Callable[[], bool]) -> Iterator[None]:
    """Yield until the condition holds; fails after a deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not until():
        assert time.monotonic() < deadline, "the condition did not come true"
        yield
        time.sleep(0.02)


def let_run(pid: int, seconds: float, backend: Backend | None = None) -> tuple[Captures, Losses, int]:
    """Drain `backend` until `pid` has used `seconds` of CPU: (captures, losses, nanoseconds it used)."""
    parts, losses = [], Losses()
    began = cpu_ns(pid)
    for _ in poll(lambda: cpu_ns(pid) - began >= seconds * 1e9):
        if backend:
            drained = backend.drain()
            parts.append(drained.captures)
            losses += drained.losses
    used = cpu_ns(pid) - began
    if backend:
        drained = backend.drain()
        parts.append(drained.captures)
        losses += drained.losses
    return concat(parts), losses, used


def rows_of(captures: Captures, pid: int) -> Captures:
    """The rows of one process."""
    return take(captures, np.flatnonzero(captures.pid == pid))


def stack(stacks: Stacks, row: int) -> np.ndarray:
    """One stack, leaf first."""
    return stacks.addrs[stacks.starts[row] : stacks.starts[row + 1]]


def frames_inside(load: Running, addrs: np.ndarray) -> int:
    """How many frames lie in the program's call chain."""
    return int(np.count_nonzero((load.addrs["start"] <= addrs) & (addrs < load.addrs["stop"])))
