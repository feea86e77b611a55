"""What the scheduler program costs: per switch, at 10,000 switches a second, and under a flood of long waits.

Run: `sudo .venv/bin/python -m pytest tests/bench/bench_sched_switch.py -s`. Prints figures, asserts only that
the measurement itself worked.
"""

import os
import statistics
import subprocess
import time
from pathlib import Path

import pytest

from agent.backends.interface import BackendOptions
from agent.libbpf import enable_run_time_stats
from agent.sched import SchedProgram
from agent.sched_hooks import SchedHooks
from tests.workloads.sched_programs import compile_c, workload

pytestmark = pytest.mark.kernel

PAIRS = 7
SECONDS = 0.6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


def _play(program: Path) -> tuple[float, float]:
    """(CPU ns per switch, switches per second) of one run."""
    done = subprocess.run(
        [program, str(SECONDS), "1" if (os.cpu_count() or 1) > 1 else "0"],
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )
    found = dict(line.split() for line in done.stdout.splitlines()[:2])
    return int(found["cpu_ns"]) / int(found["switches"]), int(found["switches"]) / SECONDS


def _play_traced(program: Path, options: BackendOptions, hooks: SchedHooks | None) -> float:
    sched = SchedProgram(options, hooks)
    try:
        return _play(program)[0]
    finally:
        sched.close()


@pytest.mark.parametrize(
    ("name", "options", "hooks"),
    [
        ("times and stacks", BackendOptions(), None),
        ("times only", BackendOptions(wait_stacks_per_second=0), None),
        ("stacks before the wait", BackendOptions(), SchedHooks(True, False)),
    ],
)
def test_cost_of_a_switch(folder: Path, name: str, options: BackendOptions, hooks: SchedHooks | None) -> None:
    program = compile_c("sched_pingpong", folder)
    costs, plain, rates = [], [], []
    for _ in range(PAIRS):  # A B B A: drift of the machine cancels
        first, rate = _play(program)
        traced = [_play_traced(program, options, hooks) for _ in range(2)]
        second, _ = _play(program)
        costs.append(statistics.mean(traced) - (first + second) / 2)
        plain.append((first + second) / 2)
        rates.append(rate)
    base, cost = statistics.median(plain), statistics.median(costs)
    print(
        f"\n{name}: {base:.0f} ns a switch without ({statistics.median(rates):,.0f} switches/s), "
        f"+{cost:.0f} ns [{min(costs):.0f}..{max(costs):.0f}] = {100 * cost / base:.1f} % (bar 20 %)"
    )
    assert base > 0


def _switches() -> int:
    (line,) = [line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("ctxt")]
    return int(line.split()[1])


def _measure(sched: SchedProgram, seconds: float) -> tuple[float, float, int]:
    """(BPF ns, switches, kept stacks) per second of the whole machine."""
    begin = time.monotonic(), sched.object.run_time()[0], _switches(), sched.counts()["kept"]
    while time.monotonic() < begin[0] + seconds:
        sched.drain()
        time.sleep(0.1)
    took = time.monotonic() - begin[0]
    ns, switches = sched.object.run_time()[0] - begin[1], _switches() - begin[2]
    return ns / took, switches / took, int((sched.counts()["kept"] - begin[3]) / took)


@pytest.mark.parametrize(
    ("name", "threads", "sleep_ns"),
    [("waits of 0.2 ms", 4, 200_000), ("flood of 5,000 waits/s of 5 ms", 26, 5_000_000)],
)
def test_cost_and_budget_at_a_rate(folder: Path, name: str, threads: int, sleep_ns: int) -> None:
    program = compile_c("sched_waits", folder)
    stop_stats = enable_run_time_stats()
    sched = SchedProgram(BackendOptions())
    cpus = os.cpu_count() or 1
    try:
        with workload(program, "flood", str(threads), str(sleep_ns)):
            _measure(sched, 1)
            ns, switches, kept = _measure(sched, 4)
    finally:
        sched.close()
        stop_stats()
    print(
        f"\n{name}: {switches / cpus:,.0f} switches/s a CPU cost {ns / cpus / 1e7:.2f} % of a CPU "
        f"(bar 1 % at 10,000), {ns / switches:.0f} ns a switch; "
        f"{kept / cpus:.0f} stacks/s a CPU (budget {BackendOptions().wait_stacks_per_second})"
    )
    assert switches > 0
