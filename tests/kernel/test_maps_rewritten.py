"""A process that rewrites what it says of its code, and its code, while the agent reads it: its own stacks only."""

import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from agent.samples import concat
from fleetprof.frames import FrameKind
from tests.kernel.cpu_load import cpu_ns, poll, rows_of
from tests.kernel.unwinding import unwinding
from tests.workloads.build import SOURCES, running, tool
from tests.workloads.processes import Symbolized

pytestmark = pytest.mark.kernel

SECONDS = 0.6
CODE = 0x5000000000
ADDRS = range(CODE, CODE + (16 << 12), 257)
MOST_CPU_S = 5.0
"""For one look at all that the process says; a bad one would take minutes."""
MEMORY_BYTES = 16 << 20


def build(folder: Path) -> str:
    out = folder / "false_maps"
    flags = ["-O1", "-w", "-fno-omit-frame-pointer"]
    subprocess.run([tool("gcc"), *flags, "-o", out, SOURCES / "false_maps.c", "-lpthread"], check=True)
    return str(out)


def test_maps_that_are_rewritten_change_their_own_process_only(tmp_path: Path, tables: Path) -> None:
    program = build(tmp_path)
    with (
        unwinding(tables) as agent,
        running([program, "honest"]) as honest,
        running([program, str(tmp_path), str(honest.pid)]) as false,
    ):
        for pid in (false.pid, honest.pid):
            agent.follow(pid)
        agent.drain()
        seen = Symbolized(false.pid, MEMORY_BYTES)
        began = {pid: cpu_ns(pid) for pid in (false.pid, honest.pid)}
        parts, names = [], set()
        for _ in poll(lambda: all(cpu_ns(pid) - ns > SECONDS * 1e9 for pid, ns in began.items())):
            parts.append(agent.drain())
            began_s = time.thread_time()
            names |= {(frame.kind, frame.function, frame.mapping) for frame in seen.frames(ADDRS)}
            assert time.thread_time() - began_s < MOST_CPU_S
            assert seen.symbolizer.nbytes < 2 * MEMORY_BYTES + seen.symbolizer._kernel.nbytes
        captures = concat([*parts, agent.drain()])
        false_stacks = agent.stacks(rows_of(captures, false.pid))
        honest_stacks = agent.stacks(rows_of(captures, honest.pid))
        Path(f"/tmp/perf-{honest.pid}.map").unlink()
        Path(f"/tmp/perf-{false.pid}.map").unlink(missing_ok=True)
    assert any(function.startswith("false_") for _, function, _ in names), "its words were believed at times"
    assert all(len(function.encode()) <= 1024 and function.isprintable() for _, function, _ in names)
    assert {name for name in names if name[0] is not FrameKind.JIT} <= {(FrameKind.NATIVE, "", "[unmapped]")}
    assert not [name for _, name, _ in names if name == "honest_code"], (
        "a link to another's map is not believed"
    )
    assert false_stacks
    assert len(honest_stacks) > 10
    leaves = [stack[0] for stack in honest_stacks]
    assert np.mean([(leaf.function, leaf.mapping) == ("honest_code", "[jit]") for leaf in leaves]) > 0.95
    everybody = {frame.function for stack in honest_stacks for frame in stack}
    assert not [name for name in everybody if name.startswith("false_")]
