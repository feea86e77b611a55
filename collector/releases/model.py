"""A release: a version of a service, as its samples tell of it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HostRun:
    """When a version ran on one host, within the range that was asked for. Unix seconds."""

    host: str
    first_s: int
    last_s: int


@dataclass(frozen=True, slots=True)
class Release:
    """One version of one service. Times are Unix seconds, to the minute."""

    service: str
    version: str
    first_seen_s: int
    """Of all that is stored, not only of the range."""
    last_seen_s: int
    """Within the range: the end of the last minute with samples."""
    hosts: int
    """Hosts that ran it in the range."""
    hosts_now: int
    """Hosts that run it in the last ten minutes of the service within the range."""
    host_share: float
    """0..1: `hosts_now` of all hosts that run the service then; hosts of two versions count for both."""
    cpu_share: float
    """0..1 of the service's CPU in the same ten minutes."""
    cores: float
    """Average in the same ten minutes."""
    predecessor: str
    """The version that ran before it, or beside it when it appeared; "" when there was none."""
    runs: tuple[HostRun, ...]
    """By host, at most MAX_RUNS of them, first ones first."""
