"""Which processes of the host an agent speaks for: all of them, or those in its own network namespace.

The second is for an agent that stands beside one workload (a sidecar in a pod, a host made of namespaces):
the kernel shows it every process, and other agents speak for the others.
"""

import os
from typing import Protocol

import numpy as np

from agent.process import Process
from agent.sample_rows import take
from agent.samples import Captures

HOST, NETWORK_NAMESPACE = "host", "network-namespace"
SCOPES = (HOST, NETWORK_NAMESPACE)


class Scope(Protocol):
    """Tells which process images belong."""

    def holds(self, process: Process | None) -> bool:
        """Whether the agent speaks for this process."""
        ...


class WholeHost:
    """Everything belongs."""

    def holds(self, process: Process | None) -> bool:
        """True."""
        return True


class OwnNetwork:
    """Processes in the agent's own network namespace; kernel threads and lost processes belong to nobody."""

    def __init__(self) -> None:
        self._own = _network_of(os.getpid())
        self._known: dict[int, tuple[Process, bool]] = {}

    def holds(self, process: Process | None) -> bool:
        """Looked up once an image; one that has ended before its first look is left out."""
        if process is None or process.is_kernel:
            return False
        known = self._known.get(id(process))
        if known is None:
            known = self._known[id(process)] = (process, _network_of(process.pid) == self._own)
        if len(self._known) > MAX_KNOWN:
            self._known.clear()
        return known[1]


MAX_KNOWN = 20_000


def scope_of(name: str) -> Scope:
    """The scope called `name` in the settings."""
    return OwnNetwork() if name == NETWORK_NAMESPACE else WholeHost()


def inside(
    scope: Scope, rows: Captures, owners: list[Process | None]
) -> tuple[Captures, list[Process | None]]:
    """The rows, and their owners, that belong to `scope`."""
    if isinstance(scope, WholeHost):
        return rows, owners
    kept = np.flatnonzero([scope.holds(owner) for owner in owners])
    return take(rows, kept), [owners[row] for row in kept.tolist()]


def _network_of(pid: int) -> int:
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino
    except OSError:
        return 0
