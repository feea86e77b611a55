"""Sampling by perf events alone: rates, stacks, names."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from agent.backends.interface import BackendOptions
from agent.backends.perf import PerfBackend
from agent.perf_events import COUNT_SW_CPU_CLOCK, PerfEventError, perf_event_open, software_event
from agent.samples import Captures, Stacks, concat
from fleetprof.errors import InputError
from fleetprof.profile_types import ProfileType

pytestmark = pytest.mark.kernel
SOURCE = Path(__file__).parents[1] / "workloads" / "processes.c"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("perf") / "processes"
    flags = [
        "-O1",
        "-fno-omit-frame-pointer",
        "-mno-omit-leaf-frame-pointer",
        "-no-pie",
        "-pthread",
        "-o",
        str(path),
    ]
    subprocess.run(["gcc", *flags, str(SOURCE), "-ldl"], check=True)
    return path


@pytest.fixture(scope="module")
def symbols(program: Path) -> dict[str, range]:
    text = subprocess.run(["nm", "-S", program], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in text.splitlines() if len(line.split()) == 4]
    return {name: range(int(start, 16), int(start, 16) + int(size, 16)) for start, size, _, name in rows}


def sampled(program: Path, arguments: list[str], hz: int = 499, **options: int) -> tuple[int, Captures]:
    """(pid, its samples) of one run of the program."""
    child = subprocess.Popen([program, *arguments], stdout=subprocess.DEVNULL)
    backend = PerfBackend(BackendOptions(frequency_hz=hz, only_pids=(child.pid,), **options))
    parts = []
    deadline = time.monotonic() + 30
    while child.poll() is None:
        assert time.monotonic() < deadline
        parts.append(backend.drain().captures)
    parts.append(backend.drain().captures)
    backend.close()
    return child.pid, concat(parts)


def rows_of(stacks: Stacks) -> Iterator[list[int]]:
    for start, end in zip(stacks.starts[:-1], stacks.starts[1:], strict=True):
        yield stacks.addrs[start:end].tolist()


def test_samples_stand_for_the_cpu_time_that_was_used(program: Path, symbols: dict[str, range]) -> None:
    """The program uses 1 s of CPU in one function: each sample is one period of it."""
    pid, captures = sampled(program, ["spin", "1000"])
    assert set(captures.pid.tolist()) == {pid}
    assert set(captures.type.tolist()) == {ProfileType.CPU}
    assert set(captures.comm.tolist()) == {b"processes"}
    assert np.all(np.diff(captures.time_ns.astype(np.int64)) > 0)
    total_ns = int(captures.value_ns.sum())
    assert 0.9e9 < total_ns < 1.2e9
    spinning = [stack for stack in rows_of(captures.user) if stack and stack[0] in symbols["spin_here"]]
    assert len(spinning) > 0.7 * len(captures)
    assert sum(any(addr in symbols["spin"] for addr in stack) for stack in spinning) > 0.9 * len(spinning)
    assert sum(any(addr in symbols["main"] for addr in stack) for stack in spinning) > 0.9 * len(spinning)


def test_kernel_and_user_frames_are_told_apart(program: Path) -> None:
    """Forking spends much of its time in the kernel."""
    _, captures = sampled(program, ["fork", "600", "0"], hz=2000)
    both = [
        (user, kernel)
        for user, kernel in zip(rows_of(captures.user), rows_of(captures.kernel), strict=True)
        if kernel
    ]
    assert len(both) > 10
    assert all(addr >= 1 << 63 for _, kernel in both for addr in kernel)
    assert all(addr < 1 << 63 for user, _ in both for addr in user)
    assert sum(bool(user) for user, _ in both) > len(both) / 2


def test_a_stack_deeper_than_the_limit_is_marked(program: Path) -> None:
    _, captures = sampled(program, ["spin", "200"], max_depth=2)
    assert captures.truncated.any()
    depth = np.diff(captures.user.starts) + np.diff(captures.kernel.starts)
    assert depth.max() == 2
    assert np.array_equal(captures.truncated, depth == 2)


def test_threads_names_follow_their_changes() -> None:
    script = (
        "import time\n"
        "for name in ('first', 'second'):\n"
        "    open('/proc/self/comm', 'w').write(name)\n"
        "    end = time.process_time() + 0.3\n"
        "    while time.process_time() < end: pass\n"
    )
    _, captures = sampled(Path("/usr/bin/env"), ["python3", "-c", script])
    names = captures.comm.tolist()
    counts = {name: names.count(name) for name in (b"first", b"second")}
    assert min(counts.values()) > 50
    assert names.index(b"second") > names.index(b"first")


def test_nothing_but_samples_is_promised(program: Path) -> None:
    backend = PerfBackend(BackendOptions())
    assert backend.period_ns == 1_000_000_000 // 99
    closed = backend.close_window()
    assert closed.threads is None
    assert len(closed.open_waits) == 0
    assert [one.program for one in backend.unavailable] == ["sched"]
    assert backend.cost().map_bytes > 0
    backend.close()
    backend.close()


def test_refusals_say_what_to_do() -> None:
    with pytest.raises(InputError):
        PerfBackend(BackendOptions(frequency_hz=0))
    with pytest.raises(PerfEventError) as offline:
        perf_event_open(software_event(COUNT_SW_CPU_CLOCK), 100_000)
    assert offline.value.hint
    script = (
        "import os\n"
        "from agent.perf_events import *\n"
        "os.setuid(65534)\n"
        "try: perf_event_open(software_event(COUNT_SW_CPU_CLOCK), 0)\n"
        "except PerfEventError as error: print(error)\n"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "CAP_PERFMON" in out.stdout
    assert "Permission denied" in out.stdout
