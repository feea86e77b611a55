"""The table of processes: who ran what when, so that a sample can be given its names after the process ended.

The kernel tells of every fork, exec, mapping and exit (agent/process_events.py). A process that execs is read
from /proc at once, and its files are opened; one that was there before is read when it is first asked for.
What this may cost is bounded: reads by a rate, images and open files by a limit, the rest is counted as lost.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable
from time import monotonic_ns, thread_time_ns

from agent.object_files import ObjectFiles, key_of
from agent.perf_records import (
    COMM_EXEC,
    Record,
    RecordType,
    comm_of,
    file_of,
    pid_of,
    task_of,
)
from agent.process import Process
from agent.process_budget import Budget
from agent.process_events import Batch, ProcessEvents
from agent.process_images import MAX_RAW_RECORDS, Image, Images, Origin, mapping_of
from agent.process_reader import PROC, ProcessReader, monotonic_of_ticks
from agent.process_snapshots import Snapshots
from fleetprof.losses import DropReason, Losses

READS_PER_S = 300
"""Processes read and files opened because of events, at some 100 us each: at most 3 % of one CPU."""
READ_BURST = 300
RETRY_NS = 5_000_000
STARVED_RETRY_NS = 20_000_000
MAX_CPU_SHARE = 0.1
CPU_BURST_NS = 200_000_000
"""Looks may take MAX_CPU_SHARE of one CPU, of which two seconds' worth is saved up; past it the table rests.
Rings may overflow then, which is counted, and mended by looking at /proc. A single look of many milliseconds
(a cold cache, a stolen CPU) is no reason to rest: short-lived processes would go unseen meanwhile."""
TICK_SLACK_NS = 20_000_000
"""Start times in /proc are rounded down to 10 ms."""
MAX_COPIES = 32

IDLE = Process(pid=0, namespace_pid=0, start_ns=0, comm="swapper", exe="", is_kernel=True)


class ProcessTable:
    """See the module's text. Not thread-safe: the pipeline's thread owns it.

    `limit`: process images kept. `environment_names`: variables to keep, prefixes where they end in `*`.
    `files`: where executables are kept open; closed together with the table. Raises PerfEventError where the
    kernel does not allow to follow processes.
    """

    def __init__(
        self,
        limit: int = 20_000,
        environment_names: Iterable[str] = (),
        files: ObjectFiles | None = None,
    ) -> None:
        self.files = files if files is not None else ObjectFiles()
        self.on_exec: Callable[[Process], None] = lambda process: None
        """Told of each process that was read after its exec, as soon as that is known."""
        self._events = ProcessEvents()
        self._handlers: dict[int, Callable[[Record], None]] = {
            RecordType.MMAP2: self._on_mapping,
            RecordType.FORK: self._on_fork,
            RecordType.EXIT: self._on_exit,
            RecordType.COMM: self._on_comm,
        }
        self._images = Images(limit)
        self._snapshots = Snapshots(environment_names, self.files)
        self._unread: deque[Image] = deque()
        self._unfinished: deque[Image] = deque()
        self._losses = Losses()
        self._budget = Budget(READS_PER_S, READ_BURST)
        self._cpu_ns = Budget(MAX_CPU_SHARE * 1e9, CPU_BURST_NS)
        self._seen_ns = monotonic_ns()
        self._files_seen: set[bytes] = set()
        self._lost_ns = 0
        """What happened before this time may be known in part only."""
        self._lost_since_expire = False

    def fds(self) -> list[int]:
        """Descriptors that are readable when `poll` has something to do."""
        return [self._events.fd]

    def __len__(self) -> int:
        """Images kept."""
        return len(self._images)

    @property
    def ring_bytes(self) -> int:
        """Kernel memory of the rings that the events arrive in."""
        return self._events.size_bytes

    def poll(self) -> bool:
        """Take in what happened since the last call, and look at new processes while they are alive.

        False when nothing was done because looks have cost too much lately.
        """
        rest_ns = self._cpu_ns.wait_ns()
        if rest_ns:
            self._events.wake_after(rest_ns)
            return False
        self._take_in()
        return True

    def _take_in(self) -> None:
        begin_cpu_ns = thread_time_ns()
        batch = self._events.read()
        self._note_losses(batch)
        self._files_seen.clear()
        for record in batch.records:
            handle = self._handlers.get(record.type)
            if handle is not None:
                handle(record)
        self._seen_ns = batch.until_ns
        self._read_new()
        self._cpu_ns.spend(thread_time_ns() - begin_cpu_ns)

    def find(self, pid: int, time_ns: int) -> Process | None:
        """The image that `pid` ran at a CLOCK_MONOTONIC time, the latest for time 0; None if not known.

        The same image is always the same object. A time since the last look makes another one, whatever it
        costs: an answer from old records would be wrong.
        """
        if pid == 0:
            return IDLE
        if self._seen_ns < time_ns <= monotonic_ns():
            self._take_in()
        image = self._images.at(pid, time_ns) or self._first_sight(pid, time_ns)
        return self._process_of(image) if image is not None else None

    def _process_of(self, image: Image) -> Process | None:
        image = self._checked(image)
        image.found = True
        is_read = image.complete or image.end_ns
        process = image.process if image.process is not None and is_read else self._resolve(image)
        if process is not None and process is image.process:
            if image.records:
                image.settle()
                self._snapshots.open_files(image)
            self._snapshots.add_build_id(process)
        return process

    def expire(self, now_ns: int) -> None:
        """Forget what ended more than 30 s before the CLOCK_MONOTONIC time `now_ns`. Call once a window."""
        if self._lost_since_expire:
            self._lost_since_expire = False
            self._images.end_missing((int(name) for name in os.listdir(PROC) if name.isdigit()), now_ns)
        self._images.expire(now_ns, _is_alive)
        self.files.expire(now_ns)
        self._events.follow_hotplug()

    def take_losses(self) -> Losses:
        """What was lost since the last call."""
        losses, self._losses = self._losses, Losses()
        return losses

    def close(self) -> None:
        """Stop following processes and close all files; safe to call twice."""
        self._events.close()
        self.files.close()

    def _note_losses(self, batch: Batch) -> None:
        if batch.lost:
            self._losses[DropReason.PERF_LOST] += batch.lost
        if batch.incomplete_until_ns > self._lost_ns:
            self._lost_ns = batch.incomplete_until_ns
            self._lost_since_expire = True

    def _on_exit(self, record: Record) -> None:
        task = task_of(record.data)
        image = self._images.current(task.pid) if task.pid == task.tid else None
        if image is not None:
            self._images.end(image, record.time_ns)

    def _on_fork(self, record: Record) -> None:
        task = task_of(record.data)
        if task.pid == task.parent_pid:
            return  # a thread
        parent = self._images.current(task.parent_pid)
        if parent is None or parent.end_ns:
            parent = Image(task.parent_pid, 0, Origin.SEEN)
            if not self._add(parent):
                return
            self._unread.append(parent)
        origin = parent.copied_from if _is_plain_copy(parent) else parent
        copies = origin.copies + 1 if origin else 0
        child = Image(
            task.pid,
            record.time_ns,
            Origin.FORKED if copies <= MAX_COPIES else Origin.SEEN,
            comm=parent.comm,
            parent_pid=task.parent_pid,
            copied_from=origin if copies <= MAX_COPIES else None,
            copies=copies,
        )
        self._add(child)

    def _on_comm(self, record: Record) -> None:
        comm = comm_of(record.data)
        before = self._images.current(comm.pid)
        if record.misc & COMM_EXEC:
            image = Image(comm.pid, record.time_ns, Origin.EXECED, comm=comm.name)
            if before is not None:
                image.parent_pid = before.parent_pid
                image.cgroup = _cgroup_of(before)
            if self._add(image):
                self._unread.append(image)
        elif before is not None and comm.pid == comm.tid:
            before.comm = comm.name
            if before.process is not None:
                before.process.comm = comm.name

    def _on_mapping(self, record: Record) -> None:
        data = record.data
        image = self._images.current(pid_of(data))
        if image is None:
            return  # older than the table; its first sight reads all mappings
        image.records.append(data)
        file = file_of(data)
        if file not in self._files_seen:
            self._files_seen.add(file)
            self._open(image, data)
        if len(image.records) >= MAX_RAW_RECORDS:
            image.settle()

    def _open(self, image: Image, data: bytes) -> None:
        """Open the file of a new mapping while its process lives, if that was not done before."""
        mapping = mapping_of(data)
        key = key_of(mapping)
        if key is not None and not self.files.knows(key) and self._budget.take():
            self.files.open(image.pid, image.parent_pid, mapping)

    def _add(self, image: Image) -> bool:
        if self._images.add(image):
            return True
        self._losses[DropReason.PROCESS_LIMIT] += 1
        return False

    def _read_new(self) -> None:
        """Look at images in the order they began, as far as the budget goes, and again at those that were in
        the middle of their exec. Those that ended meanwhile cost nothing: they are known from records alone.
        """
        due_ns = monotonic_ns() - RETRY_NS
        while self._unfinished and self._unfinished[0].checked_ns <= due_ns and self._budget.take():
            self._read(self._unfinished.popleft())
        while self._unread:
            if self._unread[0].end_ns:
                if self._budget.starved:
                    self._losses[DropReason.PROCESS_LIMIT] += 1
            elif not self._budget.take():
                break
            else:
                self._read(self._unread[0])
            self._unread.popleft()
        if self._unread or self._unfinished:
            self._events.wake_after(STARVED_RETRY_NS if self._budget.starved else RETRY_NS)

    def _read(self, image: Image) -> None:
        if image.end_ns:
            return
        if image.start_ns < self._lost_ns:
            self._mend(image)
            return
        image.checked_ns = monotonic_ns()
        if self._snapshots.read(image) and not image.complete:
            self._unfinished.append(image)
        if image.process is not None and image.origin is Origin.EXECED:
            self.on_exec(image.process)

    def _first_sight(self, pid: int, time_ns: int) -> Image | None:
        """Read a process that no event told of; None when it is gone or was not the one at `time_ns`."""
        if self._images.current(pid) is not None:
            return None  # the pid's older owner is forgotten
        image = Image(pid, 0, Origin.SEEN, checked_ns=monotonic_ns())
        if not self._snapshots.read(image):
            self._lose(image)
        if not self._add(image):
            return None
        return image if image.gone or image.start_ns <= time_ns + TICK_SLACK_NS or not time_ns else None

    def _lose(self, image: Image) -> None:
        image.gone = True
        image.end_ns = image.end_ns or monotonic_ns()
        self._losses[DropReason.PROCESS_GONE] += 1

    def _resolve(self, image: Image) -> Process | None:
        """Make the process of an image that is asked for the first time.

        In the middle of an exec there is no telling yet who that will be: until its end, the image before
        answers, and nothing is lost.
        """
        if image.gone:
            return None
        if not image.end_ns and image.origin is not Origin.FORKED:
            alive = self._snapshots.read(image)
            if alive and not image.complete:
                before = self._images.before(image)
                return self._process_of(before) if before is not None else None
        if image.process is None and image.origin is Origin.EXECED:
            self._snapshots.from_records(image)
        if image.process is None and image.copied_from is not None:
            parent = self._resolve_parent(image.copied_from)
            if parent is not None:
                self._snapshots.inherit(image, parent)
        if image.process is None and image.origin is Origin.FORKED and not image.end_ns:
            self._snapshots.read(image)
        if image.process is None:
            self._lose(image)
            return None
        image.copied_from = None
        image.settle()
        self._snapshots.open_files(image)
        return image.process

    def _resolve_parent(self, parent: Image) -> Process | None:
        parent = self._checked(parent)
        process = parent.process if parent.process is not None else self._resolve(parent)
        if process is not None and parent.records:
            parent.settle()
        return process

    def _checked(self, image: Image) -> Image:
        """The image itself unless records about it may be lost; then what /proc says it is now."""
        if image.end_ns or max(image.start_ns, image.checked_ns) >= self._lost_ns or not self._budget.take():
            return image
        return self._mend(image)

    def _mend(self, image: Image) -> Image:
        """Compare a live image with /proc: it may have mapped more, have ended, or be another one by now."""
        now_ns = image.checked_ns = monotonic_ns()
        fresh = Image(image.pid, 0, Origin.SEEN, checked_ns=now_ns)
        if not self._snapshots.read(fresh) or fresh.process is None:
            self._images.end(image, now_ns)
            return image
        if not _is_same(image, fresh):
            fresh.start_ns = fresh.process.start_ns = max(fresh.start_ns, self._lost_ns)
            return fresh if self._add(fresh) else image
        image.mappings = fresh.mappings
        image.records.clear()
        image.complete = True
        if image.process is None:
            image.start_ns = image.start_ns or fresh.start_ns
            image.process = fresh.process
            image.process.start_ns, image.process.mappings = image.start_ns, image.mappings
        image.settle()
        return image


def _is_same(image: Image, fresh: Image) -> bool:
    """Whether an image is still what its pid runs: the process did not begin after it, nor change program."""
    if image.start_ns and fresh.start_ns > image.start_ns + TICK_SLACK_NS:
        return False
    before, now = image.process, fresh.process
    return before is None or now is None or before.exe == now.exe


def _is_plain_copy(image: Image) -> bool:
    """Whether a forked image added nothing to what it was copied from, so that its children may skip it."""
    return (
        image.copied_from is not None and image.process is None and not image.records and not image.mappings
    )


def _cgroup_of(before: Image) -> str:
    """The cgroup of the process before an exec, as far as it was read."""
    for image in (before, before.copied_from):
        if image is not None and image.process is not None:
            return image.process.cgroup
    return before.cgroup


def _is_alive(image: Image) -> bool:
    """Whether the process of an ended image still has threads."""
    try:
        with ProcessReader(image.pid) as reader:
            stat = reader.stat()
    except (OSError, ValueError):
        return False
    return stat.threads > 0 and monotonic_of_ticks(stat.start_ticks) <= image.start_ns
