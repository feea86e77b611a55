"""Lets the kernel walk through the Java frames of the processes that are sampled (bpf/hotspot.h)."""

import posixpath

from agent.file_finds import FileFinds
from agent.jvm.code_heaps import CodeHeaps, find_code_heaps, process_value
from agent.libbpf import BpfError, remove_key, set_value
from agent.mapped_files import MappedFiles
from agent.process import Process
from agent.symbolize.exports import bias_of
from agent.unwind.kernel_tables import MAX_JAVA_PROCESSES

MAX_FILES = 256
LIBRARY = "libjvm.so"


class JavaFrames:
    """Not thread-safe: the pipeline's thread owns it. `processes_fd` is the map hotspot_processes."""

    def __init__(self, processes_fd: int, files: MappedFiles) -> None:
        self._processes_fd = processes_fd
        self._heaps = FileFinds(files, find_code_heaps, MAX_FILES)
        self._followed: dict[int, Process] = {}

    def follow(self, process: Process) -> None:
        """Let stacks of a process be walked through its Java code, if it has any; cheap when nothing changed."""
        if self._followed.get(process.pid) is process:
            return
        found = self._virtual_machine(process)
        if found is None or len(self._followed) >= MAX_JAVA_PROCESSES:
            self.forget(process.pid)
            return
        try:
            set_value(self._processes_fd, process.pid, process_value(*found))
        except BpfError:
            return
        self._followed[process.pid] = process

    def forget(self, pid: int) -> None:
        """Forget a process that is gone, or has become another program."""
        if self._followed.pop(pid, None) is not None:
            remove_key(self._processes_fd, pid)

    def _virtual_machine(self, process: Process) -> tuple[CodeHeaps, int] | None:
        """What the process's libjvm.so tells, and what to add to addresses in its file."""
        for mapping in process.mappings:
            if not mapping.inode or posixpath.basename(mapping.path) != LIBRARY:
                continue
            found = self._heaps.of(mapping)
            bias = bias_of(found.code, mapping.start_addr, mapping.file_offset) if found else None
            if found is not None and bias is not None:
                return found, bias
        return None
