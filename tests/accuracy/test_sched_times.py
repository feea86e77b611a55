"""Exact thread times against the clock and against the kernel's own counters."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from agent.backends.interface import BackendOptions, Closed
from agent.sample_rows import take
from agent.samples import Captures, ThreadTimes, concat
from agent.scale import scale
from agent.sched import SchedProgram
from agent.sched_hooks import SchedHooks
from fleetprof.profile_types import ProfileType
from tests.workloads.sched_programs import Workload, compile_c, workload

pytestmark = [pytest.mark.accuracy, pytest.mark.kernel]

READ, FUTEX, SLEEP, WRITE = 4, 1, 3, 5


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_c("sched_waits", tmp_path_factory.mktemp("sched"))


@pytest.fixture
def sched() -> Iterator[SchedProgram]:
    running = SchedProgram(BackendOptions())
    yield running
    running.close()


@contextmanager
def following(pid: int, hooks: SchedHooks | None = None) -> Iterator[SchedProgram]:
    """The program for one process, with a stack budget that never makes it leave a long wait out."""
    running = SchedProgram(BackendOptions(only_pids=(pid,), wait_stacks_per_second=5000), hooks)
    try:
        yield running
    finally:
        running.close()


def drain_for(sched: SchedProgram, seconds: float) -> Captures:
    """Drain until the time is up, as the agent does."""
    parts, deadline = [], time.monotonic() + seconds
    while time.monotonic() < deadline:
        parts.append(sched.drain().captures)
        time.sleep(0.05)
    return concat(parts)


def row_of(times: ThreadTimes, tid: int) -> int:
    (row,) = np.flatnonzero(times.tid == tid)
    return int(row)


@dataclass
class Kernel:
    """What the kernel counts itself."""

    cpu_ns: int
    runq_ns: int
    switches: int

    @classmethod
    def of(cls, pid: int, tid: int) -> "Kernel":
        cpu, runq, _ = Path(f"/proc/{pid}/task/{tid}/schedstat").read_text().split()
        status = Path(f"/proc/{pid}/task/{tid}/status").read_text().splitlines()
        switches = sum(int(line.split()[1]) for line in status if "ctxt_switches" in line)
        return cls(int(cpu), int(runq), switches)


def stolen_ns() -> int:
    """What the hypervisor took from all CPUs: in our times, not in the kernel's counters."""
    return int(Path("/proc/stat").read_text().split("\n", 1)[0].split()[8]) * 10_000_000


def check_identity(sched: SchedProgram, running: Workload, busy: bool) -> list[Closed]:
    """Two windows: parts add up to wall, wall to the clock, CPU and run queue agree with the kernel."""
    windows = []
    before = time.monotonic_ns()
    sched.close_window()
    after = time.monotonic_ns()
    for _ in range(2):
        counted, stolen = {tid: Kernel.of(running.pid, tid) for tid in running.tids()}, stolen_ns()
        drain_for(sched, 1.5)
        again, stolen = {tid: Kernel.of(running.pid, tid) for tid in running.tids()}, stolen_ns() - stolen
        began, ended = (before, after), (time.monotonic_ns(), 0)
        closed = sched.close_window()
        before, after = ended = (ended[0], time.monotonic_ns())
        assert closed.threads
        for tid in running.tids():
            row = row_of(closed.threads, tid)
            wall, cpu, runq = (
                int(column[row])
                for column in (closed.threads.wall_ns, closed.threads.cpu_ns, closed.threads.runq_ns)
            )
            assert cpu + runq + int(closed.threads.wait_ns[row].sum()) == wall
            assert (ended[0] - began[1]) * 0.999 <= wall <= (ended[1] - began[0]) * 1.001
            # Counters begin and end a little apart, some microseconds at each switch among them. The kernel's
            # leave out stolen time and, of the run queue's, a wait still going on, which for busy threads can
            # be hundreds of milliseconds.
            switches = again[tid].switches - counted[tid].switches
            slack = 0.05 * wall + 40_000_000 + 20_000 * switches + stolen
            assert abs(cpu - (again[tid].cpu_ns - counted[tid].cpu_ns)) < slack
            if not busy:
                assert abs(runq - (again[tid].runq_ns - counted[tid].runq_ns)) < slack + 600_000_000
        windows.append(closed)
    return windows


def test_four_busy_threads_on_the_cpus(sched: SchedProgram, program: Path) -> None:
    with workload(program, "busy") as running:
        for closed in check_identity(sched, running, busy=True):
            assert closed.threads
            rows = [row_of(closed.threads, tid) for tid in running.tids()]
            used = closed.threads.cpu_ns[rows].sum() + closed.threads.runq_ns[rows].sum()
            assert used > 0.98 * closed.threads.wall_ns[rows].sum()


def test_threads_that_sleep_lock_read_and_write(sched: SchedProgram, program: Path) -> None:
    expected = {"sleeper": (SLEEP,), "reader": (READ,), "locker": (SLEEP, FUTEX), "filer": (WRITE, READ)}
    with workload(program, "kinds") as running:
        for closed in check_identity(sched, running, busy=False):
            assert closed.threads
            for name, classes in expected.items():
                for tid in running.tids(name):
                    waits = closed.threads.wait_ns[row_of(closed.threads, tid)].astype(float)
                    by_class = waits[:8] + waits[8:]
                    assert by_class[list(classes)].sum() > 0.95 * waits.sum(), (name, by_class)


def leaf_functions(rows: Captures, functions: dict[str, range]) -> Counter[str]:
    """Nanoseconds by the user function at the leaf."""
    found: Counter[str] = Counter()
    for row in range(len(rows)):
        leaf = rows.user.addrs[rows.user.starts[row] : rows.user.starts[row + 1]][:1].tolist()
        for name, addrs in functions.items():
            if leaf and leaf[0] in addrs:
                found[name] += int(rows.value_ns[row])
    return found


def check_known_waits(program: Path, hooks: SchedHooks | None, tolerance: float) -> None:
    classes = {"wait_in_read": READ, "wait_in_futex": FUTEX, "wait_in_sleep": SLEEP}
    with workload(program, "known") as running, following(running.pid, hooks) as sched:
        functions = {name: running.functions()[name] for name in classes}
        sched.drain()
        sched.close_window()
        running.command()
        measured = running.results()
        captured = sched.drain().captures
        closed = sched.close_window()
    assert closed.threads
    rows = concat([captured, closed.open_waits])
    stacks = leaf_functions(rows_of(rows, ProfileType.OFFCPU), functions)
    queued = leaf_functions(rows_of(rows, ProfileType.RUNQ), functions)
    for name, wait in classes.items():
        row = row_of(closed.threads, running.tids(name)[0])
        blocked, runq = int(closed.threads.wait_ns[row, wait]), int(closed.threads.runq_ns[row])
        # What the thread measures around its calls is the wait and, of its time on the run queue, what came after
        # a wait; on a busy machine it also queues between the calls.
        assert blocked <= measured[name] * 1.05
        assert measured[name] <= (blocked + runq) * 1.05
        assert blocked == pytest.approx(2e9, rel=0.05) or runq > 0.02 * blocked
        assert stacks[name] == pytest.approx(blocked, rel=tolerance)
        assert queued[name] <= 2 * runq + 50_000_000
        scaled = leaf_functions(scale(captured, closed.open_waits, closed.threads), functions)
        assert scaled[name] == pytest.approx(blocked + runq, rel=tolerance)


def rows_of(rows: Captures, kind: ProfileType) -> Captures:
    return take(rows, np.flatnonzero(rows.type == kind))


def test_known_waits_have_their_time_and_their_stacks(program: Path) -> None:
    check_known_waits(program, None, 0.05)


def test_stacks_taken_before_the_wait_on_kernels_without_sched_exit_tp(program: Path) -> None:
    hooks = SchedHooks(state_argument=False, resume_event=False)
    check_known_waits(program, hooks, 0.15)


def settle(sched: SchedProgram, tid: int) -> None:
    """Close windows until the thread has been blocked for all of one."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        drain_for(sched, 0.05)
        times = sched.close_window().threads
        assert times
        row = row_of(times, tid)
        if times.wait_ns[row, FUTEX] == times.wall_ns[row]:
            return
    raise AssertionError("the thread never blocked")


def test_a_thread_blocked_throughout_shows_in_every_window(program: Path) -> None:
    with workload(program, "stuck") as running, following(running.pid) as sched:
        (tid,) = running.tids("stuck")
        settle(sched, tid)
        for _ in range(3):
            drain_for(sched, 0.3)
            closed = sched.close_window()
            assert closed.threads
            row = row_of(closed.threads, tid)
            (wait,) = np.flatnonzero(closed.open_waits.tid == tid)
            wall = int(closed.threads.wall_ns[row])
            assert closed.threads.wait_ns[row, FUTEX] == wall == closed.open_waits.value_ns[wait]
            assert closed.open_waits.wait[wait] == FUTEX
            assert closed.open_waits.kernel.starts[wait + 1] - closed.open_waits.kernel.starts[wait] >= 3
        drain_for(sched, 0.3)
        running.command()
        running.results()
        captured = sched.drain().captures
        closed = sched.close_window()
        assert closed.threads
        ended = concat([captured, closed.open_waits])
        mine = ended.value_ns[(ended.tid == tid) & (ended.type == ProfileType.OFFCPU)]
        blocked = int(closed.threads.wait_ns[row_of(closed.threads, tid)].sum())
        # The wait began windows ago: only this window's part is credited to the stack it ended with.
        assert int(mine.sum()) == pytest.approx(blocked, rel=0.01)
