"""The vDSO: an ELF image that the kernel maps into every process and that has no file."""

import os

from agent.process import Mapping, Process
from agent.samples import U64
from agent.symbolize.elf import MemoryBytes
from agent.symbolize.load_object import load_object
from agent.symbolize.object_symbols import ObjectSymbols
from fleetprof.frames import Frame
from fleetprof.losses import Losses

MAPPING = "[vdso]"
MAX_VDSO_BYTES = 64 << 10
MAX_IMAGES = 64
_SYMBOLS_LIMIT_BYTES = 1 << 20


class VdsoFrames:
    """Frames in the vDSO. All 64-bit processes have the agent's own image; others (32-bit) are read from the
    process, and kept for that process only: it may have written to its copy."""

    def __init__(self) -> None:
        self._images: dict[tuple[int, int], tuple[MemoryBytes, ObjectSymbols]] = {}

    def frames(self, process: Process, mapping: Mapping, offsets: U64, losses: Losses) -> list[Frame]:
        """One frame per offset in the image; losses are counted in `losses`."""
        size = mapping.end_addr - mapping.start_addr
        own = _own_start(size) if mapping.start_addr >> 32 else 0
        key = (0, size) if own else (process.pid, process.start_ns)
        if key not in self._images:
            pid, start = ("self", own) if own else (str(process.pid), mapping.start_addr)
            image = _read_memory(pid, start, size)
            while len(self._images) >= MAX_IMAGES:
                del self._images[next(iter(self._images))]
            self._images[key] = image, load_object(image, "", (), _SYMBOLS_LIMIT_BYTES)
        image, symbols = self._images[key]
        if symbols.loss:
            losses[symbols.loss] += len(offsets)
        return symbols.frames(image, offsets, MAPPING)


def _own_start(size: int) -> int:
    """Where the agent's own vDSO starts when it has that size, else 0."""
    try:
        with open("/proc/self/maps", "rb") as maps:
            line = next((line for line in maps if line.endswith(b"[vdso]\n")), b"")
    except OSError:
        return 0
    start, _, end = line.partition(b" ")[0].partition(b"-")
    return int(start, 16) if line and int(end, 16) - int(start, 16) == size else 0


def own_image(size: int) -> bytes | None:
    """The agent's own vDSO when it has that size."""
    start = _own_start(size)
    image = _read_memory("self", start, size) if start else MemoryBytes(b"")
    return image.read(0, size) if image.size == size else None


def _read_memory(pid: str, start: int, size: int) -> MemoryBytes:
    """Memory of a process, empty when it cannot be read."""
    if not 0 < size <= MAX_VDSO_BYTES or start >= 1 << 63:
        return MemoryBytes(b"")
    try:
        fd = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return MemoryBytes(b"")
    try:
        return MemoryBytes(os.pread(fd, size, start))
    except OSError:
        return MemoryBytes(b"")
    finally:
        os.close(fd)
