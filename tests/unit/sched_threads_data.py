"""Thread times for tests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from agent.samples import ThreadTimes


@dataclass
class Thread:
    pid: int = 1
    tid: int = 1
    comm: bytes = b"main"
    cpu_ns: int = 0
    runq_ns: int = 0
    waits_ns: Mapping[int, int] = field(default_factory=dict)
    start_ns: int = 1


def thread_times(threads: Sequence[Thread]) -> ThreadTimes:
    def column(name: str, kind: object) -> np.ndarray:
        return np.array([getattr(thread, name) for thread in threads], kind)

    wait_ns = np.zeros((len(threads), 16), np.uint64)
    for row, thread in enumerate(threads):
        for wait, ns in thread.waits_ns.items():
            wait_ns[row, wait] = ns
    cpu_ns, runq_ns = column("cpu_ns", np.uint64), column("runq_ns", np.uint64)
    return ThreadTimes(
        pid=column("pid", np.uint32),
        tid=column("tid", np.uint32),
        start_ns=column("start_ns", np.uint64),
        comm=column("comm", "S16"),
        wall_ns=cpu_ns + runq_ns + wait_ns.sum(axis=1, dtype=np.uint64),
        cpu_ns=cpu_ns,
        runq_ns=runq_ns,
        wait_ns=wait_ns,
    )
