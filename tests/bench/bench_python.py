"""What Python frames cost: BPF time of a sample with them and without, on the same program at the same time."""

import time
from pathlib import Path

import numpy as np
import pytest

from agent.backends.core import CoreBackend
from agent.libbpf import enable_run_time_stats, program_run_time
from tests.kernel.unwinding import Unwinding, unwinding
from tests.workloads.build import running
from tests.workloads.pythons import PROGRAM, interpreter, interpreters

SECONDS = 5.0


def run_time(backend: CoreBackend) -> tuple[int, int]:
    return program_run_time(backend._object.program_fd("sample_cpu"))


@pytest.mark.parametrize("name", list(interpreters()))
@pytest.mark.parametrize("mode", ["shares", "recursion", "many_threads"])
def test_nanoseconds_a_sample(tmp_path: Path, name: str, mode: str) -> None:
    command = [interpreter(name), PROGRAM, mode]
    with running(command) as load:
        only = (load.pid,)
        with (
            unwinding(tmp_path / "with", only_pids=only) as python,
            unwinding(tmp_path / "without", python="off", only_pids=only) as native,
            unwinding(tmp_path / "none", python="off", only_pids=(1,)) as none,
        ):
            agents = (python, native, none)
            for agent in agents[:2]:
                agent.follow(load.pid)
                agent.drain()
            stop = enable_run_time_stats()
            before = [run_time(agent.backend) for agent in agents]
            depths = watch(agents[:2])
            after = [run_time(agent.backend) for agent in agents]
            stop()
    spent = [a[0] - b[0] for a, b in zip(after, before, strict=True)]
    runs = [a[1] - b[1] for a, b in zip(after, before, strict=True)]
    idle_ns = spent[2] / max(runs[2], 1)
    for at, what in enumerate(("with Python", "without")):
        samples = len(depths[at])
        each = (spent[at] - (runs[at] - samples) * idle_ns) / max(samples, 1)
        depth = np.mean(depths[at])
        print(f"{name} {mode} {what}: {each / 1000:.1f} us a sample, {samples} samples, {depth:.0f} frames")


def watch(agents: tuple[Unwinding, ...]) -> list[list[int]]:
    """Depths of the stacks that each one took."""
    depths: list[list[int]] = [[] for _ in agents]
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        time.sleep(0.2)
        for agent, mine in zip(agents, depths, strict=True):
            mine += np.diff(agent.drain().user.starts).tolist()
    return depths
