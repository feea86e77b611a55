"""What agents and collectors agree on about numbered stacks and frames (Window.stack_numbers in ingest.proto)."""

import hashlib

MOST_NUMBERS = 1 << 16
"""Highest number of a run's stacks, and of its frames; an agent that would pass it begins again at 1."""


def number_check(ids: bytes) -> int:
    """The hash of ids in the order in which a request refers to them, each as 8 bytes, little endian."""
    return int.from_bytes(hashlib.blake2b(ids, digest_size=8).digest(), "little")
