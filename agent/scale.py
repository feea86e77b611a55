"""Makes a window's values add up to the exact times of its threads.

CPU samples and wait stacks say where time was spent; the scheduler program says how much it was. So the rows
of a group of threads are scaled to the group's exact time. A group is one thread where enough of its stacks
were captured, else all threads of one name in a process, else the process:

  - one thread, because threads differ: if one of them got more than its share of samples, its functions would
  take time from those of the others (post-stratification); - but not with few stacks: then an exact total is
  split by a share that is mostly chance, and a thread without any stack would lose its time to "(unsampled)".
  From ten CPU samples up the stratum gains more than it costs.

Waits are scaled only from 30 stacks up, and only as far as chance explains: weights are unbiased with a
variance below the sum of their squares. What is missing beyond that (a wait whose end no tracer saw, a full
ring) and the time of groups without stacks becomes rows without stacks, shown as "(unsampled)".
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from agent.apportion import Groups, apportion, sums
from agent.sample_rows import take
from agent.samples import I64, Captures, ThreadTimes, concat, no_stacks
from agent.sched_threads import COLUMNS, CPU, RUNQ, WAIT
from fleetprof.profile_types import ProfileType

MIN_SAMPLES = 10
"""CPU samples from which a thread, or the threads of one name, are scaled by themselves."""
MIN_WAITS = 30
"""Wait stacks from which a group is scaled up at all."""
_DEVIATIONS = 4.0
"""Waits are scaled up by at most this many standard deviations."""

Mask = npt.NDArray[np.bool_]


def scale(captures: Captures, open_waits: Captures, threads: ThreadTimes | None) -> Captures:
    """All rows of the window with values that add up, per process and type, to `threads`, to the nanosecond.

    Rows of `open_waits` without a time are exact already, and only cut where they exceed their thread's time;
    those with one are stacks of waits that ended, like `captures`. Rows of processes that `threads` does not
    know (and idle rows) stay as they are; rows that end up with no time are left out. Without `threads` (no
    scheduler program) nothing changes.
    """
    if threads is None:
        return concat([captures, open_waits])
    cells = _Cells.of(threads)
    is_open = (open_waits.time_ns == 0) & (cells.place(open_waits).cell >= 0)
    captures = concat([captures, take(open_waits, np.flatnonzero(~is_open))])
    open_waits = take(open_waits, np.flatnonzero(is_open))
    cell, open_ns = cells.place(open_waits).cell, open_waits.value_ns.astype(np.int64)
    granted_ns = np.minimum(sums(open_ns, cell, len(cells.time_ns)), cells.time_ns)
    open_ns = apportion(open_ns, cell, granted_ns)
    value_ns, missing_ns = _scaled(captures, cells, cells.time_ns - granted_ns)
    parts = [
        replace(captures, value_ns=value_ns.astype(np.uint64)),
        replace(open_waits, value_ns=open_ns.astype(np.uint64)),
        _unsampled(threads, cells, missing_ns),
    ]
    return concat([take(part, np.flatnonzero(part.value_ns > 0)) for part in parts])


@dataclass(frozen=True, slots=True)
class _Placed:
    """Where rows belong: cell and process-wide group; -1 where there is none."""

    cell: Groups
    process_group: Groups


@dataclass(frozen=True, slots=True)
class _Cells:
    """The exact times as one flat array: cell = thread x COLUMNS + column (CPU, RUNQ, 16 wait classes)."""

    thread_key: npt.NDArray[np.uint64]
    """pid << 32 | tid of each thread, ascending (a reused tid is one thread)."""
    pid: npt.NDArray[np.uint32]
    """Distinct pids, ascending."""
    time_ns: I64
    levels: tuple[Groups, Groups, Groups]
    """Group of each cell: its thread's, its thread name's within the process, its process's."""
    row_of_thread: npt.NDArray[np.intp]
    """One row of ThreadTimes for each thread."""

    @classmethod
    def of(cls, threads: ThreadTimes) -> "_Cells":
        keys, row, thread = np.unique(_key(threads.pid, threads.tid), return_index=True, return_inverse=True)
        times = np.column_stack([threads.cpu_ns, threads.runq_ns, threads.wait_ns]).astype(np.int64)
        cell = (thread.reshape(-1, 1) * COLUMNS + np.arange(COLUMNS)).ravel()
        pids, process = np.unique(threads.pid[row], return_inverse=True)
        _, name = np.unique(_names(process, threads.comm[row]), return_inverse=True)
        columns = np.arange(COLUMNS)
        levels = (np.arange(len(keys)), name.reshape(-1), process.reshape(-1))
        return cls(
            thread_key=keys,
            pid=pids,
            time_ns=sums(times.ravel(), cell, len(keys) * COLUMNS),
            levels=tuple((level[:, None] * COLUMNS + columns).ravel() for level in levels),  # type: ignore[arg-type]
            row_of_thread=row,
        )

    def place(self, captures: Captures) -> _Placed:
        """The cells of captured rows."""
        column = _columns(captures)
        thread = _find(self.thread_key, _key(captures.pid, captures.tid))
        process = _find(self.pid, captures.pid)
        return _Placed(
            cell=np.where((thread < 0) | (column < 0), -1, thread * COLUMNS + column),
            process_group=np.where((process < 0) | (column < 0), -1, process * COLUMNS + column),
        )


def _key(pid: npt.NDArray[np.uint32], tid: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint64]:
    return pid.astype(np.uint64) << np.uint64(32) | tid


def _names(process: Groups, comm: npt.NDArray[np.bytes_]) -> npt.NDArray[np.void]:
    """Process and thread name as one comparable value."""
    names = np.empty(len(comm), [("process", "<i8"), ("comm", "S16")])
    names["process"], names["comm"] = process.reshape(-1), comm
    return names


def _find(ordered: npt.NDArray[np.unsignedinteger], wanted: npt.NDArray[np.unsignedinteger]) -> Groups:
    """Place of each wanted value in a sorted array, -1 where it is not there."""
    if not len(ordered):
        return np.full(len(wanted), -1, np.intp)
    at = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
    return np.where(ordered[at] == wanted, at, -1)


def _columns(captures: Captures) -> Groups:
    kind = captures.type
    column = np.full(len(captures), -1, np.intp)
    column[kind == ProfileType.CPU] = CPU
    column[kind == ProfileType.RUNQ] = RUNQ
    blocked = kind == ProfileType.OFFCPU
    column[blocked] = WAIT + (captures.wait[blocked] & 15)
    return column


def _scaled(captures: Captures, cells: _Cells, exact_ns: I64) -> tuple[I64, I64]:
    """(the rows' scaled values, what each cell's exact time has beyond them)."""
    placed = cells.place(captures)
    value_ns = captures.value_ns.astype(np.int64)
    missing_ns = exact_ns.copy()
    open_rows, open_cells = placed.process_group >= 0, np.ones(len(exact_ns), np.bool_)
    for number, level in enumerate(cells.levels):
        last = number == len(cells.levels) - 1
        group = placed.process_group if last else _through(level, placed.cell)
        rows = np.flatnonzero(open_rows & (group >= 0))
        groups = _Groups.of(captures, rows, group[rows], int(level.max(initial=-1)) + 1)
        chosen = np.ones(len(groups.count), np.bool_) if last else groups.large_enough()
        rows = rows[chosen[group[rows]]]
        members = np.flatnonzero(open_cells & chosen[level])
        target_ns = sums(exact_ns[members], level[members], len(groups.count))
        given_ns = groups.explained(target_ns)
        value_ns[rows] = apportion(value_ns[rows], group[rows], given_ns)
        missing_ns[members] = apportion(exact_ns[members], level[members], target_ns - given_ns)
        open_rows[rows] = False
        open_cells[members] = False
    return value_ns, missing_ns


def _through(level: Groups, cell: Groups) -> Groups:
    """The group of each row by its cell, -1 for rows without one."""
    return np.where(cell >= 0, level[cell], -1) if len(level) else np.full(len(cell), -1, np.intp)


@dataclass(frozen=True, slots=True)
class _Groups:
    """What was captured of each group; group modulo COLUMNS is its column."""

    count: I64
    weight_ns: I64
    squares: npt.NDArray[np.float64]
    """Sum of squared weights: an upper bound of the variance of `weight_ns`."""

    @classmethod
    def of(cls, captures: Captures, rows: Groups, group: Groups, groups: int) -> "_Groups":
        weight_ns = captures.value_ns[rows].astype(np.int64)
        squares = np.zeros(groups)
        np.add.at(squares, group, weight_ns.astype(np.float64) ** 2)
        return cls(
            count=sums(captures.count[rows].astype(np.int64), group, groups),
            weight_ns=sums(weight_ns, group, groups),
            squares=squares,
        )

    def _is_cpu(self) -> Mask:
        is_cpu: Mask = np.arange(len(self.count)) % COLUMNS == CPU
        return is_cpu

    def large_enough(self) -> Mask:
        """Groups with enough stacks to be scaled by themselves."""
        enough: Mask = self.count >= np.where(self._is_cpu(), MIN_SAMPLES, MIN_WAITS)
        return enough

    def explained(self, target_ns: I64) -> I64:
        """The part of each group's exact time that its rows stand for."""
        highest = self.weight_ns + _DEVIATIONS * np.sqrt(self.squares)
        trusted = (self.count >= MIN_WAITS) & (target_ns <= highest) | self._is_cpu()
        wanted = np.where(trusted, target_ns, np.minimum(self.weight_ns, target_ns))
        return np.where(self.weight_ns > 0, wanted, 0)


def _unsampled(threads: ThreadTimes, cells: _Cells, missing_ns: I64) -> Captures:
    """Rows without stacks for what is missing, one for each process, thread name, type and wait class."""
    lacking = np.flatnonzero(missing_ns > 0)
    _, first, group = np.unique(cells.levels[1][lacking], return_index=True, return_inverse=True)
    value_ns = sums(missing_ns[lacking], group.reshape(-1), len(first))
    cell = lacking[first]
    row, column = cells.row_of_thread[cell // COLUMNS], cell % COLUMNS
    kinds = np.array([ProfileType.CPU, ProfileType.RUNQ] + 16 * [ProfileType.OFFCPU], np.uint8)
    return Captures(
        pid=threads.pid[row],
        tid=threads.tid[row],
        comm=threads.comm[row],
        type=kinds[column],
        wait=np.maximum(column - WAIT, 0).astype(np.uint8),
        time_ns=np.zeros(len(row), np.uint64),
        count=np.zeros(len(row), np.uint32),
        value_ns=value_ns.astype(np.uint64),
        truncated=np.zeros(len(row), np.bool_),
        user_end=np.zeros(len(row), np.uint8),
        user=no_stacks(len(row)),
        kernel=no_stacks(len(row)),
    )
