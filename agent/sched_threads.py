"""Differences between what the scheduler program tells at the ends of two windows.

The program's totals are cumulative since it met a thread, so a window is a subtraction: nothing is reset in
the kernel and nothing is lost when a window is closed late. Memory: 224 bytes and one kernel stack (60 bytes
as a rule) for each live thread, and as much again while a window is closed.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agent.sample_rows import take_stacks
from agent.samples import I64, U64, Captures, Stacks, ThreadTimes, concat_stacks, no_stacks
from agent.sched_records import RECORD, Kind, Records, State, Told
from fleetprof.profile_types import ProfileType

CPU, RUNQ, WAIT = 0, 1, 2
"""Columns of a matrix of times: on-CPU, run queue, then the 16 wait classes."""
COLUMNS = 18


@dataclass(frozen=True, slots=True)
class ThreadWindow:
    """One window of all threads."""

    times: ThreadTimes
    open_waits: Captures
    """The waits still going on, blocked (OFFCPU) or on the run queue (RUNQ), with kernel stacks; time 0."""
    tid: npt.NDArray[np.uint32]
    """Ascending: the threads that still exist, and in `told_ns` up to when their times are told."""
    told_ns: U64


class ThreadTable:
    """All live threads as last told, sorted by id."""

    def __init__(self) -> None:
        self._records: Records = np.empty(0, RECORD)
        self._stacks = no_stacks(0)

    def __len__(self) -> int:
        return len(self._records)

    def update(self, told: Told, exits: Records) -> ThreadWindow:
        """Close a window: one iterator pass, and the last records of threads that ended before it.

        A thread that is in neither was just ending: out of the kernel's list, but not yet switched out for
        the last time. It is kept for one more window, in which its last record comes.
        """
        alive, stacks = self._alive(told)
        steady = alive["kind"] != Kind.UNSTEADY
        rows = np.concatenate([alive[steady], exits])
        row_stacks = concat_stacks([take_stacks(stacks, np.flatnonzero(steady)), no_stacks(len(exits))])
        times, open_ns = _difference(self._previous(rows), rows)
        order = np.argsort(alive["tid"], kind="stable")
        window = ThreadWindow(
            times=_thread_times(rows, times),
            open_waits=_open_waits(rows, open_ns, row_stacks),
            tid=alive["tid"][order],
            told_ns=alive["now_ns"][order],
        )
        self._keep(alive, stacks, exits)
        return window

    def _keep(self, alive: Records, stacks: Stacks, exits: Records) -> None:
        seen = np.isin(self._records["id"], np.concatenate([alive["id"], exits["id"]]))
        ending = np.flatnonzero(~seen & (self._records["kind"] != Kind.ENDING))
        rows = np.concatenate([alive, self._records[ending]])
        rows["kind"][len(alive) :] = Kind.ENDING
        stacks = concat_stacks([stacks, take_stacks(self._stacks, ending)])
        order = np.argsort(rows["id"])
        self._records, self._stacks = rows[order], take_stacks(stacks, order)

    def _alive(self, told: Told) -> tuple[Records, Stacks]:
        """Full records and stacks of all threads in `told`; a head stands for the previous record."""
        at, known = self._find(told.heads["id"])
        heads, at = told.heads[known], at[known]
        again = self._records[at]
        again["kind"] = heads["kind"]
        same = heads["kind"] == Kind.SAME
        again["now_ns"][same] = heads["now_ns"][same]
        stacks = concat_stacks([told.stacks, take_stacks(self._stacks, at)])
        return np.concatenate([told.full, again]), stacks

    def _find(self, ids: U64) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
        """Row of each id in the table, and whether it is there at all."""
        if not len(self):
            return np.zeros(len(ids), np.intp), np.zeros(len(ids), np.bool_)
        at = np.minimum(np.searchsorted(self._records["id"], ids), len(self) - 1)
        return at, self._records["id"][at] == ids

    def _previous(self, rows: Records) -> Records:
        """What each of `rows` was when last told; a new thread was nothing at its birth."""
        at, known = self._find(rows["id"])
        before = np.zeros(len(rows), RECORD)
        before["now_ns"] = before["since_ns"] = before["born_ns"] = rows["born_ns"]
        before[known] = self._records[at[known]]
        return before


def _difference(before: Records, after: Records) -> tuple[I64, I64]:
    """(times of each row in the window, shape (rows, COLUMNS); part of its open state inside the window)."""
    times = totals(after) - totals(before)
    # A thread read in the very moment it changes can have an instant told as both states.
    for row in np.flatnonzero((times < 0).any(axis=1)).tolist():
        excess = np.minimum(times[row], 0).sum()
        times[row] = np.maximum(times[row], 0)
        times[row, times[row].argmax()] += excess
    begin = np.maximum(after["since_ns"], before["now_ns"]).astype(np.int64)
    return times, after["now_ns"].astype(np.int64) - begin


def totals(records: Records) -> I64:
    """Each record's times since its thread was met, up to now_ns, shape (records, COLUMNS).

    Their sum is now_ns - born_ns, to the nanosecond.
    """
    result = np.empty((len(records), COLUMNS), np.int64)
    result[:, CPU], result[:, RUNQ] = records["cpu_ns"], records["runq_ns"]
    result[:, WAIT:] = records["wait_ns"]
    rows = np.flatnonzero(np.isin(records["state"], (State.RUNNING, State.RUNNABLE, State.BLOCKED)))
    lasting = records[rows]
    state, wait_column = lasting["state"], WAIT + (lasting["wait"] & 15)
    column = np.where(state == State.BLOCKED, wait_column, state - State.RUNNING)
    result[rows, column] += (lasting["now_ns"] - lasting["since_ns"]).astype(np.int64)
    return result


def _thread_times(rows: Records, times: I64) -> ThreadTimes:
    wall_ns = times.sum(axis=1)
    lived = np.flatnonzero(wall_ns > 0)
    rows = rows[lived]
    times_ns: U64 = times[lived].astype(np.uint64)
    return ThreadTimes(
        pid=rows["pid"],
        tid=rows["tid"],
        start_ns=rows["start_ns"],
        comm=rows["comm"],
        wall_ns=wall_ns[lived].astype(np.uint64),
        cpu_ns=times_ns[:, CPU],
        runq_ns=times_ns[:, RUNQ],
        wait_ns=times_ns[:, WAIT:],
    )


def _open_waits(rows: Records, open_ns: I64, stacks: Stacks) -> Captures:
    blocked = rows["state"] == State.BLOCKED
    waiting = np.flatnonzero((blocked | (rows["state"] == State.RUNNABLE)) & (open_ns > 0))
    rows, blocked = rows[waiting], blocked[waiting]
    return Captures(
        pid=rows["pid"],
        tid=rows["tid"],
        comm=rows["comm"],
        type=np.where(blocked, ProfileType.OFFCPU, ProfileType.RUNQ).astype(np.uint8),
        wait=np.where(blocked, rows["wait"], 0).astype(np.uint8),
        time_ns=np.zeros(len(rows), np.uint64),
        count=np.ones(len(rows), np.uint32),
        value_ns=open_ns[waiting].astype(np.uint64),
        truncated=np.zeros(len(rows), np.bool_),
        user_end=np.zeros(len(rows), np.uint8),
        user=no_stacks(len(rows)),
        kernel=take_stacks(stacks, waiting),
    )
