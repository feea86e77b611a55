"""Draws what a host's agent would measure, many windows at a time.

Every capture becomes one integer that holds its window, process, profile type, stack and time; sorting these
groups them into rows. Values are captures times their weight, scaled as the agent scales to exact times.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from agent.aggregate import ClosedWindow, Cost, Rows, WindowTimes
from agent.round_values import round_values
from fleetprof.losses import DropReason, Losses
from fleetprof.profile_types import WINDOW_NS, ProfileType
from fleetprof.series import WAIT_CLASSES, series_id
from query_ui.simulate.fleet import WINDOW_S, Fleet, Host
from query_ui.simulate.service import TABLE_BITS
from query_ui.simulate.stacks import I64, U64, StackBook, sums

PERIOD_NS = 10_101_010
HZ = 99
RUNQ_SHARE = 0.12
"""Run-queue waits that are captured for each CPU sample."""
WAITS_A_WINDOW = 16.0
"""Blocked waits that are captured of a process."""
RUNQ_NS, WAIT_NS = 3e6, 2e8
LOSSES_SHARE = 0.002
"""Windows in which something was lost."""

_STEP_BITS, _STACK_BITS, _TYPE_BITS, _PLACE_BITS = 10, 24, 2, 4
_STACK_SHIFT = _STEP_BITS
_TYPE_SHIFT = _STACK_SHIFT + _STACK_BITS
_PLACE_SHIFT = _TYPE_SHIFT + _TYPE_BITS
_WINDOW_SHIFT = _PLACE_SHIFT + _PLACE_BITS
_WAITS = ("futex", "poll", "read", "sleep")
assert set(_WAITS) <= set(WAIT_CLASSES)


@dataclass(frozen=True, slots=True)
class HostSeries:
    """A host's series while its releases stay the same: process by process, its threads running, then waiting;
    last the host's own."""

    ids: list[int]
    labels: list[dict[str, str]]
    first: I64
    """Where each process' series begin."""
    threads: I64
    """How many threads each process has."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A window without the definitions of its stacks, which are rarely needed: looking up each costs 0.5 us."""

    window: ClosedWindow
    numbers: I64
    """The fleet's number of each stack, in the order of `window.stack_ids`."""

    def defining(self, book: StackBook, places: Iterable[int]) -> ClosedWindow:
        """The window with only those of its stacks, given by their places, but with their frames."""
        ids, numbers, chosen = self.window.stack_ids, self.numbers.tolist(), list(places)
        stacks = [book.frame_ids[numbers[place]] for place in chosen]
        return replace(self.window, stack_ids=[ids[place] for place in chosen], stacks=stacks)

    def whole(self, book: StackBook) -> ClosedWindow:
        """The window as an agent has it, with all of its definitions."""
        return self.defining(book, range(len(self.numbers)))


class Drawer:
    """Draws windows of a fleet's hosts. Not thread-safe."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._random = np.random.default_rng(fleet.plan.seed + 1)
        self._series: dict[tuple[int, tuple[str, ...]], HostSeries] = {}

    def draw(self, host: Host, start_s: int, count: int) -> list[Drawn]:
        """`count` consecutive windows of `host` from `start_s` (true time) on."""
        series = self._series_of(host, start_s)
        starts_s = start_s + np.arange(count) * WINDOW_S
        keys = np.concatenate([self._captures(host, place, starts_s) for place in range(len(host.instances))])
        keys.sort()
        return self._windows(host, series, starts_s, keys)

    def _captures(self, host: Host, place: int, starts_s: I64) -> I64:
        """One key for each capture of a process."""
        instance, random = host.instances[place], self._random
        release = instance.service.release_at(int(starts_s[0]), instance.place)
        busy = host.load(starts_s) * instance.cores * release.load
        samples = busy * HZ * (WINDOW_NS / 1e9)
        drawn = (
            (ProfileType.CPU, release.cpu, samples),
            (ProfileType.RUNQ, release.cpu, samples * RUNQ_SHARE),
            (ProfileType.OFFCPU, instance.service.waits, np.full(len(starts_s), WAITS_A_WINDOW)),
        )
        parts = []
        for kind, table, mean in drawn:
            counts = random.poisson(mean)
            chance = random.integers(0, 1 << (TABLE_BITS + _STEP_BITS), int(counts.sum()), np.int64)
            steps = (chance >> TABLE_BITS) * 1000 >> _STEP_BITS if kind == ProfileType.CPU else 0
            stacks = table[chance & ((1 << TABLE_BITS) - 1)]
            common = (
                np.arange(len(counts)) << _WINDOW_SHIFT | place << _PLACE_SHIFT | int(kind - 1) << _TYPE_SHIFT
            )
            parts.append(np.repeat(common, counts) | stacks << _STACK_SHIFT | steps)
        return np.concatenate(parts)

    def _windows(self, host: Host, series: HostSeries, starts_s: I64, keys: I64) -> list[Drawn]:
        rows = keys >> _STEP_BITS
        first = np.flatnonzero(np.diff(rows, prepend=-1))
        rows = rows[first]
        captures = np.diff(first, append=len(keys))
        window = rows >> (_WINDOW_SHIFT - _STEP_BITS)
        place = rows >> (_PLACE_SHIFT - _STEP_BITS) & ((1 << _PLACE_BITS) - 1)
        kind = (rows >> (_TYPE_SHIFT - _STEP_BITS) & 3) + 1
        stack = rows & ((1 << _STACK_BITS) - 1)
        thread = stack % series.threads[place]  # pools of threads run different code
        waits = kind == ProfileType.OFFCPU
        row_series = series.first[place] + thread + waits * series.threads[place]
        group = window * len(series.ids) + row_series
        value = self._values(len(starts_s) * len(series.ids), group, kind, captures)
        timed = np.where(kind == ProfileType.CPU, captures, 0)
        offsets = (keys & ((1 << _STEP_BITS) - 1))[np.repeat(kind == ProfileType.CPU, captures)].astype(
            np.uint16
        )
        columns = _Columns(
            row_series, stack, kind, value, captures, np.concatenate([[0], timed.cumsum()]), offsets
        )
        used = sums(np.where(kind == ProfileType.CPU, value, 0), window, len(starts_s)).tolist()
        edges = np.searchsorted(window, np.arange(len(starts_s) + 1)).tolist()
        return [
            self._window(host, series, int(starts_s[n]), columns.part(edges[n], edges[n + 1]), used[n])
            for n in range(len(starts_s))
        ]

    def _values(self, groups: int, group: I64, kind: I64, captures: I64) -> I64:
        """Nanoseconds: CPU samples scaled by one factor a window and series, waits each with its own length.

        Rounded as an agent does.
        """
        random = self._random
        factor = np.clip(random.normal(1.0, 0.05, groups), 0.5, 1.5)[group]
        mean_ns = np.array([0.0, PERIOD_NS, RUNQ_NS, WAIT_NS])[kind]
        lengths = np.where(kind == ProfileType.CPU, factor, random.exponential(1.0, len(kind)))
        values = np.maximum(captures * mean_ns * lengths, 1000).astype(np.uint64)
        return round_values(values, group, kind, random).astype(np.int64)

    def _window(
        self, host: Host, series: HostSeries, start_s: int, columns: "_Columns", used_ns: int
    ) -> Drawn:
        idle_ns = max(host.cpu_count * WINDOW_NS - used_ns, 0)
        present, row_series = np.unique(np.append(columns.series, len(series.ids) - 1), return_inverse=True)
        numbers, row_stack = np.unique(np.append(columns.stack, 0), return_inverse=True)
        own_start_s = start_s + round(host.skew_s / WINDOW_S) * WINDOW_S
        book = self._fleet.book
        window = ClosedWindow(
            times=WindowTimes(own_start_s * 10**9, 0, WINDOW_NS),
            cpu_exact=True,
            period_ns=PERIOD_NS,
            cpu_count=host.cpu_count,
            rows=columns.rows(row_series, row_stack, idle_ns),
            stack_ids=book.ids[numbers].tolist(),
            stacks=[],
            frames=book.frames,
            series_ids=[series.ids[each] for each in present.tolist()],
            series=[series.labels[each] for each in present.tolist()],
            losses=self._losses(),
            cost=Cost(40_000_000, 8_000_000, 60 << 20, 12 << 20),
        )
        return Drawn(window, numbers)

    def _losses(self) -> Losses:
        lost = self._random.random() < LOSSES_SHARE
        return Losses({DropReason.RING_FULL: int(self._random.integers(1, 50))} if lost else {})

    def _series_of(self, host: Host, start_s: int) -> HostSeries:
        versions = tuple(each.service.release_at(start_s, each.place).version for each in host.instances)
        key = (host.number, versions)
        if key not in self._series:
            self._series[key] = _host_series(host, versions)
        return self._series[key]


@dataclass(frozen=True, slots=True)
class _Columns:
    """Rows of one window or several, still with the fleet's numbers of stacks and the host's of series."""

    series: I64
    stack: I64
    kind: I64
    value: I64
    captures: I64
    offset_starts: I64
    offsets: npt.NDArray[np.uint16]

    def part(self, first: int, last: int) -> "_Columns":
        """Rows `first` to before `last`."""
        starts = self.offset_starts[first : last + 1]
        return _Columns(
            self.series[first:last],
            self.stack[first:last],
            self.kind[first:last],
            self.value[first:last],
            self.captures[first:last],
            starts - starts[0],
            self.offsets[starts[0] : starts[-1]],
        )

    def rows(self, series: npt.NDArray[Any], stack: npt.NDArray[Any], idle_ns: int) -> Rows:
        """With a window's own numbers, and the row of idle time at the end."""
        value: U64 = np.append(self.value, idle_ns).astype(np.uint64)
        return Rows(
            series=series.astype(np.uint32),
            stack=stack.astype(np.uint32),
            type=np.append(self.kind, int(ProfileType.IDLE)).astype(np.uint8),
            value=value,
            captures=np.append(self.captures, 0).astype(np.uint32),
            offset_starts=np.append(self.offset_starts, self.offset_starts[-1]),
            offsets=self.offsets,
        )


def _host_series(host: Host, versions: tuple[str, ...]) -> HostSeries:
    own = {"host": host.name, "region": host.region, "environment": "production"}
    labels: list[dict[str, str]] = []
    first = []
    for instance, version in zip(host.instances, versions, strict=True):
        service = instance.service
        first.append(len(labels))
        process = own | {
            "service": service.name, "version": version, "namespace": "shop",
            "pod": f"{instance.pod}-{version}", "process": service.name,
        }  # fmt: skip
        running = [process | {"thread": thread} for thread in service.threads]
        labels += running
        labels += [each | {"wait": _WAITS[place % len(_WAITS)]} for place, each in enumerate(running)]
    labels.append(own)
    return HostSeries(
        ids=[series_id(each) for each in labels],
        labels=labels,
        first=np.array(first, np.int64),
        threads=np.array([len(each.service.threads) for each in host.instances], np.int64),
    )
