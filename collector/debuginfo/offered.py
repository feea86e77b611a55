"""What an agent offers, checked: nothing of a message is believed before."""

from dataclasses import dataclass

from collector.debuginfo.workers import is_build_id
from fleetprof.errors import InputError
from fleetprof.v1 import debuginfo_pb2

MAX_OFFERS = 64
AGENT_ID_BYTES, HOST_BYTES, NAME_BYTES = 64, 255, 255


@dataclass(frozen=True, slots=True)
class Offered:
    """A file that an agent could send."""

    build_id: str
    name: str
    size: int
    sent_size: int
    has_lines: bool
    nameless: bool


@dataclass(frozen=True, slots=True)
class Question:
    """Who offers what."""

    agent_id: str
    host: str
    offers: tuple[Offered, ...]


def read_offers(request: debuginfo_pb2.OfferDebugInfoRequest) -> Question:
    """The request's meaning; raises InputError for one that breaks the contract."""
    if len(request.offers) > MAX_OFFERS:
        raise InputError(f"There are {len(request.offers)} offers; at most {MAX_OFFERS} are taken.", "")
    if not request.agent_id:
        raise InputError("agent_id is empty.", "")
    return Question(
        _text("agent_id", request.agent_id, AGENT_ID_BYTES),
        _text("host", request.host, HOST_BYTES),
        tuple(map(_offered, request.offers)),
    )


def _offered(offer: debuginfo_pb2.DebugInfoOffer) -> Offered:
    if not is_build_id(offer.build_id):
        raise InputError("An offer's build_id is no build id.", "")
    if not 0 < offer.sent_size <= offer.size:
        raise InputError("An offer sends nothing, or more than its file has.", "")
    name = _text("name", offer.name, NAME_BYTES)
    return Offered(offer.build_id, name, offer.size, offer.sent_size, offer.has_lines, offer.nameless)


def _text(name: str, text: str, limit_bytes: int) -> str:
    if len(text.encode("utf-8", "replace")) > limit_bytes or not (text.isprintable() or not text):
        raise InputError(f"{name} is longer than {limit_bytes} bytes, or has control characters.", "")
    return text
