"""A program of known shares, seen by every backend and by perf on the very same run.

The product's bar is agreement within 3 standard errors; with some forty comparisons one of them passes 3 by
chance in a tenth of all runs, so the test asserts 4.5 and prints every z. FLEETPROF_ACCURACY_SECONDS=60 makes
the run as long as the bar's.
"""

import os
import subprocess
from pathlib import Path

import pytest

from tests.accuracy.profilers import (
    Folded,
    inclusive,
    read_folded,
    read_perf,
    self_values,
    start_agent,
    start_perf,
)
from tests.accuracy.statistics import share_z, two_shares_z

pytestmark = [pytest.mark.accuracy, pytest.mark.kernel]

SECONDS = float(os.environ.get("FLEETPROF_ACCURACY_SECONDS", "20"))
BACKENDS = ("core", "bcc", "perf")
FUNCTIONS = {"share_of_50": 0.5, "share_of_30": 0.3, "share_of_20": 0.2}
MAX_Z = 4.5
PERIOD_NS = 1e9 / 99


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Folded]:
    """Stacks by profiler name, all of one run of the workload."""
    folder = tmp_path_factory.mktemp("shares")
    binary = folder / "shares"
    source = Path(__file__).parent.parent / "workloads" / "shares.c"
    subprocess.run(["gcc", "-O1", "-fno-omit-frame-pointer", "-o", binary, source], check=True)
    workload = subprocess.Popen([binary, str(SECONDS * 2 + 60)], stdout=subprocess.DEVNULL)
    try:
        running = {
            name: start_agent(name, workload.pid, SECONDS, folder / f"{name}.folded") for name in BACKENDS
        }
        perf = start_perf(workload.pid, SECONDS, folder / "perf.data")
        for name, process in running.items():
            _, errors = process.communicate(timeout=SECONDS + 120)
            assert process.returncode == 0, f"{name}: {errors}"
        found = {name: read_folded(folder / f"{name}.folded") for name in BACKENDS}
        if perf:
            assert perf.wait(60) == 0
            found["perf record"] = read_perf(folder / "perf.data")
    finally:
        workload.kill()
        workload.wait()
    return found


def samples_of(stacks: Folded, profiler: str) -> float:
    total = stacks.total()
    return total if profiler == "perf record" else total / PERIOD_NS


@pytest.mark.parametrize("backend", BACKENDS)
def test_shares_are_the_true_ones(seen: dict[str, Folded], backend: str) -> None:
    stacks = seen[backend]
    samples, total = samples_of(stacks, backend), sum(inclusive(stacks, name) for name in FUNCTIONS)
    assert samples > 0.15 * SECONDS * 99, "the workload ran on a CPU for a good part of the time"
    for function, share in FUNCTIONS.items():
        z = share_z(inclusive(stacks, function) / total * samples, samples, share)
        print(f"{backend}: {function} {inclusive(stacks, function) / total:.4f} of {share}, z {z:+.2f}")
        assert abs(z) < MAX_Z


@pytest.mark.parametrize("backend", BACKENDS)
def test_perf_record_agrees_on_its_top_functions(seen: dict[str, Folded], backend: str) -> None:
    if "perf record" not in seen:
        pytest.skip("perf is not installed")
    ours, theirs = self_values(seen[backend]), self_values(seen["perf record"])
    samples, their_samples = samples_of(seen[backend], backend), theirs.total()
    for function, hits in theirs.most_common(10):
        mine = ours[function] / ours.total() * samples
        z = two_shares_z(mine, samples, hits, their_samples)
        print(f"{backend}: {function} {mine / samples:.4f}, perf {hits / their_samples:.4f}, z {z:+.2f}")
        assert abs(z) < MAX_Z


def test_stacks_reach_main(seen: dict[str, Folded]) -> None:
    for name, stacks in seen.items():
        reached = sum(value for stack, value in stacks.items() if "main" in stack)
        assert reached / stacks.total() > 0.97, name
