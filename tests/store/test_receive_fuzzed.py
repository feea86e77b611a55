"""Mutated requests through every receiver into the store: its sums grow by what was accepted alone."""

import random
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.ingest.committer import Committer
from collector.ingest.journal import Journal
from collector.ingest.known import KnownDefinitions
from collector.ingest.loss_ledger import LossLedger
from collector.ingest.refusal import Later, Refused
from collector.pipeline import Pipeline
from collector.store.chdb import ChdbStore
from fleetprof.profile_types import ProfileType
from fleetprof.v1 import ingest_pb2
from tests.fuzz.admitted import LIMITS, admitted
from tests.fuzz.mutate import Mutator
from tests.fuzz.run import run
from tests.fuzz.seeds import NOW_S, seeds_of
from tests.fuzz.targets import Bench, subject

pytestmark = pytest.mark.store

INPUTS = 60
FOREIGN = ("otlp-profiles", "otlp-json", "pprof", "folded", "pyroscope", "pyroscope-form")
"""What differs from these only in the way in needs no store of its own."""
_Response = ingest_pb2.PushResponse


class Stored:
    """A pipeline into the store that adds up what it accepts."""

    def __init__(self, store: ChdbStore, folder: Path) -> None:
        ledger, known = LossLedger(), KnownDefinitions(store)
        self.store = store
        self.committer = Committer(store, Journal(folder / "journal"), known, ledger, linger_s=0.001)
        self._pipeline = Pipeline(known, self.committer, ledger, LIMITS, clock=lambda: float(NOW_S))
        self.expected: Counter[str] = Counter()

    def push(self, data: bytes) -> _Response:
        answer = self._pipeline.push(data)
        if answer.status == _Response.STATUS_ACCEPTED:
            for type_, value in admitted(data).sums.items():
                self.expected[ProfileType(type_).label] += value
        return answer

    def sums(self) -> Counter[str]:
        found = self.store.query(("SELECT type, sum(value) AS v FROM samples GROUP BY type", {}))
        return Counter(dict(zip(found["type"].tolist(), found["v"].tolist(), strict=True)))


@pytest.fixture
def stored(embedded: ChdbStore, tmp_path: Path) -> Iterator[Stored]:
    made = Stored(embedded, tmp_path)
    yield made
    assert made.committer.stop(10)


@pytest.mark.parametrize("receiver", FOREIGN)
def test_the_store_has_what_receivers_took(stored: Stored, receiver: str) -> None:
    before, seed = stored.sums(), uuid.uuid4().int & 0xFFFFFFFF
    run(receiver, INPUTS, seed, subject(receiver, Bench(stored.push)))
    run(receiver, INPUTS // 4, seed, subject(receiver, Bench(stored.push)))  # sent again: nothing more
    assert stored.sums() - before == +stored.expected
    assert stored.expected


def test_the_store_has_what_agents_pushed(stored: Stored) -> None:
    before, chance = stored.sums(), random.Random(uuid.uuid4().int)
    mutator = Mutator(chance, seeds_of("push"), structured=True, packed=False)
    run_id = chance.getrandbits(63).to_bytes(8, "little")
    original = ingest_pb2.PushRequest.FromString(seeds_of("push")[0]).run_id.to_bytes(8, "little")
    for data in [seeds_of("push")[0], *(mutator.next() for _ in range(3 * INPUTS))]:
        try:
            stored.push(data.replace(original, run_id))
        except (Refused, Later):
            continue
    assert stored.sums() - before == +stored.expected
    assert stored.expected
