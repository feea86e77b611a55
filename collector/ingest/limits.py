"""How much one request may hold. Honest agents stay far below.

Past a limit a request is refused and counted.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class Limits:
    """Bounds of one Push, and how far from now its window may lie; `oldest_s` may change while they are used."""

    message_bytes: int = 16 << 20
    rows: int = 1_000_000
    series: int = 100_000
    stacks: int = 500_000
    places: int = 100_000
    frames: int = 500_000
    depth: int = 1024
    string_bytes: int = 64 << 10
    labels: int = 64
    """Labels of one series."""
    host_bytes: int = 255
    agent_id_bytes: int = 64
    value: int = 10**15
    """One row's value: 10 s of 100,000 threads, in nanoseconds; keeps sums far from 64 bits."""
    covered_ns: int = 3600 * 10**9
    oldest_s: int = 7 * 86400
    """How old a window may be: what the samples' retention would drop at once is refused."""
    future_s: int = 300
