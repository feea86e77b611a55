"""CPU samples of a program whose CPU time and frames are known, by each backend that has the CPU program."""

from collections.abc import Iterator
from math import sqrt
from pathlib import Path

import numpy as np
import pytest

from agent.backends.bcc import BccBackend
from agent.backends.core import CoreBackend
from agent.backends.cpu_sampler import depth_limit
from agent.backends.interface import Backend, BackendOptions
from fleetprof.losses import DropReason
from fleetprof.profile_types import ProfileType
from tests.kernel.cpu_load import build_busy, busy, cpu_ns, frames_inside, let_run, poll, rows_of, stack

pytestmark = pytest.mark.kernel

KERNEL_SPACE = 1 << 63
BACKENDS = [CoreBackend, BccBackend]
OPTIONS = BackendOptions(sched=False)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_busy(tmp_path_factory.mktemp("busy"))


@pytest.fixture(scope="module", params=BACKENDS, ids=lambda kind: kind.name)
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    started = request.param(OPTIONS)
    yield started
    started.close()


def test_samples_add_up_to_cpu_time_on_the_right_stacks(backend: Backend, program: Path) -> None:
    with busy(program, "user", 20) as load:
        backend.drain()
        captures, losses, used = let_run(load.pid, 1.5, backend)
    rows = rows_of(captures, load.pid)
    expected = used / backend.period_ns
    assert abs(len(rows) - expected) <= 3 * sqrt(expected) + 2
    assert rows.value_ns.tolist() == [1_000_000_000 // 99] * len(rows)
    assert set(rows.type.tolist()) == {ProfileType.CPU}
    assert set(rows.comm.tolist()) == {b"busy"}
    assert set(rows.tid.tolist()) == {load.pid}
    inside = [frames_inside(load, stack(rows.user, row)) for row in range(len(rows))]
    # 20 x descend and spin; a tick inside time(2) of the vdso may hide one caller (no frame pointer there).
    assert np.mean([19 <= count <= 21 for count in inside]) > 0.95
    assert losses[DropReason.RING_FULL] == 0


def test_times_are_monotonic_clock_within_the_run(backend: Backend, program: Path) -> None:
    with busy(program, "user", 1) as load:
        backend.drain()
        captures, _, _ = let_run(load.pid, 0.3, backend)
    times = rows_of(captures, load.pid).time_ns.astype(np.int64)
    gaps = np.diff(np.sort(times))
    assert len(times) > 10
    assert gaps.min() > 0.5 * backend.period_ns, "one CPU, one process: two samples are never closer"


def test_system_calls_have_a_kernel_stack_above_the_user_stack(backend: Backend, program: Path) -> None:
    with busy(program, "kernel", 3) as load:
        backend.drain()
        captures, _, _ = let_run(load.pid, 0.5, backend)
    rows = rows_of(captures, load.pid)
    in_kernel = np.diff(rows.kernel.starts) > 0
    assert in_kernel.mean() > 0.5
    assert (rows.kernel.addrs >= KERNEL_SPACE).all()
    assert (rows.user.addrs < KERNEL_SPACE).all()
    below = [frames_inside(load, stack(rows.user, row)) > 0 for row in np.flatnonzero(in_kernel)]
    assert np.mean(below) > 0.9


def test_the_idle_task_is_no_process(backend: Backend) -> None:
    assert 0 not in backend.drain().captures.pid


def test_a_stack_deeper_than_the_limit_is_cut_and_counted(backend: Backend, program: Path) -> None:
    limit = depth_limit(OPTIONS.max_depth)
    with busy(program, "user", 300) as load:
        backend.drain()
        captures, losses, _ = let_run(load.pid, 0.3, backend)
    rows = rows_of(captures, load.pid)
    depths = np.diff(rows.user.starts)
    assert np.median(depths) == limit
    assert (rows.truncated == (depths == limit)).all()
    assert losses[DropReason.STACK_TRUNCATED] >= np.count_nonzero(rows.truncated)


@pytest.mark.parametrize("kind", BACKENDS)
def test_only_chosen_processes_to_a_chosen_depth(kind: type[CoreBackend], program: Path) -> None:
    with busy(program, "user", 30) as wanted, busy(program, "user", 30) as other:
        options = BackendOptions(sched=False, only_pids=(wanted.pid,), max_depth=10)
        backend = kind(options)
        let_run(other.pid, 0.2)
        captures, _, _ = let_run(wanted.pid, 0.3, backend)
        backend.close()
    assert set(captures.pid.tolist()) == {wanted.pid}
    assert np.diff(captures.user.starts).max() == 10


@pytest.mark.parametrize("kind", BACKENDS)
def test_a_full_ring_is_counted_and_recovers(kind: type[CoreBackend], program: Path) -> None:
    with busy(program, "user", 100) as load:
        options = BackendOptions(sched=False, frequency_hz=499, only_pids=(load.pid,))
        backend = kind(options, ring_bytes=4096)
        before = cpu_ns(load.pid)
        let_run(load.pid, 0.5)
        drained = backend.drain()
        expected = (cpu_ns(load.pid) - before) / backend.period_ns
        lost = drained.losses[DropReason.RING_FULL]
        assert 0 < len(drained.captures) <= 4
        assert abs(len(drained.captures) + lost - expected) <= 3 * sqrt(expected) + 5
        for _ in poll(lambda: len(backend.drain().captures) > 0):
            pass
        backend.close()


@pytest.mark.parametrize("kind", BACKENDS)
def test_cpus_that_come_online_are_sampled(kind: type[CoreBackend], program: Path, tmp_path: Path) -> None:
    online = tmp_path / "online"
    online.write_text("0\n")
    with busy(program, "user", 1, "taskset", "-c", "1") as load:
        options = BackendOptions(sched=False, only_pids=(load.pid,))
        backend = kind(options, online)
        assert len(let_run(load.pid, 0.2, backend)[0]) == 0
        online.write_text("0-1\n")
        backend.close_window()
        assert len(let_run(load.pid, 0.2, backend)[0]) > 5
        online.write_text("0\n")
        backend.close_window()
        backend.drain()
        assert len(let_run(load.pid, 0.2, backend)[0]) == 0
        backend.close()


def test_the_cost_is_told_and_grows(backend: Backend, program: Path) -> None:
    with busy(program, "user", 20):
        for _ in poll(lambda: backend.cost().bpf_ns > 0):
            backend.drain()
    assert backend.cost().map_bytes > 256 * 1024
