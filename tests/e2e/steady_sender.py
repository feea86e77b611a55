"""An agent's delivery without its sampling, as a process that can be killed: python -m tests.e2e.steady_sender.

It offers a window every PERIOD_S, each with one function of its own, and writes what it offered to a file, a line
a window: "RUN SEQUENCE SECONDS". SIGTERM ends it as it ends an agent.
"""

import argparse
import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np

from agent import log as log_output
from agent.aggregate import ClosedWindow, Rows, WindowTimes
from agent.backlog import Backlog
from agent.connection import Connection
from agent.push import Sender
from agent.ship import Patience, Shipper
from fleetprof.frames import Frame, FrameKind, frame_id, stack_id
from fleetprof.series import series_id
from fleetprof.setting_kinds import parse_address

PERIOD_S = 0.2
MOST = 15
"""Windows a run: each takes a commit of its own to be sent again."""
SPOOL_AFTER_S = 0.5
VALUE_NS = 1_000_000_000
SERVICE = "steady"
LABELS = {"host": "steady-host", "service": SERVICE}


def function(run: int, sequence: int) -> str:
    """The window's own function."""
    return f"run{run}_window{sequence}"


def make_window(run: int, sequence: int) -> ClosedWindow:
    """One second of CPU time in the window's own function."""
    frame = Frame(FrameKind.NATIVE, function(run, sequence), "steady")
    one = np.zeros(1, np.uint32)
    rows = Rows(
        one, one, np.ones(1, np.uint8), np.full(1, VALUE_NS, np.uint64), np.ones(1, np.uint32),
        np.zeros(2, np.int64), np.empty(0, np.uint16),
    )  # fmt: skip
    start_s = int(time.time()) // 10 * 10 - 10
    return ClosedWindow(
        times=WindowTimes(start_s * 10**9, 0, 10**10),
        cpu_exact=True,
        period_ns=10_101_010,
        cpu_count=1,
        rows=rows,
        stack_ids=[stack_id([frame_id(frame)])],
        stacks=[(frame_id(frame),)],
        frames={frame_id(frame): frame},
        series_ids=[series_id(LABELS)],
        series=[LABELS],
    )


def main() -> int:
    """Offer windows until SIGTERM, or until only what waits on disk is sent (--only-send)."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--collector", type=parse_address)
    parser.add_argument("--state", type=Path)
    parser.add_argument("--run", type=int)
    parser.add_argument("--only-send", action="store_true")
    given = parser.parse_args()
    log_output.set_up("info")
    shipper = Shipper(
        Connection(given.collector),
        Sender("steady-agent", given.run, LABELS["host"]),
        Patience(1000, SPOOL_AFTER_S, 200.0),
        Backlog(given.state, 64 << 20),
    )
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    offered = os.open(given.state / "offered", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    sequence = 0
    while not ended.wait(PERIOD_S):
        if given.only_send:
            if not shipper.waiting:
                break
            continue
        if sequence == MOST:
            continue
        sequence += 1
        os.write(offered, f"{given.run} {sequence} {time.monotonic()}\n".encode())
        shipper.offer(make_window(given.run, sequence))
    return shipper.close(2.0)


if __name__ == "__main__":
    sys.exit(main())
