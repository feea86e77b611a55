"""Python processes and names as the BPF program sees them: the maps of bpf/cpython.h."""

import struct

from agent.cpython.find import Interpreter
from agent.libbpf import BpfError, BpfObject, remove_key, set_value
from agent.ring import RingBuffer

MAX_PROCESSES = 4096
NAMES_RING_BYTES = 512 << 10
MAP_ENTRIES = {"python_processes": MAX_PROCESSES, "python_names": NAMES_RING_BYTES}
"""Sizes that the object is loaded with."""
SHARED = ("python_processes", "python_names", "python_sent")
"""The maps that all programs that unwind look into."""

PROCESS = struct.Struct("<3Q15I4B2I")
"""struct fp_python: see `process_value`."""
NAME = struct.Struct("<QIiII")
"""struct fp_python_name up to its texts: word, pid, line, bytes of the file's str object, of the function's."""


def process_value(found: Interpreter, bias: int, seed: int) -> bytes:
    """struct fp_python for a process that has the file's addresses at `bias`; `seed` is in no other's."""
    layout, text = found.layout, found.layout.text
    addrs = (
        found.runtime_vaddr + layout.interpreters_head + bias,
        found.loop.vaddr + bias,
        found.loop.vaddr + found.loop.size + bias,
    )
    return PROCESS.pack(
        *(addr % (1 << 64) for addr in addrs),
        layout.groups,
        layout.interpreter_next,
        layout.interpreter_threads,
        layout.thread_next,
        layout.thread_id,
        layout.thread_frame,
        layout.thread_cframe,
        layout.cframe_frame,
        layout.cframe_previous,
        layout.frame_code,
        layout.frame_previous,
        layout.frame_owner,
        layout.code_names,
        layout.code_line,
        2 if layout.has_qualname else 1,
        text.length,
        text.state,
        text.ascii_data,
        text.wide_data,
        text.kind_shift,
        seed,
    )


class KernelPython:
    """The maps of a loaded cpu_unwind.bpf.o. They are the object's: free it, and they are gone."""

    def __init__(self, loaded: BpfObject) -> None:
        self._processes_fd = loaded.map_fd("python_processes")
        self._names = RingBuffer(loaded.map_fd("python_names"), NAMES_RING_BYTES)
        self.processes: set[int] = set()
        """Ids of the processes that are known to the kernel."""

    def set_process(self, pid: int, value: bytes) -> bool:
        """Look for Python frames in a process; False when there are too many."""
        if pid not in self.processes and len(self.processes) >= MAX_PROCESSES:
            return False
        try:
            set_value(self._processes_fd, pid, value)
        except BpfError:
            return False
        self.processes.add(pid)
        return True

    def remove_process(self, pid: int) -> None:
        """Look for them no more."""
        if pid in self.processes:
            remove_key(self._processes_fd, pid)
            self.processes.discard(pid)

    def take_names(self) -> list[bytes]:
        """Names that came since the last call."""
        return self._names.read()

    @property
    def fill(self) -> float:
        """How full the ring of names is, 0 to 1."""
        return self._names.fill

    def close(self) -> None:
        """Unmap the memory; the maps go with their object. Safe to call twice."""
        self._names.close()
