"""Finding and keeping the jitdumps of processes."""

from collections import OrderedDict
from contextlib import suppress

from agent.mapped_files import MappedFiles
from agent.process import Mapping, Process
from agent.process_budget import Budget
from agent.symbolize.jitdump import JitDump, is_jitdump
from agent.symbolize.reading_cost import ProcessBudgets, spending

MAX_DUMPS_EACH = 4
"""Of one process: a runtime has one."""


class JitDumps:
    """Dumps by file, the least recently used forgotten past `limit_bytes`. Believed is what a process maps: it can
    only mislead about itself."""

    def __init__(self, files: MappedFiles, limit_bytes: int) -> None:
        self._files = files
        self._limit = limit_bytes
        self._dumps: OrderedDict[tuple[int, int], JitDump] = OrderedDict()
        self._budgets = ProcessBudgets()

    @property
    def nbytes(self) -> int:
        """Memory in use."""
        return sum(dump.nbytes for dump in self._dumps.values())

    def get(self, process: Process) -> list[JitDump]:
        """The dumps of a process up to now, or as far as they were read while it lived."""
        marks = [mapping for mapping in process.mappings if is_jitdump(mapping)]
        if not marks:
            return []
        budget = self._budgets.of(process)
        return [self._read(mapping, budget) for mapping in marks[:MAX_DUMPS_EACH]]

    def _read(self, mapping: Mapping, budget: Budget) -> JitDump:
        key = (mapping.device, mapping.inode)
        dump = self._dumps.setdefault(key, JitDump())
        self._dumps.move_to_end(key)
        fd = self._files.fd(mapping)
        if fd is not None and not budget.wait_ns():
            with suppress(OSError), spending(budget):
                dump.update(fd)
        while len(self._dumps) > 1 and self.nbytes > self._limit:
            self._dumps.popitem(last=False)
        return dump
