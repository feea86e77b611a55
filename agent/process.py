"""A process as the agent knows it: what identity and symbols need, read while the process was alive."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Mapping:
    """One executable mapping of a process. `path` is as seen inside the process's own mount namespace."""

    start_addr: int
    end_addr: int
    file_offset: int
    path: str
    """A file path, "[vdso]", "//anon", "" (anonymous, JIT), or "…(deleted)"."""
    device: int = 0
    inode: int = 0


@dataclass(slots=True)
class Process:
    """A snapshot of one process image (one exec); a later exec of the same pid is another Process."""

    pid: int
    """In the initial pid namespace."""
    namespace_pid: int
    """As the process itself knows it (perf maps are named by it)."""
    start_ns: int
    """CLOCK_MONOTONIC time from which this image counts."""
    comm: str
    exe: str
    """Path of the executable inside its mount namespace, "" for a kernel thread or when unreadable."""
    exe_build_id: str = ""
    """Lower-case hex of the executable's GNU build id (Go's build id hashed where that is all there is)."""
    command_line: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    """Only the variables that identity reads (agent/identify), never the whole environment."""
    cgroup: str = ""
    """Text of /proc/PID/cgroup."""
    is_kernel: bool = False
    mappings: list[Mapping] = field(default_factory=list)
    """Sorted by start_addr, not overlapping. Replaced by another list, never changed in place, when the
    process maps more: `process.mappings is seen` tells that nothing changed."""
    parent_pid: int = 0
    """When the image began; 0 when not known."""
