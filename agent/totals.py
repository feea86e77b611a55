"""What the agent cost, lost and closed since its start, for heartbeats and metrics."""

import threading
from dataclasses import dataclass, replace

from agent.aggregate import ClosedWindow, Cost
from fleetprof.losses import Losses


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums since start; of the cost, memory is that of the last window."""

    windows: int
    cost: Cost
    losses: Losses


class RunningTotals:
    """Adds up closed windows. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._totals = Totals(0, Cost(), Losses())

    def add(self, window: ClosedWindow) -> None:
        """Count a window that was closed."""
        with self._lock:
            before, cost = self._totals, window.cost
            self._totals = Totals(
                before.windows + 1,
                replace(
                    cost, cpu_ns=before.cost.cpu_ns + cost.cpu_ns, bpf_ns=before.cost.bpf_ns + cost.bpf_ns
                ),
                before.losses + window.losses,
            )

    def read(self) -> Totals:
        """The sums up to now."""
        with self._lock:
            return self._totals
