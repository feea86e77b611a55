"""CPU sampling with a loaded cpu program, whoever compiled it: its clock, its ring and its loss counter."""

from dataclasses import dataclass
from pathlib import Path

from agent.backends.cpu_clock import CpuClock, period_of
from agent.backends.interface import BackendOptions
from agent.cpus import ONLINE_CPUS, online_cpus
from agent.libbpf import add_keys, array_values
from agent.ring import CaptureRing
from agent.samples import Captures
from fleetprof.losses import DropReason, Losses

MAX_DEPTH = 127
"""FP_MAX_DEPTH of bpf/capture.h."""
MAX_USER_DEPTH = 512
"""FP_MAX_USER_DEPTH of bpf/capture.h: of a user stack that was unwound by tables."""
_MAX_STACK = Path("/proc/sys/kernel/perf_event_max_stack")
_RING_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class CpuSettings:
    """What cpu.bpf.c is loaded with: its constants and the sizes of its maps."""

    period_ns: int
    stack_bytes: int
    filter_pids: int
    ring_bytes: int
    pid_count: int

    @classmethod
    def of(cls, options: BackendOptions, ring_bytes: int = 0) -> "CpuSettings":
        """As `options` want it; a ring of `ring_bytes`, a power of two, or of the default size when 0."""
        deep = options.unwind != "off"
        return cls(
            period_ns=period_of(options.frequency_hz),
            stack_bytes=8 * depth_limit(options.max_depth),
            filter_pids=int(bool(options.only_pids)),
            ring_bytes=ring_bytes or default_ring_bytes(len(online_cpus()), options.frequency_hz, deep),
            pid_count=max(1, len(options.only_pids)),
        )


def depth_limit(asked: int) -> int:
    """Frames of one stack: what was asked for, within the record and the kernel's own limit."""
    kernel = int(_MAX_STACK.read_text()) if _MAX_STACK.exists() else MAX_DEPTH
    return max(1, min(asked, MAX_DEPTH, kernel))


def unwind_constants(options: BackendOptions) -> dict[str, int | bytes]:
    """What programs that unwind are loaded with; the kernel's own limit on depth is for its walk, not for ours."""
    depth = MAX_USER_DEPTH if options.max_depth >= MAX_DEPTH else options.max_depth
    return {"unwind_depth": depth, "python_frames": int(options.python != "off")}


def default_ring_bytes(cpus: int, frequency_hz: int, deep: bool = False) -> int:
    """Size of the ring for CPU samples, a power of two between 256 KiB and 64 MiB.

    256 KiB for each CPU at 99 Hz: over a second of stacks as deep as can be (2,096 bytes each with the ring's
    header), 8 s of usual ones (300 bytes); it is drained once a second, or every two while it stays nearly empty.
    Four times that with `deep`, stacks that are unwound: an agent without CPU time for 15 s then loses nothing.
    """
    wanted = cpus * _RING_BYTES * (4 if deep else 1) * frequency_hz // 99
    return 1 << (min(max(wanted, 1 << 18), 1 << 26) - 1).bit_length()


@dataclass(frozen=True, slots=True)
class CpuProgram:
    """Descriptors of a loaded cpu program and its maps; they belong to whoever loaded it."""

    program_fd: int
    captures_fd: int
    losses_fd: int
    only_pids_fd: int


class CpuSampler:
    """Runs a cpu program on every online CPU (listed in the file `online`) until closed.

    Raises UnavailableError where perf events cannot be opened.
    """

    def __init__(
        self, program: CpuProgram, settings: CpuSettings, options: BackendOptions, online: Path = ONLINE_CPUS
    ) -> None:
        self._losses_fd = program.losses_fd
        self._lost = 0
        add_keys(program.only_pids_fd, options.only_pids)
        self._ring = CaptureRing(program.captures_fd, settings.ring_bytes)
        self._clock = CpuClock(program.program_fd, options.frequency_hz, online)

    @property
    def cpus(self) -> set[int]:
        """The CPUs that are sampled."""
        return self._clock.cpus

    def drain(self) -> tuple[Captures, Losses]:
        """The samples since the last drain, and what was lost."""
        captures, losses = self._ring.drain()
        (lost,) = array_values(self._losses_fd, 1)
        new, self._lost = lost - self._lost, lost
        return captures, losses + Losses({DropReason.RING_FULL: new})

    def fill(self) -> float:
        """The part of the ring that waits to be drained, 0 to 1."""
        return self._ring.fill

    def follow_hotplug(self) -> None:
        """Sample CPUs that came online, forget those that went."""
        self._clock.follow_hotplug()

    def close(self) -> None:
        """Stop sampling and unmap the ring; safe to call twice."""
        self._clock.close()
        self._ring.close()
