"""Shares of CPU time of Python functions, on every version of CPython that is here, all at the same time.

The bar is 3 standard errors; with 18 comparisons one passes 3 by chance in every twentieth run, so the test asserts
3.9 and prints every z. FLEETPROF_ACCURACY_SECONDS is the CPU time of each. Versions that are not installed are
skipped by name.
"""

import os

import pytest

from tests.accuracy.statistics import share_z
from tests.kernel.python_programs import Seen, python_names, python_programs
from tests.workloads.pythons import interpreter, interpreters

pytestmark = pytest.mark.accuracy

SECONDS = float(os.environ.get("FLEETPROF_ACCURACY_SECONDS", "1.5"))
TRUTH = {"half": 0.5, "third": 0.3, "fifth": 0.2}
MAX_Z = 3.9


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Seen]:
    with python_programs(tmp_path_factory.mktemp("shares"), "shares", SECONDS) as (_, seen):
        return seen


@pytest.mark.parametrize("name", list(interpreters()))
def test_functions_have_their_true_shares(programs: dict[str, Seen], name: str) -> None:
    interpreter(name)
    stacks = [python_names(stack) for stack in programs[name].stacks]
    samples = len(stacks)
    for function, truth in TRUTH.items():
        hits = sum(function in stack for stack in stacks)
        z = share_z(hits, samples, truth)
        print(
            f"CPython {name}: {function} {hits / samples:.4f} (true {truth}), {samples} samples, z {z:+.2f}"
        )
        assert abs(z) < MAX_Z
