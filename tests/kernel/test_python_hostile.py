"""A process that only claims to be CPython, and rewrites its memory meanwhile, changes its own stacks only."""

import subprocess
from pathlib import Path

import pytest

from agent.backends.cpu_sampler import MAX_DEPTH, MAX_USER_DEPTH
from agent.samples import concat
from fleetprof.losses import DropReason
from tests.kernel.cpu_load import cpu_ns, poll, rows_of
from tests.kernel.python_programs import is_python, python_names
from tests.kernel.unwinding import unwinding
from tests.workloads.build import SOURCES, running, tool
from tests.workloads.pythons import PROGRAM, interpreter

pytestmark = pytest.mark.kernel

SECONDS = 0.6


def build(folder: Path) -> str:
    out = folder / "false_python"
    flags = ["-O1", "-rdynamic", "-w"]
    subprocess.run([tool("gcc"), *flags, "-o", out, SOURCES / "false_python.c", "-lpthread"], check=True)
    return str(out)


def test_a_false_interpreter_harms_nobody_else(tmp_path: Path, tables: Path) -> None:
    true_command = [interpreter("3.11 static"), PROGRAM, "shares"]
    with (
        unwinding(tables) as agent,
        running([build(tmp_path)]) as false,
        running(true_command) as true,
    ):
        for pid in (false.pid, true.pid):
            agent.follow(pid)
        agent.drain()
        began = {pid: cpu_ns(pid) for pid in (false.pid, true.pid)}
        parts = [
            agent.drain()
            for _ in poll(lambda: all(cpu_ns(pid) - ns > SECONDS * 1e9 for pid, ns in began.items()))
        ]
        captures = concat([*parts, agent.drain()])
        false_stacks = agent.stacks(rows_of(captures, false.pid))
        counted = agent.losses[DropReason.PYTHON_UNREADABLE]
        true_stacks = agent.stacks(rows_of(captures, true.pid))
        assert agent.losses[DropReason.PYTHON_UNREADABLE] == counted
    frames = [frame for stack in false_stacks for frame in stack if is_python(frame)]
    assert frames, "its structures were believed at times"
    assert counted or all(frame.function for frame in frames)
    assert max(len(stack) for stack in false_stacks) <= MAX_USER_DEPTH + MAX_DEPTH
    for frame in frames:
        assert len(frame.function.encode()) <= 1024
        assert len(frame.file.encode()) <= 1024
    assert all(stack[-1].function in ("_start", "[truncated]") for stack in false_stacks)
    right = [stack for stack in true_stacks if python_names(stack)[-1:] == ["<module>"]]
    assert len(right) >= 0.95 * len(true_stacks)
