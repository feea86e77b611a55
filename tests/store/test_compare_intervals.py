"""Intervals cover the truth, null comparisons stay silent, and real growth is found: through the ingest path.

The full measurement is tests/bench/bench_compare.py; this one is small enough for every run. That the
server gives the same answers is what test_compare_answers.py sees to.
"""

from collections.abc import Iterator

import pytest

from collector.store.chdb import ChdbStore
from tests.accuracy.simulated_fleet import Fleet, Variation, make_program
from tests.accuracy.simulated_releases import Kind, Simulation, truth_of

FUNCTIONS = 400
GROWN = FUNCTIONS - 5
PROGRAM = make_program(FUNCTIONS, 11, {GROWN: 0.02})


@pytest.fixture(scope="module")
def fleet(embedded: ChdbStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    made = Fleet(embedded, tmp_path_factory.mktemp("journal"), PROGRAM)
    yield made
    made.close()


@pytest.mark.accuracy
@pytest.mark.parametrize("kind", ["replaced", "staged", "beside"])
def test_intervals_cover_and_only_real_growth_is_found(fleet: Fleet, kind: Kind) -> None:
    hosts = 12 if kind == "replaced" else 24
    simulation = Simulation(fleet, kind, hosts, Variation(host=0.05, host_mix=0.03), seed=12)
    for number in range(10):
        simulation.run(truth_of(PROGRAM, GROWN if number % 2 else -1, 1.3))
    score = simulation.score
    # Intervals of one comparison hang together (they share hosts), so ten comparisons leave some room.
    assert 0.925 < score.coverage < 0.985
    assert score.null_groups == 0, score.wrong
    assert score.found == score.planted == 5
    assert score.extra_groups == 0, score.wrong
