"""What a mapping of a process is: a file, memory of a JIT compiler, or something the kernel provides."""

import posixpath

from agent.process import Mapping, Process
from fleetprof.demangle import shorten
from fleetprof.frames import FrameKind

_OF_THE_KERNEL = ("[vdso]", "[vsyscall]")
_ANONYMOUS = ("//anon", "/dev/zero", "/SYSV", "/anon_hugepage")


def is_file(mapping: Mapping) -> bool:
    """Whether an ELF file may be behind it."""
    return mapping.path.startswith("/") and not mapping.path.startswith(_ANONYMOUS)


def is_memory_file(mapping: Mapping) -> bool:
    """Whether it is a memfd: an executable at times, but mostly memory of a JIT compiler."""
    return mapping.path.startswith("/memfd:")


def is_made_code(mapping: Mapping) -> bool:
    """Whether a program may write its code there while it runs."""
    return is_memory_file(mapping) or not (is_file(mapping) or mapping.path in _OF_THE_KERNEL)


def mapping_name(path: str) -> str:
    """The file's name without folder, as frames have it."""
    return shorten(posixpath.basename(path.removesuffix(" (deleted)"))) or "[unnamed]"


def runtime_of(process: Process) -> FrameKind:
    """The kind of code that the process's JIT compiler makes, JIT when not known."""
    names = {posixpath.basename(mapping.path) for mapping in process.mappings if is_file(mapping)}
    names.add(posixpath.basename(process.exe))
    if "libjvm.so" in names:
        return FrameKind.JVM
    if any(name in ("node", "nodejs") or name.startswith("libnode.so") for name in names):
        return FrameKind.NODE
    return FrameKind.JIT
