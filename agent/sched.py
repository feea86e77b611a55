"""The scheduler program: exact times of every thread, and weighted stacks of its waits (bpf/sched.bpf.c).

Kernel memory: the rings (1 MB each on 2 CPUs, at most 16 MB each), 0.6 KB a thread, and 3.4 KB for each
possible CPU; without sched_exit_tp another 4.4 MB of stacks held during waits.
"""

import os
import select
import time
from dataclasses import fields, replace

import numpy as np
import numpy.typing as npt

from agent.backends.cpu_sampler import depth_limit, unwind_constants
from agent.backends.interface import BackendOptions, Closed, Drained
from agent.libbpf import OBJECTS, BpfObject, add_keys
from agent.ring import CaptureRing, RingBuffer
from agent.sample_rows import take
from agent.samples import U32, U64, Captures, ThreadTimes, concat, empty
from agent.sched_hooks import SchedHooks, probe_hooks
from agent.sched_records import RECORD, Records, Told, parse, parse_exits
from agent.sched_stacks import below_scheduler, schedule_range
from agent.sched_syscalls import class_of_syscall
from agent.sched_threads import ThreadTable, ThreadWindow
from agent.unwind.kernel_tables import KernelTables
from agent.unwind.program import WAITS
from fleetprof.errors import UnavailableError
from fleetprof.losses import DropReason, Losses

COUNTS = (
    "missed",
    "unknown",
    "no_storage",
    "ring_full",
    "exit_lost",
    "not_resumed",
    "evicted",
    "kept",
    "tested",
    "test_failed",
)
"""enum fp_sched_count of bpf/sched.h, in its order."""
_LOSSES = {
    "missed": DropReason.SWITCH_MISSED,
    "unknown": DropReason.THREAD_STATE,
    "no_storage": DropReason.THREAD_STATE,
    "ring_full": DropReason.RING_FULL,
    "exit_lost": DropReason.RING_FULL,
    "not_resumed": DropReason.SWITCH_MISSED,
    "evicted": DropReason.STACK_UNREADABLE,
}
_OFF, _TEST, _RUN = range(3)
_NO_STACKS, _AFTER, _BEFORE = range(3)
_HELD_STACKS = 2048
_SELF_TEST_S = 2.0
MAX_EXITS = 65_536
"""Threads that may end in one window (15 MB): more are counted as THREAD_STATE."""


class SchedProgram:
    """Attached from construction to `close`; raises UnavailableError where it cannot run, saying why.

    `hooks` forces a variant (tests); it is probed when None. With `tables` the user stacks of waits are unwound by
    them, else they follow frame pointers.
    """

    def __init__(
        self,
        options: BackendOptions,
        hooks: SchedHooks | None = None,
        tables: KernelTables | None = None,
    ) -> None:
        self._options = options
        self._hooks = hooks or probe_hooks()
        ring_bytes = _ring_bytes(os.cpu_count() or 1)
        self.object = _load(options, self._hooks, ring_bytes, tables)
        self._captures: CaptureRing | None = None
        self._exits: RingBuffer | None = None
        self._counts: U64 = np.zeros(len(COUNTS), np.uint64)
        self._mode = self._tell_all = np.zeros(1, np.uint32)
        try:
            add_keys(self.object.map_fd("only_pids"), options.only_pids)
            self._captures = CaptureRing(self.object.map_fd("captures"), ring_bytes)
            self._exits = RingBuffer(self.object.map_fd("exits"), ring_bytes)
            self._counts = self.object.variable("counts").view(np.uint64)
            self._mode = self.object.variable("mode").view(np.uint32)
            self._tell_all = self.object.variable("tell_all").view(np.uint32)
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        self._counted = dict.fromkeys(_LOSSES, 0)
        self._threads = ThreadTable()
        self._complete = True
        self._ended: list[Records] = []
        self._exits_over = 0
        self._later = empty()
        self._schedule = schedule_range()
        self._mode[0] = _TEST
        for program in sorted(_programs(self._options, self._hooks) - {"threads"}):
            self.object.attach(program)
        self._iterator = self.object.attach_iterator("threads")
        self._self_test()
        # Threads are met by their next event or by this pass, which reads those that sleep. Only after
        # everything is attached: a thread met between two attachments would begin in a wrong state.
        self._mode[0] = _RUN
        self._threads.update(self._tell(), np.empty(0, RECORD))

    def _self_test(self) -> None:
        """Real switches must show the current thread as the one that leaves, or the layout is wrong."""
        deadline = time.monotonic() + _SELF_TEST_S
        while self.counts()["tested"] < 3:
            if time.monotonic() > deadline:
                raise UnavailableError("The scheduler program was attached but sees no context switches.")
            select.select([], [], [], 0.0005)
        if self.counts()["test_failed"]:
            raise UnavailableError(
                "The scheduler program reads wrong thread ids: this kernel's type information is wrong.",
                "Please report this kernel (uname -a); the agent goes on without thread times.",
            )

    def counts(self) -> dict[str, int]:
        """Cumulative counts by name (COUNTS)."""
        return dict(zip(COUNTS, self._counts.tolist(), strict=True))

    def _tell(self) -> Told:
        """One pass over all threads. After one that failed midway, the next tells everything anew."""
        self._tell_all[0], self._complete = int(not self._complete), False
        told = parse(self.object.read_iterator(self._iterator))
        self._complete = True
        return told

    def drain(self) -> Drained:
        """Wait stacks since the last drain; also takes the last records of threads that ended."""
        self._take_exits()
        captures, losses = self._drain_captures()
        captures, self._later = concat([self._later, captures]), empty()
        return Drained(captures, losses + self._new_losses())

    def fill(self) -> float:
        """How full the fuller ring is, 0 to 1."""
        assert self._captures
        assert self._exits
        return max(self._captures.fill, self._exits.fill)

    def _drain_captures(self) -> tuple[Captures, Losses]:
        assert self._captures
        captures, losses = self._captures.drain()
        return replace(captures, kernel=below_scheduler(captures.kernel, self._schedule)), losses

    def _take_exits(self) -> None:
        assert self._exits
        content, starts, _ = self._exits.take()
        room = MAX_EXITS - sum(len(exits) for exits in self._ended)
        self._exits_over += max(len(starts) - room, 0)
        if len(starts):
            self._ended.append(parse_exits(content, starts[:room]))

    def _new_losses(self) -> Losses:
        losses, counts = Losses({DropReason.THREAD_STATE: self._exits_over}), self.counts()
        self._exits_over = 0
        for name, reason in _LOSSES.items():
            losses[reason] += counts[name] - self._counted[name]
            self._counted[name] = counts[name]
        return +losses

    def close_window(self) -> Closed:
        """Exact times of all threads since the last close, up to now.

        `open_waits` are the waits still going on (OFFCPU, or RUNQ for threads that wait for a CPU), and
        stacks of waits that ended after the last drain but before their thread's times were read, so that
        times and stacks speak of the same moment. Stacks later than that come with the next drain.
        """
        began_ns = time.monotonic_ns()
        told = self._tell()
        exits = self._exits_before(told)
        window = self._threads.update(told, exits)
        late, losses = self._drain_captures()
        inside = _inside(late, window, exits, began_ns)
        self._later = concat([self._later, take(late, np.flatnonzero(~inside))])
        wanted = np.flatnonzero(self._wanted(window.open_waits.pid))
        return Closed(
            threads=self._only_times(window.times),
            open_waits=concat([take(window.open_waits, wanted), take(late, np.flatnonzero(inside))]),
            losses=losses + self._new_losses(),
        )

    def _exits_before(self, told: Told) -> Records:
        """Takes the threads that ended before the iterator came by; the others belong to the next window."""
        self._take_exits()
        ended = np.concatenate([np.empty(0, RECORD), *self._ended])
        later = np.isin(ended["id"], np.concatenate([told.full["id"], told.heads["id"]]))
        self._ended = [ended[later]]
        return ended[~later]

    def _only_times(self, times: ThreadTimes) -> ThreadTimes:
        wanted = self._wanted(times.pid)
        return ThreadTimes(**{field.name: getattr(times, field.name)[wanted] for field in fields(times)})

    def _wanted(self, pid: U32) -> npt.NDArray[np.bool_]:
        only = self._options.only_pids
        return np.isin(pid, only) if only else np.ones(len(pid), np.bool_)

    def close(self) -> None:
        """Detach and free everything; safe to call twice."""
        for ring in (self._captures, self._exits):
            if ring:
                ring.close()
        self._captures = self._exits = None
        # Views of the program's variables would keep its memory mapped; the counts stay readable.
        self._counts = self._counts.copy()
        self._mode, self._tell_all = self._mode.copy(), self._tell_all.copy()
        self.object.close()


def _inside(late: Captures, window: ThreadWindow, exits: Records, began_ns: int) -> npt.NDArray[np.bool_]:
    """Which waits ended before the times of their thread were read."""
    limit_ns = np.full(len(late), began_ns, np.uint64)
    at = np.minimum(np.searchsorted(window.tid, late.tid), max(len(window.tid) - 1, 0))
    if len(window.tid):
        known = window.tid[at] == late.tid
        limit_ns[known] = window.told_ns[at[known]]
    limit_ns[np.isin(late.tid, exits["tid"])] = np.iinfo(np.uint64).max
    return late.time_ns <= limit_ns


def _ring_bytes(cpus: int) -> int:
    """A power of two, half a megabyte for each CPU: over a second of kept stacks at 1.7 KB each."""
    return 1 << (min(max(cpus, 1), 32) * 512 * 1024 - 1).bit_length()


def _stacks(options: BackendOptions, hooks: SchedHooks) -> int:
    if options.wait_stacks_per_second <= 0:
        return _NO_STACKS
    return _AFTER if hooks.resume_event else _BEFORE


def _programs(options: BackendOptions, hooks: SchedHooks) -> set[str]:
    programs = {hooks.switch_program, "sched_wakeup", "sched_wakeup_new", "threads"}
    return programs | {"sched_exit"} if _stacks(options, hooks) == _AFTER else programs


def _load(
    options: BackendOptions, hooks: SchedHooks, ring_bytes: int, tables: KernelTables | None
) -> BpfObject:
    stacks = _stacks(options, hooks)
    unwinding = unwind_constants(options) if tables else {}
    return BpfObject(
        WAITS if tables else OBJECTS / "sched.bpf.o",
        programs=_programs(options, hooks),
        constants={
            "stacks": stacks,
            "stack_bytes": 8 * depth_limit(options.max_depth),
            "filter_pids": int(bool(options.only_pids)),
            "slot_ns": 1_000_000_000 // max(options.wait_stacks_per_second, 1),
            "class_of_syscall": class_of_syscall(),
            **unwinding,
        },
        map_entries={
            "captures": ring_bytes,
            "exits": ring_bytes,
            "held": _HELD_STACKS if stacks == _BEFORE else 1,
            "only_pids": max(1, len(options.only_pids)),
        },
        shared_maps=tables.shared if tables else {},
    )
