"""The scheduler program on the running kernel: layouts, budget, short-lived threads, variants, losses."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from agent.backends.interface import BackendOptions
from agent.kernel_btf import Btf
from agent.libbpf import OBJECTS
from agent.samples import Captures, concat
from agent.sched import COUNTS, SchedProgram
from agent.sched_hooks import SchedHooks, probe_hooks
from agent.sched_records import HEAD, RECORD
from agent.sched_stacks import schedule_range
from fleetprof.errors import UnavailableError
from fleetprof.profile_types import ProfileType
from tests.workloads.sched_programs import compile_c, workload

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_c("sched_waits", tmp_path_factory.mktemp("sched"))


@contextmanager
def running(options: BackendOptions, hooks: SchedHooks | None = None) -> Iterator[SchedProgram]:
    sched = SchedProgram(options, hooks)
    try:
        yield sched
    finally:
        sched.close()


def gather(sched: SchedProgram, seconds: float) -> Captures:
    parts, deadline = [], time.monotonic() + seconds
    while time.monotonic() < deadline:
        parts.append(sched.drain().captures)
        time.sleep(0.05)
    return concat(parts)


def test_records_have_the_layout_of_the_c_structures() -> None:
    with Btf(OBJECTS / "sched.bpf.o") as btf:
        head, record = btf.struct_layout("fp_record_head"), btf.struct_layout("fp_thread_record")
        assert btf.struct_layout("no_such_struct") is None
    assert head
    assert record
    assert head[0] == HEAD.itemsize
    assert record[0] == RECORD.itemsize
    fields = {**head[1], **record[1]}
    fields.pop("head")
    assert {name: RECORD.fields[name][1] for name in RECORD.names} == fields


def test_counts_are_those_of_the_program() -> None:
    header = Path("bpf/sched.h").read_text()
    names = [
        line.split(",")[0].strip().removeprefix("FP_COUNT_").lower()
        for line in header.splitlines()
        if line.strip().startswith("FP_COUNT_")
    ]
    assert tuple(names) == COUNTS


@pytest.mark.parametrize("hooks", [None, SchedHooks(state_argument=False, resume_event=False)])
def test_a_flood_of_long_waits_keeps_to_the_budget_and_stays_unbiased(
    program: Path, hooks: SchedHooks | None
) -> None:
    options = BackendOptions(wait_stacks_per_second=200)
    with workload(program, "flood", "26", "5000000") as flood, running(options, hooks) as sched:
        gather(sched, 1.0)
        sched.close_window()
        began, kept = time.monotonic(), sched.counts()["kept"]
        captures = gather(sched, 2.5)
        kept, took = sched.counts()["kept"] - kept, time.monotonic() - began
        closed = sched.close_window()
    assert closed.threads
    # Beyond the budget only what raising the threshold further takes: 17 stacks for each factor of e.
    assert kept <= (os.cpu_count() or 1) * (200 * took * 1.05 + 60)
    mine = (captures.pid == flood.pid) & (captures.type == ProfileType.OFFCPU)
    exact = int(closed.threads.wait_ns[closed.threads.pid == flood.pid].sum())
    # Some 500 stacks or more of weights of one size: a standard deviation of 4 to 5 %.
    assert int(captures.value_ns[mine].sum()) == pytest.approx(exact, rel=0.25)
    assert sched_losses_are_none(closed.losses)


def sched_losses_are_none(losses: dict) -> bool:
    return not any(reason.label == "ring_full" for reason in losses)


def test_threads_that_live_briefly_are_told_exactly_once() -> None:
    with running(BackendOptions()) as sched:
        sched.close_window()
        began = time.monotonic_ns()
        pids = []
        for _ in range(50):
            child = subprocess.Popen(["/bin/true"])
            child.wait()
            pids.append(child.pid)
        took = time.monotonic_ns() - began
        found: dict[int, int] = dict.fromkeys(pids, 0)
        used = 0
        for _ in range(2):
            times = sched.close_window().threads
            assert times
            assert (times.cpu_ns + times.runq_ns + times.wait_ns.sum(axis=1) == times.wall_ns).all()
            for row in np.flatnonzero(np.isin(times.pid, pids)).tolist():
                found[int(times.pid[row])] += 1
                assert 0 < times.wall_ns[row] < took
                used += int(times.cpu_ns[row])
    assert list(found.values()) == [1] * 50
    assert 50 * 100_000 < used < took * (os.cpu_count() or 1)


def test_only_pids_leaves_other_processes_out(program: Path) -> None:
    with workload(program, "kinds") as kinds, running(BackendOptions(only_pids=(kinds.pid,))) as sched:
        captures = gather(sched, 0.5)
        closed = sched.close_window()
    assert closed.threads
    assert set(captures.pid.tolist()) == set(closed.threads.pid.tolist()) == {kinds.pid}
    assert set(closed.open_waits.pid.tolist()) <= {kinds.pid}


def test_wait_stacks_can_be_turned_off(program: Path) -> None:
    with workload(program, "kinds"), running(BackendOptions(wait_stacks_per_second=0)) as sched:
        assert len(gather(sched, 0.3)) == 0
        closed = sched.close_window()
    assert closed.threads
    assert len(closed.open_waits) > 0


def test_kernel_stacks_of_waits_begin_below_the_scheduler(program: Path) -> None:
    schedule = schedule_range()
    assert 0 < schedule.start < schedule.end
    with workload(program, "kinds"), running(BackendOptions()) as sched:
        captures = gather(sched, 0.5)
    assert len(captures.kernel.addrs)
    inside = (captures.kernel.addrs >= schedule.start) & (captures.kernel.addrs < schedule.end)
    assert not inside.any()


def test_without_btf_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="no type information"):
        Btf(tmp_path / "vmlinux")
    (tmp_path / "garbage").write_bytes(b"not BTF")
    with pytest.raises(UnavailableError, match="cannot be read"):
        Btf(tmp_path / "garbage")


def test_hooks_of_this_kernel() -> None:
    with Btf() as btf:
        assert btf.tracepoint_arguments("no_such_tracepoint") is None
        assert probe_hooks().state_argument == (btf.tracepoint_arguments("sched_switch") == 4)


def bpf_descriptors() -> int:
    names = [os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return sum("bpf" in name for name in names)


def test_nothing_stays_attached_after_close() -> None:
    before = bpf_descriptors()
    with running(BackendOptions()) as sched:
        assert bpf_descriptors() >= before + 10
        assert sched.object.map_bytes() > 0
    sched.close()
    assert bpf_descriptors() == before
