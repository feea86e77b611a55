"""Comparisons of simulated releases through the ingest path: coverage, false findings, power, time.

    .venv/bin/python -m tests.bench.bench_compare --functions 20000 --hosts 20 --comparisons 200

Half of the comparisons are null, in the other half a function of 1 % share grows by 20 %. Hosts differ for
good and from hour to hour (tests/accuracy/simulated_fleet.py). Prints counts and 95 % limits.
"""

import argparse
import tempfile
import time
from pathlib import Path

from scipy import stats

from collector.store.chdb import ChdbStore
from collector.store.migrate import migrate
from tests.accuracy.simulated_fleet import Fleet, Variation, make_program
from tests.accuracy.simulated_releases import DirectFleet, Score, Simulation, truth_of

SHARE = 0.01
GROWTH = 1.2


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--functions", type=int, default=20_000)
    parser.add_argument("--hosts", type=int, default=20)
    parser.add_argument("--comparisons", type=int, default=20)
    parser.add_argument("--kind", choices=("replaced", "staged", "beside"), default="replaced")
    parser.add_argument("--history", type=int, default=1, help="periods known before a staged release")
    parser.add_argument("--growth", type=float, default=GROWTH)
    parser.add_argument("--direct", action="store_true", help="without the ingest path and the store")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    program = make_program(given.functions, given.seed, {given.functions - 5: SHARE})
    if given.direct:
        simulate(given, DirectFleet(program))
        return
    with tempfile.TemporaryDirectory(prefix="bench-compare-") as folder:
        store = ChdbStore(Path(folder) / "data")
        try:
            migrate(store)
            simulate(given, Fleet(store, Path(folder) / "journal", program))
        finally:
            store.close()


def simulate(given: argparse.Namespace, fleet: Fleet | DirectFleet) -> None:
    """Send, compare and report."""
    grown = given.functions - 5
    simulation = Simulation(fleet, given.kind, given.hosts, Variation(), given.seed, given.history)
    tested, began = 0, time.monotonic()
    for number in range(given.comparisons):
        truth = truth_of(fleet.program, grown if number % 2 else -1, given.growth)
        comparison = simulation.run(truth)
        tested += int(comparison.own.tested.sum() + comparison.total.tested.sum())
        if number % 10 == 9 or number + 1 == given.comparisons:
            report(simulation.score, tested / (number + 1), (time.monotonic() - began) / (number + 1))
    fleet.close()


def report(score: Score, tested: float, seconds: float) -> None:
    """One line of figures so far."""
    print(
        f"{score.null} null, {score.planted} planted, {tested:.0f} tests each, {seconds:.1f} s each: "
        f"intervals cover {100 * score.coverage:.2f} % of {score.intervals}, "
        f"the grown function's {_part(score.grown_covered, score.planted)}; "
        f"false findings in null ones {score.null_groups}; found {_part(score.found, score.planted)}; "
        f"besides it {score.extra_groups} {score.wrong}",
        flush=True,
    )


def _part(count: int, whole: int) -> str:
    """`count` of `whole` with Clopper-Pearson's 95 % limits."""
    if not whole:
        return "none"
    limits = stats.binomtest(count, whole).proportion_ci(0.95, "exact")
    return f"{count} of {whole} ({100 * limits.low:.0f} to {100 * limits.high:.0f} %)"


if __name__ == "__main__":
    main()
