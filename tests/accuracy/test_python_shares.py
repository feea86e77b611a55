"""Shares of CPU time of Python functions, on every version of CPython that is here, all at the same time.

The bar is 3 standard errors; FLEETPROF_ACCURACY_SECONDS=60 makes the run as long as the bar's. Versions that are
not installed are skipped by name.
"""

import os
import subprocess
import sys
from contextlib import ExitStack

import pytest

from tests.accuracy.profilers import Folded, inclusive
from tests.accuracy.statistics import share_z
from tests.workloads.build import running
from tests.workloads.pythons import PROGRAM, interpreter, interpreters

pytestmark = pytest.mark.accuracy

SECONDS = float(os.environ.get("FLEETPROF_ACCURACY_SECONDS", "10"))
TRUTH = {"half": 0.5, "third": 0.3, "fifth": 0.2}
MAX_Z = 3.9
"""Of 18 comparisons one passes 3 in every twentieth run, 3.9 in one of 500."""
PERIOD_NS = 1e9 / 99
ALL = list(interpreters())


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Folded]:
    """What one agent saw of all of them, by name."""
    folder = tmp_path_factory.mktemp("shares")
    with ExitStack() as stack:
        pids = []
        for name, path in interpreters().items():
            if path:
                link = folder / f"py{name.replace(' ', '-')}"  # the process is called by it
                link.symlink_to(path)
                pids.append(stack.enter_context(running([str(link), PROGRAM, "shares"])).pid)
        if not pids:
            pytest.skip("no CPython is installed")
        output = folder / "seen.folded"
        flags = [flag for pid in pids for flag in ("--pid", str(pid))]
        command = [sys.executable, "-m", "agent", "record", "--backend", "core", "--unwind", "auto", *flags]
        command += ["--state-dir", str(folder), "--duration", f"{SECONDS}s", "--output", str(output)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    by_name: dict[str, Folded] = {name: Folded() for name in ALL}
    for line in output.read_text().splitlines():
        name = line.partition(";")[0].removeprefix("py").replace("-", " ")
        if name in by_name:
            stack_text, _, value = line.rpartition(" ")
            by_name[name][tuple(stack_text.split(";")[1:])] += int(value)
    return by_name


@pytest.mark.parametrize("name", ALL)
def test_functions_have_their_true_shares(seen: dict[str, Folded], name: str) -> None:
    interpreter(name)
    stacks = seen[name]
    plain: Folded = Folded()
    for stack, value in stacks.items():
        plain[tuple(frame.rpartition(".")[2] for frame in stack)] += value
    total = plain.total()
    samples = total / PERIOD_NS
    for function, truth in TRUTH.items():
        share = inclusive(plain, function) / total
        z = share_z(share * samples, samples, truth)
        print(f"CPython {name}: {function} {share:.4f} (true {truth}), {samples:.0f} samples, z {z:+.2f}")
        assert abs(z) < MAX_Z
