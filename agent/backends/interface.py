"""What every way of sampling offers, so that the pipeline does not know which one runs."""

from dataclasses import dataclass, field
from typing import Protocol

from agent.samples import Captures, ThreadTimes
from agent.unwind.kernel_tables import KernelTables
from fleetprof.losses import Losses


@dataclass(frozen=True, slots=True)
class BackendOptions:
    """What the configuration asks of a backend."""

    frequency_hz: int = 99
    sched: bool = True
    """Follow threads while they wait; where it cannot run the backend goes without and says so."""
    wait_stacks_per_second: int = 25
    """Upper bound of captured wait stacks for each CPU."""
    max_depth: int = 127
    unwind: str = "off"
    """"auto": unwind user stacks by tables where the kernel allows it; somebody must fill them (Unwinder)."""
    python: str = "auto"
    """"auto": Python functions in place of the interpreter's frames, where stacks are unwound."""
    only_pids: tuple[int, ...] = ()
    """Keep only samples of these processes (all when empty)."""


@dataclass(frozen=True, slots=True)
class Drained:
    """What came out of the kernel since the last drain."""

    captures: Captures
    losses: Losses


@dataclass(frozen=True, slots=True)
class Closed:
    """The end of a window: exact thread times since the last close (None without the scheduler program).

    `open_waits` are the waits still going on, as OFFCPU and RUNQ rows with `time_ns` 0, the kernel stack of
    the waiting thread, the part inside this window as value, and no user stack (out of reach until the thread
    runs); and, with their time, stacks of waits that ended after the last drain.
    """

    threads: ThreadTimes | None
    open_waits: Captures
    losses: Losses


@dataclass(frozen=True, slots=True)
class BackendCost:
    """What the backend's kernel side costs, cumulative since start. Zero where the kernel does not tell."""

    bpf_ns: int
    map_bytes: int


@dataclass(frozen=True, slots=True)
class Unavailable:
    """A program that this host does not offer, and why, for `doctor` and the log."""

    program: str
    why: str


def not_unwound(options: BackendOptions) -> tuple[Unavailable, ...]:
    """What a backend that cannot unwind lacks of what was asked for."""
    if options.unwind == "off":
        return ()
    return (Unavailable("unwind", "stacks follow frame pointers only: backend core alone unwinds"),)


class Backend(Protocol):
    """One way of sampling this host. Built attached and running; `close` detaches everything."""

    name: str
    period_ns: int
    """Nanoseconds between two samples of one CPU."""
    unavailable: tuple[Unavailable, ...]
    unwind_tables: KernelTables | None
    """Where unwind tables go, for who fills them (agent/unwind/unwinder.py); None where nothing is unwound."""

    def drain(self) -> Drained:
        """Take what the kernel has gathered. Called about once a second; must not block."""
        ...

    def fill(self) -> float:
        """How full the fullest ring is, 0 to 1: whether a drain can wait. Called once a second; cheap."""
        ...

    def close_window(self) -> Closed:
        """Read exact thread times up to now; called once at each window's end, after a drain."""
        ...

    def cost(self) -> BackendCost:
        """The kernel-side cost so far."""
        ...

    def close(self) -> None:
        """Detach all programs and free all maps."""
        ...


@dataclass(frozen=True, slots=True)
class Probe:
    """Whether a backend can run here; `why_not` is empty when it can."""

    backend: str
    why_not: str = ""
    hooks: dict[str, str] = field(default_factory=dict)
    """Hook or feature → "ok" or why it is missing, for `doctor`."""
