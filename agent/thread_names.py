"""Names of threads, for samples that do not carry one: from COMM records, else from /proc."""

from agent.perf_records import Record, RecordType, comm_of, task_of, thread_of
from agent.process_reader import PROC

LIMIT = 65_536
"""Threads remembered, about 150 bytes each; the longest known go first."""


class ThreadNames:
    """Feed it records in the order of their times; `of` then answers for that moment."""

    def __init__(self) -> None:
        self._names: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self._names)

    def of(self, sample: bytes) -> bytes:
        """The name of the thread in a SAMPLE record, at most 16 bytes; empty when it ended unknown."""
        pid, tid = thread_of(sample)
        name = self._names.get(tid)
        if name is None:
            name = _read(pid, tid)
            self._remember(tid, name)
        return name

    def apply(self, record: Record) -> None:
        """Take in a COMM, FORK or EXIT record; others are ignored."""
        if record.type == RecordType.COMM:
            comm = comm_of(record.data)
            self._remember(comm.tid, comm.name.encode("utf-8", "surrogateescape")[:16])
        elif record.type == RecordType.FORK:
            task = task_of(record.data)
            name = self._names.get(task.parent_tid)
            if name is None:
                self._names.pop(task.tid, None)  # of an earlier thread with this number
            else:
                self._remember(task.tid, name)
        elif record.type == RecordType.EXIT:
            self._names.pop(task_of(record.data).tid, None)

    def _remember(self, tid: int, name: bytes) -> None:
        if len(self._names) >= LIMIT and tid not in self._names:
            del self._names[next(iter(self._names))]
        self._names[tid] = name


def _read(pid: int, tid: int) -> bytes:
    try:
        with open(f"{PROC}/{pid}/task/{tid}/comm", "rb") as file:
            return file.read(64).rstrip(b"\n")[:16]
    except OSError:
        return b""
