"""Keeps perf maps of the Java VMs that are sampled, and asks for new ones as they compile.

A VM is asked when samples lie in its compiled code and have no name in its last map, and now and then because code
that was thrown away makes room for other code. Asking takes place on a thread of its own, whose CPU time has a
budget; a VM that has nothing new to tell is asked ever more seldom. The pipeline never waits: what is not there yet
when a window is closed stays `[jit]` in it. So VMs are asked shortly before the end of a window.
"""

import logging
import os
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic_ns
from typing import NamedTuple

import numpy as np

from agent.jvm.attach import fetch_perf_map
from agent.jvm.credentials import StuckAsOther
from agent.jvm.target import HasOwnMap, Refused
from agent.process import Mapping, Process
from agent.process_budget import Budget
from agent.sample_rows import take_stacks
from agent.samples import U64, Captures
from agent.symbolize.perf_map import PerfMap
from agent.symbolize.regions import is_file, runtime_of
from fleetprof.frames import FrameKind

log = logging.getLogger("fleetprof.jvm")

SOONEST_NS = 7_000_000_000
LATEST_NS = 600_000_000_000
"""Between two requests to one VM; doubled when a request brought no name that was wanted."""
NEAR_END_NS = 3_500_000_000
"""So long before the end of a window it is time: drains are up to two seconds apart, and an answer takes 0.1 s."""
STALE_NS = 120_000_000_000
"""A map older than this is asked for again although it names everything: the VM reuses memory of old code."""
REST_FOR_WORK = 20
"""A VM rests for so many times as long as it took to answer, most of which is waiting for a CPU on a busy host."""
REFUSED_NS = 60_000_000_000
"""Until a VM that refused is asked again, where it may change its mind; ten times longer after each refusal."""
CPU_SHARE = 0.005
CPU_BURST_NS = 2_000_000_000
"""Reading maps may take CPU_SHARE of one CPU, of which the burst is saved up: twenty VMs at the agent's start."""
UNUSED_NS = 120_000_000_000
MAX_WANTED = 256
MAX_KNOWN = 4096
_NEVER = 1 << 62

ImageKey = tuple[int, int]


class Answer(NamedTuple):
    """What came of a request: a map, or why not. `took_ns` of time and `cpu_ns` of the thread."""

    key: ImageKey
    map: PerfMap | None
    refused: Refused | None
    took_ns: int
    cpu_ns: int


@dataclass(slots=True)
class _Jvm:
    """What is known of one VM. Times are CLOCK_MONOTONIC."""

    process: Process
    map: PerfMap | None = None
    before: PerfMap | None = None
    """The map before that: it knows code that was thrown away since, and may have been sampled."""
    fetched_ns: int = 0
    wanted: U64 = field(default_factory=lambda: np.empty(0, np.uint64))
    """Addresses that had no name when it was asked."""
    interval_ns: int = SOONEST_NS
    due_ns: int = 0
    used_ns: int = 0
    asked: bool = False
    waiting: bool = False
    refusals: int = 0


class JvmMaps:
    """See the module's text. Not thread-safe: the pipeline's thread owns it. `limit_bytes` bounds the maps.

    `fetch` is for tests: as `fetch_perf_map`.
    """

    def __init__(self, limit_bytes: int, fetch: Callable[[int, float, bool], int] = fetch_perf_map) -> None:
        self._limit = limit_bytes
        self._fetch = fetch
        self._jvms: OrderedDict[ImageKey, _Jvm] = OrderedDict()
        self._seen: dict[int, tuple[Process, list[Mapping], bool]] = {}
        self._budget = Budget(CPU_SHARE * 1e9, CPU_BURST_NS)
        self._orders: queue.SimpleQueue[tuple[Process, bool] | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._off = False

    @property
    def nbytes(self) -> int:
        """Memory in use."""
        maps = (known for jvm in self._jvms.values() for known in (jvm.map, jvm.before) if known)
        return sum(known.nbytes for known in maps)

    @property
    def waiting(self) -> bool:
        """Whether an answer is still to come."""
        self._take_answers()
        return any(jvm.waiting for jvm in self._jvms.values())

    def is_jvm(self, process: Process) -> bool:
        """Whether the process has a Java VM in it; cheap when it is asked again."""
        known = self._seen.get(process.pid)
        if known is None or known[0] is not process or known[1] is not process.mappings:
            if len(self._seen) >= MAX_KNOWN:
                self._seen.clear()
            known = process, process.mappings, runtime_of(process) is FrameKind.JVM
            self._seen[process.pid] = known
        return known[2]

    def follow(self, process: Process, captures: Captures, window_end_ns: int) -> None:
        """Take note of the samples of a process, and if it is a Java VM ask it for names where that is due.

        `window_end_ns`: when the window of these samples will be closed, in CLOCK_MONOTONIC.
        """
        if self.is_jvm(process):
            near = window_end_ns - monotonic_ns() < NEAR_END_NS
            self.look(process, sampled_addrs(captures, process.pid), near)

    def look(self, process: Process, addrs: U64, near_end: bool = True) -> None:
        """As `follow`, of addresses in a Java VM."""
        self._take_answers()
        jvm = self._jvms.setdefault(_key(process), _Jvm(process))
        jvm.used_ns = now_ns = monotonic_ns()
        self._jvms.move_to_end(_key(process))
        if self._off or jvm.waiting or now_ns < jvm.due_ns or self._budget.wait_ns():
            return
        if jvm.asked and not near_end:
            return
        compiled = _in_compiled_code(process, addrs)
        unnamed = compiled if jvm.map is None else compiled[[not name for name in jvm.map.names(compiled)]]
        if len(unnamed) or (len(compiled) and now_ns - jvm.fetched_ns > STALE_NS):
            jvm.wanted = unnamed[:MAX_WANTED]
            self._ask(jvm)

    def maps_of(self, process: Process) -> list[PerfMap]:
        """The newest map of a process, and the one before."""
        self._take_answers()
        jvm = self._jvms.get(_key(process))
        return [known for known in (jvm.map, jvm.before) if known] if jvm else []

    def refuses(self, process: Process) -> bool:
        """Whether the VM was asked in vain, so that its compiled code has no names."""
        jvm = self._jvms.get(_key(process))
        return self._off or bool(jvm and jvm.refusals and jvm.map is None)

    def close(self) -> None:
        """End the thread, waiting a moment for what it is doing; safe to call twice."""
        if self._thread is not None:
            self._off = True
            self._orders.put(None)
            self._thread.join(1.0)
            self._thread = None

    def _ask(self, jvm: _Jvm) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="java names", daemon=True)
            self._thread.start()
        self._orders.put((jvm.process, jvm.asked))
        jvm.asked = jvm.waiting = True

    def _take_answers(self) -> None:
        while not self._answers.empty():
            answer = self._answers.get()
            self._budget.spend(answer.cpu_ns)
            jvm = self._jvms.get(answer.key)
            if jvm is not None:
                jvm.waiting = False
                self._note(jvm, answer)
                self._forget_unused()

    def _note(self, jvm: _Jvm, answer: Answer) -> None:
        now_ns = monotonic_ns()
        if answer.refused:
            self._refuse(jvm, answer.refused, now_ns)
        elif answer.map is not None:
            jvm.before, jvm.map, jvm.fetched_ns = jvm.map, answer.map, now_ns
            helped = any(answer.map.names(jvm.wanted)) if len(jvm.wanted) else False
            jvm.interval_ns = SOONEST_NS if helped else min(jvm.interval_ns * 2, LATEST_NS)
            jvm.due_ns = now_ns + max(jvm.interval_ns, answer.took_ns * REST_FOR_WORK)

    def _refuse(self, jvm: _Jvm, refused: Refused, now_ns: int) -> None:
        if refused.everywhere:
            self._off = True
            log.warning("Compiled Java code has no names: %s. Or set java_names = false.", refused)
        elif not jvm.refusals and not isinstance(refused, HasOwnMap):
            what = "No new names" if jvm.map else "No names"
            log.warning("%s of code compiled by Java process %d: %s.", what, jvm.process.pid, refused)
        again = refused.again and not (refused.signalled and jvm.refusals)
        jvm.due_ns = now_ns + REFUSED_NS * 10 ** min(jvm.refusals, 2) if again else _NEVER
        jvm.refusals += not isinstance(refused, HasOwnMap)

    def _forget_unused(self) -> None:
        """Drop VMs that are gone, and the maps used longest ago where they are too large together."""
        oldest_ns = monotonic_ns() - UNUSED_NS
        for key in [key for key, jvm in self._jvms.items() if jvm.used_ns < oldest_ns and not jvm.waiting]:
            if not os.path.exists(f"/proc/{key[0]}"):
                del self._jvms[key]
        with_map = [jvm for jvm in self._jvms.values() if jvm.map]
        for jvm in with_map:
            if self.nbytes > self._limit:
                jvm.before = None
        for jvm in with_map[:-1]:
            if self.nbytes > self._limit:
                jvm.map = None

    def _run(self) -> None:
        while order := self._orders.get():
            process, asked = order
            try:
                self._answers.put(self._answer(process, asked))
            except StuckAsOther as error:
                refused = Refused(f"the agent cannot become itself again ({error})", everywhere=True)
                self._answers.put(Answer(_key(process), None, refused, 0, 0))
                return

    def _answer(self, process: Process, asked: bool) -> Answer:
        began_ns, began_cpu_ns = monotonic_ns(), time.thread_time_ns()
        since_s = time.time() - (began_ns - process.start_ns) / 1e9
        read, refused = None, None
        try:
            fd = self._fetch(process.pid, since_s, asked)
            try:
                read = PerfMap()
                read.update(fd)
            finally:
                os.close(fd)
        except Refused as error:
            refused = error
        except OSError as error:
            refused = Refused(f"its map cannot be read ({error})", again=True)
        took_ns, cpu_ns = monotonic_ns() - began_ns, time.thread_time_ns() - began_cpu_ns
        return Answer(_key(process), None if refused else read, refused, took_ns, cpu_ns)


def sampled_addrs(captures: Captures, pid: int) -> U64:
    """The user addresses in the samples of a process, return addresses moved back into the call."""
    stacks = take_stacks(captures.user, np.flatnonzero(captures.pid == pid))
    inside = np.ones(len(stacks.addrs), np.uint64)
    inside[stacks.starts[:-1][stacks.starts[:-1] < stacks.starts[1:]]] = 0
    return stacks.addrs - inside


def _key(process: Process) -> ImageKey:
    return process.pid, process.start_ns


def _in_compiled_code(process: Process, addrs: U64) -> U64:
    """Those of the addresses that lie in memory that is no file, each once."""
    made = [m for m in process.mappings if not is_file(m) and not m.path.startswith("[")]
    starts = np.array([m.start_addr for m in made], np.uint64)
    ends = np.array([m.end_addr for m in made], np.uint64)
    wanted = np.unique(addrs)
    at = np.searchsorted(starts, wanted, side="right").astype(np.int64) - 1
    inside = at >= 0
    inside[inside] = wanted[inside] < ends[at[inside]]
    return wanted[inside]
