"""What the agent itself costs: its CPU time, its BPF programs' time, its memory."""

import os
import time
from pathlib import Path

from agent.aggregate import Cost
from agent.backends.interface import Backend

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class CostMeter:
    """Differences of cumulative costs between two calls of `take`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._cpu_ns = time.process_time_ns()
        self._bpf_ns = backend.cost().bpf_ns

    def take(self) -> Cost:
        """The cost since the last call (since the start at the first)."""
        cpu_ns, kernel = time.process_time_ns(), self._backend.cost()
        cost = Cost(
            cpu_ns=cpu_ns - self._cpu_ns,
            bpf_ns=max(kernel.bpf_ns - self._bpf_ns, 0),
            rss_bytes=rss_bytes(),
            map_bytes=kernel.map_bytes,
        )
        self._cpu_ns, self._bpf_ns = cpu_ns, kernel.bpf_ns
        return cost


def rss_bytes() -> int:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES
