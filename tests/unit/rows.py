"""Small Captures for tests."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agent.samples import Captures, Stacks


@dataclass
class Row:
    pid: int = 1
    comm: bytes = b"main"
    type: int = 1
    wait: int = 0
    time_ns: int = 0
    count: int = 1
    value_ns: int = 10
    user: Sequence[int] = ()
    kernel: Sequence[int] = ()


def stacks(rows: Sequence[Sequence[int]]) -> Stacks:
    addrs = np.array([addr for row in rows for addr in row], np.uint64)
    return Stacks(addrs, np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64))


def captures(rows: Sequence[Row]) -> Captures:
    def column(name: str, kind: object) -> np.ndarray:
        return np.array([getattr(row, name) for row in rows], kind)

    return Captures(
        pid=column("pid", np.uint32),
        tid=column("pid", np.uint32),
        comm=column("comm", "S16"),
        type=column("type", np.uint8),
        wait=column("wait", np.uint8),
        time_ns=column("time_ns", np.uint64),
        count=column("count", np.uint32),
        value_ns=column("value_ns", np.uint64),
        truncated=np.zeros(len(rows), np.bool_),
        user_end=np.zeros(len(rows), np.uint8),
        user=stacks([row.user for row in rows]),
        kernel=stacks([row.kernel for row in rows]),
    )
