"""Picking rows out of sample columns."""

import numpy as np
import numpy.typing as npt

from agent.samples import Captures, Stacks

Rows = npt.NDArray[np.intp]


def take(captures: Captures, rows: Rows) -> Captures:
    """The given rows, in the given order."""
    return Captures(
        pid=captures.pid[rows],
        tid=captures.tid[rows],
        comm=captures.comm[rows],
        type=captures.type[rows],
        wait=captures.wait[rows],
        time_ns=captures.time_ns[rows],
        count=captures.count[rows],
        value_ns=captures.value_ns[rows],
        truncated=captures.truncated[rows],
        user_end=captures.user_end[rows],
        user=take_stacks(captures.user, rows),
        kernel=take_stacks(captures.kernel, rows),
    )


def take_stacks(stacks: Stacks, rows: Rows) -> Stacks:
    """The stacks of the given rows, in the given order."""
    return slice_stacks(stacks, stacks.starts[:-1][rows], stacks.starts[1:][rows])


def slice_stacks(stacks: Stacks, first: npt.NDArray[np.int64], end: npt.NDArray[np.int64]) -> Stacks:
    """One stack a row: addrs[first[i]:end[i]]."""
    depths = end - first
    starts = np.zeros(len(depths) + 1, np.int64)
    np.cumsum(depths, out=starts[1:])
    picked = np.repeat(first - starts[:-1], depths) + np.arange(starts[-1])
    return Stacks(stacks.addrs[picked], starts)
