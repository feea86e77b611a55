"""What one CPU sample costs in the kernel, against an empty program in the same run, and what a drain costs.

Run: make bench, or python -m pytest tests/bench/bench_cpu_sampling.py -s
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.backends.bcc import BccBackend
from agent.backends.core import CoreBackend
from agent.backends.cpu_clock import CpuClock
from agent.backends.interface import BackendOptions
from agent.libbpf import OBJECTS, BpfObject, enable_run_time_stats, program_run_time
from tests.kernel.cpu_load import build_busy, busy, let_run

pytestmark = pytest.mark.kernel

SECONDS = 1.5


@contextmanager
def counted() -> Iterator[None]:
    disable = enable_run_time_stats()
    try:
        yield
    finally:
        disable()


def per_run(read: Callable[[], tuple[int, int]], pid: int, drain: Callable[[], object]) -> float:
    """Nanoseconds of one run, over SECONDS of CPU time of `pid`."""
    ns, runs = read()
    with counted():
        for _ in range(5):
            let_run(pid, SECONDS / 5)
            drain()
    later_ns, later_runs = read()
    return (later_ns - ns) / max(later_runs - runs, 1)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_busy(tmp_path_factory.mktemp("busy"))


@pytest.mark.parametrize("frequency_hz", [99, 999])
@pytest.mark.parametrize(("mode", "depth"), [("user", 1), ("user", 100), ("kernel", 20)])
def test_cost_of_a_sample(program: Path, tmp_path: Path, mode: str, depth: int, frequency_hz: int) -> None:
    """On one CPU, where only the known program runs; at 99 Hz the caches are as cold as in real use."""
    online = tmp_path / "online"
    online.write_text("0\n")
    figures = {}
    options = BackendOptions(sched=False, frequency_hz=frequency_hz)
    with busy(program, mode, depth, "taskset", "-c", "0") as load:
        with BpfObject(OBJECTS / "hooks.bpf.o", programs={"try_perf_event"}) as empty:
            fd = empty.program_fd("try_perf_event")
            clock = CpuClock(fd, frequency_hz, online)
            figures["empty"] = per_run(lambda: program_run_time(fd), load.pid, lambda: None)
            clock.close()
        core = CoreBackend(options, online)
        figures["core"] = per_run(core._object.run_time, load.pid, core.drain)
        core.close()
        bcc = BccBackend(options, online)
        figures["bcc"] = per_run(lambda: program_run_time(bcc._program_fd), load.pid, bcc.drain)
        bcc.close()
    told = ", ".join(f"{name} {ns:.0f} ns ({ns / figures['empty']:.1f}x)" for name, ns in figures.items())
    share = 99 * figures["core"] / 1e9
    print(f"\n{mode} stack of {depth} at {frequency_hz} Hz: {told}; core at 99 Hz: {share:.3%} of a CPU")


def test_cost_of_draining(program: Path) -> None:
    with busy(program, "user", 20) as load:
        backend = CoreBackend(BackendOptions(sched=False))
        rows, spent, wall = 0, 0, time.monotonic()
        for _ in range(12):
            let_run(load.pid, 0.8)
            began = time.thread_time_ns()
            rows += len(backend.drain().captures)
            spent += time.thread_time_ns() - began
        wall = time.monotonic() - wall
        backend.close()
    print(
        f"\n12 drains of {rows} samples: {spent / 12 / 1000:.0f} µs each, {spent / rows:.0f} ns a sample, "
        f"{spent / wall / 1e9:.4%} of one CPU"
    )
