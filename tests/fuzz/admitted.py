"""A Push request as our own admission reads it: what its rows add up to, and every text in it."""

from collections import Counter
from dataclasses import dataclass

from collector.ingest.admission import admit, receive
from collector.ingest.definitions import Defined
from collector.ingest.limits import Limits
from collector.ingest.rows import decode_rows
from fleetprof.frames import Frame
from tests.fuzz.seeds import NOW_S

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
    """The window of a Push request; raises Refused."""
    request = receive(data, LIMITS)
    window = admit(request, LIMITS, NOW_S)
    rows, refused = decode_rows([window], LIMITS)
    if refused:
        raise refused[0]
    sums: Counter[int] = Counter()
    for type_, value in zip(rows.type.tolist(), rows.value.tolist(), strict=True):
        sums[type_] += value
    defined = window.defined or Defined()
    series = [each.labels for each in defined.series.values()]
    return Admitted(sums, len(rows.value), list(defined.frames.values()), series)
