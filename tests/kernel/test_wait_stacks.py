"""Stacks of waits in code without frame pointers are whole, name who waits, and keep Python functions."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from agent.backends.interface import BackendOptions
from agent.libbpf import enable_run_time_stats, program_run_time
from agent.samples import Captures, concat
from agent.sched import SchedProgram
from agent.sched_hooks import SchedHooks
from fleetprof.frames import FrameKind
from tests.kernel.cpu_load import poll
from tests.kernel.unwinding import Unwinding, complete_share, ends, unwinding
from tests.workloads.build import SOURCES, running, tool
from tests.workloads.sched_programs import workload

pytestmark = pytest.mark.kernel

ENOUGH = 300
HOOKS = {"after the wait": None, "before the wait": SchedHooks(state_argument=True, resume_event=False)}
WAITERS = {
    "wait_in_read": ["reader", "run"],
    "sleep_ns": ["sleeper", "run"],
}
"""Functions that wait, and who calls them on some threads."""
PYTHON = """
import sys, threading, time
def wait_here():
    time.sleep(0.002)
def serve():
    while True:
        wait_here()
threading.Thread(target=serve, daemon=True).start()
print("ready", flush=True)
time.sleep(float(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """sched_waits.c as distributions build: the frame pointer is a register like others."""
    out = tmp_path_factory.mktemp("waits") / "sched_waits"
    flags = ["-O2", "-fomit-frame-pointer", "-fno-optimize-sibling-calls", "-pthread"]
    subprocess.run([tool("gcc"), *flags, "-o", out, SOURCES / "sched_waits.c"], check=True)
    return out


def waits(agent: Unwinding, pid: int, enough: int = ENOUGH) -> Captures:
    """So many waits of a process, taken once its tables are loaded."""
    agent.follow(pid)
    agent.drain()
    parts = [agent.waits(pid)]
    for _ in poll(lambda: sum(map(len, parts)) >= enough):
        parts.append(agent.waits(pid))  # noqa: PERF401 - the condition looks at it
    return concat(parts)


@pytest.mark.parametrize("hooks", HOOKS.values(), ids=HOOKS.keys())
def test_waits_without_frame_pointers_reach_their_root(
    program: Path, hooks: SchedHooks | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if hooks:
        monkeypatch.setattr("agent.sched.probe_hooks", lambda: hooks)
    with (
        workload(program, "kinds") as load,
        unwinding(tmp_path, sched=True, only_pids=(load.pid,), wait_stacks_per_second=500) as agent,
    ):
        assert not agent.backend.unavailable
        stop = enable_run_time_stats()
        before = taken(agent)
        rows = waits(agent, load.pid)
        after = taken(agent)
        stop()
        stacks = [agent.names(rows, row) for row in range(len(rows))]
    spent_ns, kept = (later - earlier for later, earlier in zip(after, before, strict=True))
    print(f"{spent_ns / kept / 1000:.1f} us of BPF for each of {kept} wait stacks")
    assert complete_share(rows) >= 0.99, ends(rows)
    assert {stack[-1] for stack in stacks} <= {"clone3", "__clone3", "_start"}
    for waiter, callers in WAITERS.items():
        assert any(stack[:3] == [waiter, *callers] for stack in stacks), waiter
    assert (np.diff(rows.kernel.starts) > 0).all()


def taken(agent: Unwinding) -> tuple[int, int]:
    """(nanoseconds of the programs that take stacks of waits, stacks taken)."""
    sched = agent.backend._sched
    assert sched
    names = {"sched_exit", "sched_switch"} & set(sched.object.programs)
    fds = [sched.object.program_fd(name) for name in names]
    return sum(program_run_time(fd)[0] for fd in fds if fd >= 0), sched.counts()["kept"]


def test_samples_that_interrupt_a_walk_do_not_disturb_it(program: Path, tmp_path: Path) -> None:
    """Walks of waits make up much of this CPU time, so that many samples hit one."""
    fast = {"frequency_hz": 997, "wait_stacks_per_second": 20_000}
    with (
        workload(program, "flood", "20", "1500000") as load,
        unwinding(tmp_path, sched=True, only_pids=(load.pid,), **fast) as agent,
    ):
        rows = waits(agent, load.pid, 5000)
        samples = agent.sample(load.pid, 0.1)
    for found in (rows, samples):
        assert complete_share(found) >= 0.99, ends(found)


def test_waits_of_python_show_its_functions(tmp_path: Path) -> None:
    with (
        running([sys.executable, "-c", PYTHON]) as load,
        unwinding(tmp_path, sched=True, only_pids=(load.pid,)) as agent,
    ):
        rows = waits(agent, load.pid, 50)
        stacks = [agent.user_frames(rows, row) for row in range(len(rows))]
    functions = [[frame.function for frame in stack if frame.kind is FrameKind.PYTHON] for stack in stacks]
    assert any(names[:2] == ["wait_here", "serve"] for names in functions), functions[:3]


def test_without_tables_waits_follow_frame_pointers(program: Path) -> None:
    sched = SchedProgram(BackendOptions())
    assert "unwind_tables" not in sched.object.maps
    sched.close()
