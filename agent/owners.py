"""Finds the process image behind each row."""

from typing import Protocol

import numpy as np

from agent.process import Process
from agent.samples import Captures

LATEST = 0


class Images(Protocol):
    """What is asked of agent.processes."""

    def find(self, pid: int, time_ns: int) -> Process | None:
        """The image of `pid` at a CLOCK_MONOTONIC time, the latest for LATEST."""
        ...


def find_owners(images: Images, rows: Captures) -> list[Process | None]:
    """The image of each row's process at the row's time.

    A pid that ran one image during the window (nearly all) is looked up twice, others once a row.
    Rows without a time (remainders, waits still open) belong to the pid's last image in the window.
    """
    owners: list[Process | None] = [None] * len(rows)
    if not owners:
        return owners
    order = np.argsort(rows.pid, kind="stable")
    pids, starts = np.unique(rows.pid[order], return_index=True)
    for pid, members in zip(pids.tolist(), np.split(order, starts[1:]), strict=True):
        times = rows.time_ns[members]
        timed = times[times > 0]
        last_ns = int(timed.max()) if len(timed) else LATEST
        last = images.find(pid, last_ns)
        same = not len(timed) or images.find(pid, int(timed.min())) is last
        for row, time_ns in zip(members.tolist(), times.tolist(), strict=True):
            owners[row] = last if same or not time_ns else images.find(pid, time_ns)
    return owners
