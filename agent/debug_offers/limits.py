"""How much of debug files is sent."""

from typing import NamedTuple


class OfferLimits(NamedTuple):
    """How fast files are sent, in bytes a second, and how much of one file."""

    rate: int
    file_bytes: int
