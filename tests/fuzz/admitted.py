"""A Push request as our own admission reads it: what its rows add up to, and every text in it."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from collector.ingest.admission import admit, receive
from collector.ingest.definitions import Defined
from collector.ingest.limits import Limits
from collector.ingest.rows import decode_rows
from collector.ingest.wire_numbers import AgreedNumbers, Sender
from fleetprof.frames import Frame
from tests.fuzz.seeds import NOW_S, held_ids

LIMITS = Limits()


@dataclass(frozen=True)
class Admitted:
    """One window that passed all checks."""

    sums: Counter[int]
    """Profile type → value."""
    rows: int
    frames: list[Frame]
    labels: list[dict[str, str]]


def admitted(data: bytes) -> Admitted:
    """The window of a Push request; raises Refused, and NumbersLost where it is to be sent again by name."""
    request = receive(data, LIMITS)
    window = admit(request, LIMITS, NOW_S, _held())
    rows, refused = decode_rows([window], LIMITS)
    if refused:
        raise refused[0]
    sums: Counter[int] = Counter()
    for type_, value in zip(rows.type.tolist(), rows.value.tolist(), strict=True):
        sums[type_] += value
    defined = window.defined or Defined()
    series = [each.labels for each in defined.series.values()]
    return Admitted(sums, len(rows.value), list(defined.frames.values()), series)


def _held() -> AgreedNumbers:
    """The numbers of the seeds' sender."""
    numbers = AgreedNumbers()
    for kind, ids in zip((numbers.stacks, numbers.frames), held_ids(), strict=True):
        kind.take(Sender("agent-1", 7), np.empty(0, np.int64), 1, np.array(ids, "<u8").tobytes(), 0)
    return numbers
