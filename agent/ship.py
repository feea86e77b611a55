"""Sends closed windows to the collector, each until it is stored.

A window leaves only when the collector has answered that it is stored (or was stored before), or refuses it
for good. New windows wait in memory, in order, and go first. What waits longer than `spool_after_s`, or is left
at the end, goes to disk (agent/backlog.py) and from there, oldest first and at a limited rate, to the collector
once it is back. While the collector answers, nothing touches the disk.
"""

import logging
import math
import random
import threading
import time
from collections import deque
from dataclasses import dataclass

from agent.aggregate import ClosedWindow
from agent.backlog import Backlog
from agent.connection import Connection
from agent.push import DONE, Acknowledged, Outcome, Pusher, Sender
from fleetprof.losses import DropReason, Losses

log = logging.getLogger("fleetprof.ship")

FIRST_BACKOFF_S = 0.25
LONGEST_BACKOFF_S = 10.0
ASKED_SPREAD = 1.25
"""A pause that the collector asks for is stretched by up to this, so that agents do not come back at once."""
_END_S = 3.0
"""Longest wait at the end for a push that was cancelled: what looks into failures may take longer."""
_AT_A_TIME = 8
"""Most windows from disk that are on their way together; new ones wait for their end."""
_DISK_EVERY_S = 1.0
_DISK_AGAIN_S = 10.0
"""Pause after a disk refused a window: each attempt encodes it anew."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long and how much waits where."""

    queue_windows: int
    """Most windows in memory."""
    spool_after_s: float = 30.0
    """How long a window waits in memory before it goes to disk."""
    catch_up_rate: float = 2.0
    """Most windows per second from disk."""


@dataclass(frozen=True, slots=True, eq=False)
class _Item:
    sequence: int
    window: ClosedWindow
    due_s: float
    """When it goes to disk, on the monotonic clock."""


class Shipper:
    """A queue of windows and a thread that pushes them; `backlog` belongs to it from now on."""

    def __init__(
        self, connection: Connection, sender: Sender, patience: Patience, backlog: Backlog | None = None
    ) -> None:
        self._connection = connection
        self._pusher = Pusher(connection, sender)
        self._patience = patience
        self._backlog = backlog
        self._queue: deque[_Item] = deque()
        self._held: _Item | None = None
        self._sequence = 0
        self._losses = Losses()
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._disk = threading.Lock()
        """Held while the backlog is used: at the end that is done beside a push that may hang."""
        self._backoff_s = FIRST_BACKOFF_S
        self._catch_up_s = self._disk_s = 0.0
        self._thread = threading.Thread(target=self._run, name="ship", daemon=True)
        self._thread.start()

    def offer(self, window: ClosedWindow) -> None:
        """Queue a window; drops the oldest when the queue is full. Never blocks."""
        with self._changed:
            self._sequence += 1
            self._queue.append(_Item(self._sequence, window, time.monotonic() + self._patience.spool_after_s))
            if len(self._queue) > self._patience.queue_windows:
                # One that is on its way may be stored: it is neither dropped nor counted.
                del self._queue[int(self._queue[0] is self._held)]
                self._losses[DropReason.QUEUE_FULL] += 1
            self._changed.notify_all()

    @property
    def waiting(self) -> int:
        """Windows that are not acknowledged yet, on disk or in memory."""
        return len(self._queue) + self.on_disk

    @property
    def on_disk(self) -> int:
        """Windows that wait on disk."""
        return self._backlog.waiting if self._backlog else 0

    @property
    def disk_bytes(self) -> int:
        """Bytes of the windows on disk."""
        return self._backlog.size_bytes if self._backlog else 0

    @property
    def acknowledged(self) -> Acknowledged:
        """What the collector has taken so far."""
        return self._pusher.acknowledged

    def take_losses(self) -> Losses:
        """What was dropped since the last call."""
        with self._changed:
            losses, self._losses = self._losses, Losses()
        losses.update(self._pusher.take_losses())
        return losses

    def flush(self, flush_s: float) -> bool:
        """Wait until no window waits in memory, for at most `flush_s` seconds; whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._queue, timeout=flush_s)

    def close(self, flush_s: float) -> int:
        """Try for `flush_s` seconds to send what waits in memory, put the rest on disk, close the connection.

        Returns the number of windows that are lost: neither sent nor on disk.
        """
        self.flush(flush_s)
        self._pusher.end()
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        self._connection.close()
        self._thread.join(_END_S)
        if self._backlog:
            self._to_disk(everything=True)
            with self._disk:
                self._backlog.close()
        return len(self._queue)

    def _run(self) -> None:
        while self._await_work():
            outcome = self._push_next()
            if outcome.done:
                self._backoff_s = FIRST_BACKOFF_S
            else:
                self._pause(outcome.asked_s)

    def _await_work(self) -> bool:
        """Wait for a window in memory, or until one from disk may be sent; false at the end."""
        with self._changed:
            while not self._stopping.is_set() and not self._queue:
                left_s = self._catch_up_s - time.monotonic() if self.on_disk else None
                if left_s is not None and left_s <= 0:
                    break
                self._changed.wait(left_s)
            return not self._stopping.is_set()

    def _push_next(self) -> Outcome:
        item = self._take_hold()
        if item is None:
            return self._catch_up()
        outcome = self._pusher.push(item.sequence, item.window)
        self._let_go(item, outcome.done)
        return outcome

    def _catch_up(self) -> Outcome:
        """Send the oldest windows on disk: some at a time, since each waits for its batch to be stored."""
        assert self._backlog
        rate = self._patience.catch_up_rate
        with self._disk:
            some = min(max(int(rate), 1), _AT_A_TIME)
            requests = [] if self._stopping.is_set() else self._backlog.oldest(some)
        self._catch_up_s = time.monotonic() + max(len(requests), 1) / rate
        outcomes = self._pusher.push_requests(requests)
        with self._disk:
            if requests and not self._stopping.is_set():
                self._backlog.done([place for place, outcome in enumerate(outcomes) if outcome.done])
                if not self.on_disk:
                    log.info("All windows that waited on disk are sent.")
            self._count(self._backlog.take_losses())
        return next((outcome for outcome in outcomes if not outcome.done), DONE)

    def _pause(self, asked_s: float) -> None:
        """Wait before the next attempt; what becomes due meanwhile goes to disk."""
        if asked_s:
            pause_s = asked_s * random.uniform(1.0, ASKED_SPREAD)
        else:
            pause_s = self._backoff_s * random.uniform(0.5, 1.0)
            self._backoff_s = min(self._backoff_s * 2, LONGEST_BACKOFF_S)
        end_s = time.monotonic() + pause_s
        self._to_disk()
        while not self._stopping.is_set() and (left_s := end_s - time.monotonic()) > 0:
            self._stopping.wait(min(left_s, _DISK_EVERY_S))
            self._to_disk()

    def _to_disk(self, everything: bool = False) -> None:
        """Move windows that have waited long enough from memory to disk."""
        if not self._backlog:
            return
        with self._disk:
            now_s = time.monotonic()
            if everything or (now_s >= self._disk_s and not self._stopping.is_set()):
                self._write_until(self._backlog, math.inf if everything else now_s)

    def _write_until(self, backlog: Backlog, due_s: float) -> None:
        kept = False
        while (item := self._take_hold()) and item.due_s <= due_s:
            if not backlog.keep(self._pusher.whole_request(item.sequence, item.window)):
                self._disk_s = time.monotonic() + _DISK_AGAIN_S
                break
            kept = True
            self._let_go(item, done=True)
        self._let_go(item, done=False)
        if kept:
            backlog.sync()
        self._count(backlog.take_losses())

    def _take_hold(self) -> _Item | None:
        """The oldest window in memory, which a full queue does not drop until it is let go."""
        with self._changed:
            self._held = self._queue[0] if self._queue else None
            return self._held

    def _let_go(self, item: _Item | None, done: bool) -> None:
        """The window held is `done` with, or goes on waiting."""
        with self._changed:
            # At the end a window that is still on its way may have gone to disk meanwhile.
            if done and self._queue and self._queue[0] is item:
                self._queue.popleft()
            self._held = None
            self._changed.notify_all()

    def _count(self, losses: Losses) -> None:
        if losses:
            with self._changed:
                self._losses.update(losses)
