"""The default backend: CO-RE objects loaded through libbpf, no compiler and no kernel headers on the host."""

from contextlib import ExitStack
from pathlib import Path

from agent.backends.cpu_sampler import CpuProgram, CpuSampler, CpuSettings, unwind_constants
from agent.backends.interface import BackendCost, BackendOptions, Closed, Drained, Unavailable
from agent.backends.run_time import RunTime
from agent.cpus import ONLINE_CPUS
from agent.libbpf import OBJECTS, BpfObject
from agent.samples import concat, empty
from agent.sched import SchedProgram
from agent.unwind.kernel_tables import KernelTables
from agent.unwind.program import load_samples
from fleetprof.errors import UnavailableError
from fleetprof.losses import Losses

MAP_BYTES_EVERY = 6
"""Calls of `cost`: maps keep their size but for a few entries, and asking takes 3 ms."""


class CoreBackend:
    """Samples every CPU with cpu.bpf.c and, where it can, follows waits with sched.bpf.c.

    The CPU program needs no BTF; without it only the scheduler program is missing. Raises UnavailableError
    where BPF or perf events cannot be used, InputError for an impossible frequency. `online` is the file that
    lists the online CPUs, `ring_bytes` the ring's size (chosen when 0).
    """

    name = "core"

    def __init__(self, options: BackendOptions, online: Path = ONLINE_CPUS, ring_bytes: int = 0) -> None:
        settings = CpuSettings.of(options, ring_bytes)
        self.period_ns = settings.period_ns
        self._sched: SchedProgram | None = None
        with ExitStack() as undo:
            self.unwind_tables: KernelTables | None = None
            self._object, missing = _load(settings, options)
            undo.enter_context(self._object)
            if "unwind_tables" in self._object.maps:
                self.unwind_tables = KernelTables(self._object, options.python != "off")
                undo.callback(self.unwind_tables.close)
            self.unavailable = missing + self._start_sched(options)
            if self._sched:
                undo.callback(self._sched.close)
            self._sampler = CpuSampler(_program(self._object), settings, options, online)
            undo.callback(self._sampler.close)
            self._costs = self._map_bytes = 0
            self._run_time = RunTime(self._run_time_ns)
            undo.callback(self._run_time.close)
            self._release = undo.pop_all()

    def _start_sched(self, options: BackendOptions) -> tuple[Unavailable, ...]:
        if not options.sched:
            return (Unavailable("sched", "turned off"),)
        missing: tuple[Unavailable, ...] = ()
        if self.unwind_tables:
            try:
                self._sched = SchedProgram(options, tables=self.unwind_tables)
                return ()
            except UnavailableError as error:
                why = f"stacks of waits follow frame pointers only: {error.message}"
                missing = (Unavailable("unwind waits", why),)
        try:
            self._sched = SchedProgram(options)
        except UnavailableError as error:
            return (Unavailable("sched", error.message),)
        return missing

    def _objects(self) -> list[BpfObject]:
        return [self._object] + ([self._sched.object] if self._sched else [])

    def _run_time_ns(self) -> int:
        return sum(part.run_time()[0] for part in self._objects())

    def drain(self) -> Drained:
        """CPU samples and wait stacks since the last drain."""
        self._run_time.tick()
        captures, losses = self._sampler.drain()
        if not self._sched:
            return Drained(captures, losses)
        waits = self._sched.drain()
        return Drained(concat([captures, waits.captures]), losses + waits.losses)

    def fill(self) -> float:
        """See Backend."""
        self._run_time.tick()
        names = self.unwind_tables.python if self.unwind_tables else None
        sched_fill = self._sched.fill() if self._sched else 0
        return max(self._sampler.fill(), sched_fill, names.fill if names else 0)

    def close_window(self) -> Closed:
        """Exact thread times where the scheduler program runs; CPUs that came or went are followed here."""
        self._sampler.follow_hotplug()
        return self._sched.close_window() if self._sched else Closed(None, empty(), Losses())

    def cost(self) -> BackendCost:
        """Run time of all programs (sampled, see run_time.py) and memory of all maps."""
        tables = self.unwind_tables.nbytes if self.unwind_tables else 0
        if self._costs % MAP_BYTES_EVERY == 0:
            self._map_bytes = sum(part.map_bytes() for part in self._objects())
        self._costs += 1
        return BackendCost(self._run_time.total_ns, self._map_bytes + tables)

    def close(self) -> None:
        """Detach and free everything; safe to call twice."""
        self._release.close()


def _load(settings: CpuSettings, options: BackendOptions) -> tuple[BpfObject, tuple[Unavailable, ...]]:
    """The program that unwinds where that is wanted and possible, else the plain one, and why."""
    constants: dict[str, int | bytes] = {
        "period_ns": settings.period_ns,
        "stack_bytes": settings.stack_bytes,
        "filter_pids": settings.filter_pids,
    }
    entries = {"captures": settings.ring_bytes, "only_pids": settings.pid_count}
    missing: tuple[Unavailable, ...] = ()
    if options.unwind != "off":
        try:
            return load_samples(constants | unwind_constants(options), entries), ()
        except UnavailableError as error:
            missing = (Unavailable("unwind", f"stacks follow frame pointers only: {error.message}"),)
    plain = BpfObject(OBJECTS / "cpu.bpf.o", constants=constants, map_entries=entries)
    return plain, missing


def _program(loaded: BpfObject) -> CpuProgram:
    return CpuProgram(
        loaded.program_fd("sample_cpu"),
        loaded.map_fd("captures"),
        loaded.map_fd("losses"),
        loaded.map_fd("only_pids"),
    )
