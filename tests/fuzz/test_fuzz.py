"""A short run of each receiver, and proof that the checks notice what they are there for."""

import random
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from collector.receivers import windows
from collector.receivers.foreign import Foreign, Row
from tests.fuzz.mutate import Mutator, field, scan
from tests.fuzz.run import run
from tests.fuzz.seeds import seeds_of
from tests.fuzz.subject import Wrong
from tests.fuzz.subjects import RECEIVERS
from tests.fuzz.targets import subject

INPUTS = 500


@pytest.mark.parametrize("receiver", RECEIVERS)
def test_mutated_requests(receiver: str) -> None:
    found = run(receiver, INPUTS, seed=uuid.uuid4().int & 0xFFFFFFFF)
    assert found.inputs / 60 < found.taken < found.inputs * 0.9, "mutations are too wild or too tame"


def test_a_definition_may_not_span_two_pieces() -> None:
    """What it found: two halves of one field are no field, though they are whole when joined."""
    whole = seeds_of("push")[0]
    chosen = next(each for each in scan(whole, 0, len(whole)) if each.number == 6)
    content, half = whole[chosen.content : chosen.end], (chosen.end - chosen.content) // 2
    halves = field(6, 2, content[:half]) + field(6, 2, content[half:])
    target = subject("push").feed
    assert target(whole)
    assert not target(whole[: chosen.start] + halves)


def test_mutations_are_of_fields() -> None:
    (seed, *_) = seeds_of("otlp-traces")
    mutator = Mutator(random.Random(1), [seed], structured=True, packed=False)
    inputs = [mutator.next() for _ in range(500)]
    assert len(set(inputs)) > 400
    whole = sum(bool(scan(data, 0, len(data))) for data in inputs)
    assert whole > 200


@pytest.mark.parametrize("receiver", ["pprof", "folded", "otlp-profiles", "pyroscope"])
def test_a_value_that_was_not_sent_is_noticed(receiver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make: Callable[..., Any] = windows._by_window  # type: ignore[attr-defined]

    def twice(profile: Foreign, now_s: float) -> dict[int, list[Row]]:
        return {at: [row for row in rows for _ in range(2)] for at, rows in make(profile, now_s).items()}

    monkeypatch.setattr(windows, "_by_window", twice)
    with pytest.raises(Wrong, match="Values"):
        subject(receiver).feed(seeds_of(receiver)[0])


def test_a_name_that_was_not_sent_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    fit = windows.fit_frame
    monkeypatch.setattr(windows, "fit_frame", lambda frame: fit(frame)._replace(function="invented"))
    with pytest.raises(Wrong, match="invented"):
        subject("pprof").feed(seeds_of("pprof")[0])
