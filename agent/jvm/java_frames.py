"""Lets the kernel walk through the Java frames of the processes that are sampled (bpf/hotspot.h)."""

import posixpath
from dataclasses import dataclass, field

from agent.jvm.code_heaps import CodeHeaps, find_code_heaps, process_value
from agent.libbpf import BpfError, remove_key, set_value
from agent.mapped_files import MappedFiles
from agent.process import Mapping, Process
from agent.symbolize.elf import ElfError, FileBytes
from agent.symbolize.exports import bias_of
from agent.symbolize.object_cache import FileKey, file_key
from agent.unwind.kernel_tables import MAX_JAVA_PROCESSES

MAX_FILES = 256
LIBRARY = "libjvm.so"


@dataclass(slots=True)
class JavaFrames:
    """Not thread-safe: the pipeline's thread owns it. `processes_fd` is the map hotspot_processes."""

    processes_fd: int
    files: MappedFiles
    _found: dict[FileKey, CodeHeaps | None] = field(default_factory=dict)
    _followed: dict[int, Process] = field(default_factory=dict)

    def follow(self, process: Process) -> None:
        """Let stacks of a process be walked through its Java code, if it has any; cheap when nothing changed."""
        if self._followed.get(process.pid) is process:
            return
        found = self._virtual_machine(process)
        if found is None or len(self._followed) >= MAX_JAVA_PROCESSES:
            self.forget(process.pid)
            return
        try:
            set_value(self.processes_fd, process.pid, process_value(*found))
        except BpfError:
            return
        self._followed[process.pid] = process

    def forget(self, pid: int) -> None:
        """Forget a process that is gone, or has become another program."""
        if self._followed.pop(pid, None) is not None:
            remove_key(self.processes_fd, pid)

    def _virtual_machine(self, process: Process) -> tuple[CodeHeaps, int] | None:
        """What the process's libjvm.so tells, and what to add to addresses in its file."""
        for mapping in process.mappings:
            if not mapping.inode or posixpath.basename(mapping.path) != LIBRARY:
                continue
            found = self._in_file(mapping)
            bias = bias_of(found.code, mapping.start_addr, mapping.file_offset) if found else None
            if found is not None and bias is not None:
                return found, bias
        return None

    def _in_file(self, mapping: Mapping) -> CodeHeaps | None:
        fd = self.files.fd(mapping)
        if fd is None:
            return None
        try:
            key, source = file_key(fd), FileBytes(fd)
        except (ElfError, OSError):
            return None
        if key not in self._found:
            if len(self._found) >= MAX_FILES:
                self._found.clear()
            self._found[key] = find_code_heaps(source)
        return self._found[key]
