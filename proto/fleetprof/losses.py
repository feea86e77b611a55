"""Every reason for which fleetprof can lose something, in one closed list shared by agent and collector.

A loss is always counted under one of these, stored with its window, and shown beside the data it is missing
from: a missing sample is never taken for zero.
"""

from collections import Counter
from enum import IntEnum


class DropReason(IntEnum):
    """The numbers are those of fleetprof.v1.DropReason."""

    RING_FULL = 1
    STACK_TRUNCATED = 2
    STACK_UNREADABLE = 3
    SWITCH_MISSED = 4
    THREAD_STATE = 5
    PERF_LOST = 6
    PROCESS_GONE = 7
    OBJECT_UNREADABLE = 8
    SYMBOL_LIMIT = 9
    PROCESS_LIMIT = 10
    QUEUE_FULL = 11
    REJECTED = 12
    WINDOW_MISSED = 13
    SPOOL_DAMAGED = 14
    STACK_BROKEN_OFF = 15
    UNWIND_NEW = 16
    UNWIND_MEMORY = 17
    PYTHON_UNREADABLE = 18
    RUNTIME_NAMES = 19
    MALFORMED = 20
    TOO_LARGE = 21
    TOO_OLD = 22
    IN_FUTURE = 23
    PROTOCOL_VERSION = 24
    SERIES_LIMIT = 25
    STACK_LIMIT = 26
    STORE_FAILED = 27
    DEBUG_FILE = 28

    @property
    def label(self) -> str:
        """The lower-case name that the store, metrics and people use."""
        return self.name.lower()

    @property
    def explanation(self) -> str:
        """One sentence for people: what is missing and why."""
        return _EXPLANATIONS[self]


_EXPLANATIONS = {
    DropReason.RING_FULL: "Samples lost because the kernel's ring buffer was full.",
    DropReason.STACK_TRUNCATED: "Stacks kept without their outermost frames because they were too deep.",
    DropReason.STACK_UNREADABLE: "Samples kept without a stack because the kernel could not read it.",
    DropReason.SWITCH_MISSED: "Context switches that no tracer saw; their time was restored from the "
    "kernel's own counters.",
    DropReason.THREAD_STATE: "Threads not followed because the kernel had no memory for their state.",
    DropReason.PERF_LOST: "Process or sample records lost because a perf buffer was full.",
    DropReason.PROCESS_GONE: "Samples whose process ended before its mappings could be read.",
    DropReason.OBJECT_UNREADABLE: "Samples without function names because their file could not be read.",
    DropReason.SYMBOL_LIMIT: "Samples without function names because the symbol memory limit was reached.",
    DropReason.PROCESS_LIMIT: "Processes not followed because the limit on tracked processes was reached.",
    DropReason.QUEUE_FULL: "Windows dropped by the agent because the collector was away for too long.",
    DropReason.REJECTED: "Windows that the collector refused for good.",
    DropReason.WINDOW_MISSED: "Windows that the agent could not close in time.",
    DropReason.SPOOL_DAMAGED: "Windows that waited on the agent's disk and could not be read back.",
    DropReason.STACK_BROKEN_OFF: "Stacks kept without their outermost frames because code on them has neither "
    "unwind tables nor frame pointers.",
    DropReason.UNWIND_NEW: "Stacks walked along frame pointers only because their process was too new to have "
    "its unwind tables loaded.",
    DropReason.UNWIND_MEMORY: "Stacks kept without their outermost frames because the memory for unwind tables "
    "was used up.",
    DropReason.PYTHON_UNREADABLE: "Python functions without a name because their process's memory held none, or "
    "could not be read just then.",
    DropReason.RUNTIME_NAMES: "Compiled functions without a name because their process's Java VM did not tell it.",
    DropReason.MALFORMED: "Requests or parts of them that could not be understood.",
    DropReason.TOO_LARGE: "Requests larger than the collector's limit.",
    DropReason.TOO_OLD: "Windows older than the store keeps.",
    DropReason.IN_FUTURE: "Windows from the future: the sender's clock is ahead.",
    DropReason.PROTOCOL_VERSION: "Requests in a protocol version that this collector does not speak.",
    DropReason.SERIES_LIMIT: "Windows with more series than the collector allows.",
    DropReason.STACK_LIMIT: "Windows with more stacks than the collector allows.",
    DropReason.STORE_FAILED: "Windows that the store could not take.",
    DropReason.DEBUG_FILE: "Debug files that the collector wanted and the agent could not send: changed, gone, "
    "too large or refused. Frames may lack names, no samples are missing.",
}

Losses = Counter[DropReason]
"""How much was lost, by reason."""
