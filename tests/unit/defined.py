"""What one request's definitions mean to the collector."""

from collector.ingest.decode_definitions import Encoded, decode_definitions
from collector.ingest.definitions import Defined
from collector.ingest.interned import Interned
from collector.ingest.limits import Limits
from collector.ingest.window import Sender
from collector.ingest.wire_numbers import NOBODY, WireNumbers


def defined(
    data: bytes,
    limits: Limits | None = None,
    sender: Sender = NOBODY,
    numbers: WireNumbers | None = None,
    interned: Interned | None = None,
) -> Defined:
    """What a fleetprof.v1.Definitions defines; raises Refused, NumbersLost."""
    found, faults = decode_definitions([Encoded(data, sender)], limits or Limits(), numbers, interned)
    for why in faults.values():
        raise why
    return found
