"""The agent's data path, top to bottom: drain → close → scale → bind → resolve → label → group → round →
deliver.

One thread runs it. Between windows it sleeps until a process starts (whose mappings must be read while it
lives), until the kernel's buffers want draining, or until the window ends.
"""

import logging
import os
import select
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from agent.aggregate import ClosedWindow, WindowTimes, group, number_stacks, with_idle
from agent.backends.interface import Backend, Closed
from agent.cost import CostMeter
from agent.jvm.refresh import JvmMaps
from agent.label import Labels, SeriesBook
from agent.memory import give_back
from agent.owners import LATEST, find_owners
from agent.places import PlaceSums
from agent.processes import ProcessTable
from agent.resolve import Resolver, Symbols
from agent.round_values import KernelRandom, round_values
from agent.samples import Captures, concat
from agent.scale import scale
from agent.scope import Scope, inside
from agent.unwind.unwinder import Unwinder
from agent.window_clock import WindowClock
from fleetprof.losses import Losses
from fleetprof.profile_types import ProfileType
from fleetprof.series import series_id

log = logging.getLogger("fleetprof.pipeline")

DRAIN_EVERY_NS = 1_000_000_000
CALM_FILL = 1 / 6
"""Rings no fuller than this after a second have room for a second of stacks as deep as the kernel walks them."""
CALM_LEFT_OUT, QUIET_LEFT_OUT = 1, 4
"""Drains left out in a row while rings are that empty; after the first window also if no process began or ended."""
FIRST_DRAIN_NS = 200_000_000
"""The first drain comes sooner: it says whose unwind tables to load."""
LOAD_TABLES_EVERY_NS = 100_000_000
"""While tables are being built."""
COALESCE_S = 0.08
"""Pause after new processes were seen. A look costs about 0.8 ms and serves all that started since the last:
a host that starts processes all the time pays 1 % of one CPU. What lives 200 ms is still read alive."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the pipeline is made of."""

    backend: Backend
    processes: ProcessTable
    symbols: Symbols
    identifier: Labels
    host_labels: dict[str, str]
    """Labels of the host's own series (idle time)."""
    cpu_count: int
    scope: Scope
    unwinder: Unwinder | None = None
    """Told of the processes that are sampled, where stacks are unwound by tables."""
    java: JvmMaps | None = None
    """Told of their samples, where Java VMs are asked for names."""
    places: PlaceSums | None = None
    """Sums places inside functions, where values by line of source are asked for."""


class Pipeline:
    """Runs until `stop` is called; hands every closed window to `deliver`.

    `other_losses` is asked once a window for losses counted elsewhere (the shipper's).
    """

    def __init__(
        self,
        parts: Parts,
        deliver: Callable[[ClosedWindow], None],
        other_losses: Callable[[], Losses] = Losses,
    ) -> None:
        self._parts = parts
        self._deliver = deliver
        self._other_losses = other_losses
        self._resolver = Resolver(parts.symbols)
        self._book = SeriesBook(parts.identifier)
        self._pending: list[Captures] = []
        self._losses = Losses()
        self._clock = WindowClock()
        self._random = KernelRandom()
        self._windows = 0
        self._meter = CostMeter(parts.backend)
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._next_drain_ns = time.monotonic_ns() + FIRST_DRAIN_NS
        self._left_out = 0
        """Drains in a row."""
        self._most_left_out = CALM_LEFT_OUT
        self._stopping = False

    def stop(self) -> None:
        """End after closing the current window. Callable from any thread or a signal handler."""
        self._stopping = True
        os.eventfd_write(self._wake, 1)

    def run(self) -> None:
        """Sample until stopped; the last window is closed early and delivered too."""
        with select.epoll() as poller:
            for fd in (self._wake, *self._parts.processes.fds()):
                poller.register(fd, select.EPOLLIN)
            while not self._stopping:
                self._step(poller)
        self.drain()
        self.close_window()

    def _step(self, poller: select.epoll) -> None:
        """Sleep until something is due, and do it. New processes come first: some live only milliseconds."""
        due_ns = min(self._next_drain_ns, self._clock.end_monotonic_ns)
        wait_ns = max(due_ns - time.monotonic_ns(), 0)
        unwinder = self._parts.unwinder
        if unwinder and unwinder.waiting:
            wait_ns = min(wait_ns, LOAD_TABLES_EVERY_NS)
        if poller.poll(wait_ns / 1e9):
            self._parts.processes.poll()
            self._most_left_out = CALM_LEFT_OUT
            time.sleep(0 if self._stopping else COALESCE_S)
        if unwinder and unwinder.waiting:
            unwinder.load_built()
        if time.monotonic_ns() >= due_ns:
            self._drain_unless_calm()
            self._next_drain_ns = time.monotonic_ns() + DRAIN_EVERY_NS
        if time.monotonic_ns() >= self._clock.end_monotonic_ns:
            self.close_window()

    def _drain_unless_calm(self) -> None:
        """A drain costs a millisecond or two, however little there is: most are left out on a calm host, but never
        the one at a window's end."""
        calm = self._parts.backend.fill() < CALM_FILL and self._left_out < self._most_left_out
        if calm and time.monotonic_ns() < self._clock.end_monotonic_ns:
            self._left_out += 1
            return
        self.drain()
        self._left_out, self._most_left_out = 0, QUIET_LEFT_OUT if self._windows else CALM_LEFT_OUT

    def drain(self) -> None:
        """Take what the kernel has, and look at its processes while they can still be read."""
        drained = self._parts.backend.drain()
        self._losses.update(drained.losses)
        self._pending.append(drained.captures)
        unwinder = self._parts.unwinder
        if unwinder:
            unwinder.turn()
        if not self._parts.processes.poll():
            return
        for pid in set(drained.captures.pid.tolist()):
            process = self._parts.processes.find(pid, LATEST)
            if unwinder and process:
                unwinder.follow(process)
            if self._parts.java and process and self._parts.scope.holds(process):
                self._parts.java.follow(process, drained.captures, self._clock.end_monotonic_ns)

    def close_window(self) -> None:
        """End the current window, deliver it, and begin the next."""
        closed = self._parts.backend.close_window()
        times = self._clock.turn()
        self._windows += 1
        self._losses.update(closed.losses)
        self._deliver(self._window(closed, times))
        self._parts.processes.expire(time.monotonic_ns())
        if self._parts.unwinder:
            self._parts.unwinder.forget_ended()
        self._resolver.turn()
        self._book.turn()
        give_back()

    def _window(self, closed: Closed, times: WindowTimes) -> ClosedWindow:
        captured, self._pending = concat(self._pending), []
        rows = scale(captured, closed.open_waits, closed.threads)
        idle_ns = self._idle_ns(rows, closed, times)
        rows, owners = inside(self._parts.scope, rows, find_owners(self._parts.processes, rows))
        stacks = number_stacks(self._resolver, self._resolver.resolve(rows, owners))
        series = self._book.series_of(rows, owners)
        summed = group(rows, series.index, stacks.index, times)
        if closed.threads is not None:  # else values are whole samples
            values = round_values(summed.value, summed.series, summed.type, self._random)
            summed = replace(summed, value=values)
        places, frames = self._parts.places, self._resolver.frames
        return ClosedWindow(
            times=times,
            cpu_exact=closed.threads is not None,
            period_ns=self._parts.backend.period_ns,
            cpu_count=self._parts.cpu_count,
            rows=with_idle(summed, len(series.ids), idle_ns),
            stack_ids=stacks.ids,
            stacks=stacks.frame_ids,
            frames={frame: frames[frame] for frame in set[int]().union(*stacks.frame_ids)},
            series_ids=[*series.ids, series_id(self._parts.host_labels)],
            series=[*series.labels, self._parts.host_labels],
            losses=self._take_losses(),
            cost=self._meter.take(),
            places=places.of_window(rows, owners, series.index, stacks, frames, summed) if places else None,
        )

    def _idle_ns(self, rows: Captures, closed: Closed, times: WindowTimes) -> int:
        """CPU time of the host that no thread used."""
        used = closed.threads.cpu_ns if closed.threads else rows.value_ns[rows.type == ProfileType.CPU]
        return max(self._parts.cpu_count * times.covered_ns - int(used.sum()), 0)

    def _take_losses(self) -> Losses:
        losses, self._losses = self._losses, Losses()
        for more in (self._parts.processes.take_losses(), self._parts.symbols.take_losses()):
            losses.update(more)
        losses.update(self._other_losses())
        return losses
