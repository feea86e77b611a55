"""The default backend: CO-RE objects loaded through libbpf, no compiler and no kernel headers on the host."""

from pathlib import Path

from agent.backends.cpu_clock import ONLINE_CPUS, CpuClock, online_cpus, period_of
from agent.backends.interface import BackendCost, BackendOptions, Closed, Drained, Unavailable
from agent.backends.run_time import RunTime
from agent.libbpf import OBJECTS, BpfObject
from agent.ring import CaptureRing
from agent.samples import concat, empty
from agent.sched import SchedProgram
from fleetprof.errors import UnavailableError
from fleetprof.losses import DropReason, Losses

MAX_DEPTH = 127
"""FP_MAX_DEPTH of bpf/capture.h."""
_MAX_STACK = Path("/proc/sys/kernel/perf_event_max_stack")
_RING_BYTES_A_SECOND = 256 * 1024
"""For each CPU at 99 Hz; one sample has 300 bytes as a rule and 2,096 at most."""


def depth_limit(asked: int) -> int:
    """Frames of one stack: what was asked for, within the record and the kernel's own limit."""
    kernel = int(_MAX_STACK.read_text()) if _MAX_STACK.exists() else MAX_DEPTH
    return max(1, min(asked, MAX_DEPTH, kernel))


def ring_bytes(cpus: int, frequency_hz: int) -> int:
    """Size of the ring for CPU samples, a power of two between 256 KiB and 64 MiB.

    It holds what half a second brings when all stacks are as deep as can be, some 4 s of usual ones.
    """
    wanted = cpus * _RING_BYTES_A_SECOND * frequency_hz // 99 // 2
    return 1 << (min(max(wanted, 1 << 18), 1 << 26) - 1).bit_length()


class CoreBackend:
    """Samples every CPU with cpu.bpf.c and, where it can, follows waits with sched.bpf.c.

    Raises UnavailableError where BPF or perf events cannot be used, InputError for an impossible frequency.
    `online` is the file that lists the online CPUs, `ring_size` the ring's size in bytes (chosen when 0).
    """

    name = "core"

    def __init__(self, options: BackendOptions, online: Path = ONLINE_CPUS, ring_size: int = 0) -> None:
        self.period_ns = period_of(options.frequency_hz)
        self._clock: CpuClock | None = None
        self._ring: CaptureRing | None = None
        self._sched: SchedProgram | None = None
        self._run_time: RunTime | None = None
        self._lost = 0
        size = ring_size or ring_bytes(len(online_cpus(online)), options.frequency_hz)
        self._object = _load(options, self.period_ns, size)
        try:
            self._object.add_keys("only_pids", options.only_pids)
            self._ring = CaptureRing(self._object.map_fd("captures"), size)
            self.unavailable = self._start_sched(options)
            self._clock = CpuClock(self._object.program_fd("sample_cpu"), options.frequency_hz, online)
            self._run_time = RunTime(self._run_time_ns)
        except BaseException:
            self.close()
            raise

    def _start_sched(self, options: BackendOptions) -> tuple[Unavailable, ...]:
        if not options.sched:
            return (Unavailable("sched", "turned off by the configuration"),)
        try:
            self._sched = SchedProgram(options)
        except UnavailableError as error:
            return (Unavailable("sched", error.message),)
        return ()

    def _objects(self) -> list[BpfObject]:
        return [self._object] + ([self._sched.object] if self._sched else [])

    def _run_time_ns(self) -> int:
        return sum(part.run_time()[0] for part in self._objects())

    def drain(self) -> Drained:
        """CPU samples and wait stacks since the last drain."""
        assert self._ring
        assert self._run_time
        self._run_time.tick()
        captures, losses = self._ring.drain()
        losses += self._new_losses()
        if not self._sched:
            return Drained(captures, losses)
        waits = self._sched.drain()
        return Drained(concat([captures, waits.captures]), losses + waits.losses)

    def _new_losses(self) -> Losses:
        (lost,) = self._object.counters("losses")
        new, self._lost = lost - self._lost, lost
        return +Losses({DropReason.RING_FULL: new})

    def close_window(self) -> Closed:
        """Exact thread times where the scheduler program runs; CPUs that came or went are followed here."""
        assert self._clock
        self._clock.follow_hotplug()
        return self._sched.close_window() if self._sched else Closed(None, empty(), Losses())

    def cost(self) -> BackendCost:
        """Run time of all programs (sampled, see run_time.py) and memory of all maps."""
        assert self._run_time
        return BackendCost(self._run_time.total_ns, sum(part.map_bytes() for part in self._objects()))

    def close(self) -> None:
        """Detach and free everything; safe to call twice."""
        for part in (self._run_time, self._clock, self._sched, self._ring):
            if part:
                part.close()
        self._run_time = self._clock = self._sched = self._ring = None
        self._object.close()


def _load(options: BackendOptions, period_ns: int, size: int) -> BpfObject:
    return BpfObject(
        OBJECTS / "cpu.bpf.o",
        constants={
            "period_ns": period_ns,
            "stack_bytes": 8 * depth_limit(options.max_depth),
            "filter_pids": int(bool(options.only_pids)),
        },
        map_entries={"captures": size, "only_pids": max(1, len(options.only_pids))},
    )
