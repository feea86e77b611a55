"""What reading the words of one process about its code may cost: it can write as much as it likes, as often."""

import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from agent.process import Process
from agent.process_budget import Budget

CPU_SHARE = 0.02
"""Of one CPU, for a process's map, for its dumps, and for its files."""
CPU_BURST_NS = 2_000_000_000
"""Saved up: twice what the largest map that is read takes."""
FILES_BURST_NS = 10_000_000_000
"""For files: a browser's take 1 s, and are read once for all processes that map them."""
MAX_PROCESSES = 4096


def reading_budget(burst_ns: int = CPU_BURST_NS) -> Budget:
    """CPU time in nanoseconds."""
    return Budget(CPU_SHARE * 1e9, burst_ns)


@contextmanager
def spending(budget: Budget) -> Iterator[None]:
    """Takes the CPU time of a block, of this thread, from a budget."""
    began_ns = time.thread_time_ns()
    try:
        yield
    finally:
        budget.spend(time.thread_time_ns() - began_ns)


class ProcessBudgets:
    """A budget for each process image; those that were not used for longest are forgotten."""

    def __init__(self, burst_ns: int = CPU_BURST_NS) -> None:
        self._burst_ns = burst_ns
        self._known: OrderedDict[tuple[int, int], Budget] = OrderedDict()

    def of(self, process: Process) -> Budget:
        """The budget of a process."""
        key = (process.pid, process.start_ns)
        if key not in self._known:
            self._known[key] = reading_budget(self._burst_ns)
            if len(self._known) > MAX_PROCESSES:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]
