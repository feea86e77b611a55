"""Kernel addresses to frames: kallsyms kept current, and honest when the kernel hides its addresses."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

from agent.samples import U64
from agent.symbolize.build_id import kernel_build_id
from agent.symbolize.kallsyms import KernelSymbols
from fleetprof.frames import Frame, FrameKind

REREAD_SECONDS = 60.0
LONGEST_REREAD_SECONDS = 16 * 60.0
"""Reading kallsyms costs 0.1 s of CPU, and code of short-lived BPF programs may be unknown for good: where another
look gives no name, the next one comes after twice the time."""
_KERNEL = "[kernel]"
_HIDDEN = (
    "The kernel hides the addresses of its functions (kernel.kptr_restrict, or no CAP_SYSLOG), so kernel "
    "frames have no names. To see them: sysctl kernel.kptr_restrict=0, and run the agent as root."
)

log = logging.getLogger("fleetprof.symbolize")


class KernelFrames:
    """Frames of kernel addresses. `notice` says why there are no names, "" when there are."""

    def __init__(
        self,
        kallsyms: Path = Path("/proc/kallsyms"),
        notes: Path = Path("/sys/kernel/notes"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = kallsyms
        self._notes = notes
        self._clock = clock
        self._symbols: KernelSymbols | None = None
        self._read_at = 0.0
        self._reread_s = REREAD_SECONDS
        self._build_id = ""
        self.notice = ""

    @property
    def nbytes(self) -> int:
        """Memory in use."""
        return self._symbols.nbytes if self._symbols else 0

    def frames(self, addrs: U64) -> list[Frame]:
        """One frame per address, in order. Functions of modules have `[module]` as mapping."""
        names = self._read().names(addrs)
        if not all(name for name, _ in names) and self._clock() - self._read_at >= self._reread_s:
            names = self._read_again(addrs, names)
        frames = []
        for addr, (name, module) in zip(addrs.tolist(), names, strict=True):
            mapping = f"[{module}]" if module else _KERNEL
            frames.append(Frame(FrameKind.KERNEL, name, mapping) if name else self._unknown(addr))
        return frames

    def _read_again(self, addrs: U64, before: list[tuple[str, str]]) -> list[tuple[str, str]]:
        self._symbols = None
        names = self._read().names(addrs)
        in_vain = names == before
        self._reread_s = min(2 * self._reread_s, LONGEST_REREAD_SECONDS) if in_vain else REREAD_SECONDS
        return names

    def _unknown(self, addr: int) -> Frame:
        """By distance from the kernel's start (the same after every boot), else by the address itself."""
        assert self._symbols is not None
        if len(self._symbols) and addr >= int(self._symbols.starts[0]):
            addr -= int(self._symbols.starts[0])
        return Frame(FrameKind.KERNEL, "", _KERNEL, self._build_id, addr)

    def _read(self) -> KernelSymbols:
        if self._symbols is None:
            self._symbols = KernelSymbols.read(self._path)
            self._build_id = kernel_build_id(self._notes)
            self._read_at = self._clock()
            notice = "" if len(self._symbols) else _HIDDEN
            if notice and notice != self.notice:
                log.warning(notice)
            self.notice = notice
        return self._symbols
