"""A host as a question about hosts is answered: what runs there, what it costs, and what is wrong."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fleetprof.hooks import BPF_RUN_TIME

CELLS = 24
"""Hours for which completeness is told one by one."""

BAD, WARNING, NOTE = 3, 2, 1
"""Severities: no data arrives; data is missing or wrong; worth knowing."""
SEVERITY_NAMES = {BAD: "bad", WARNING: "warning", NOTE: "note"}


@dataclass(frozen=True, slots=True)
class Problem:
    """One sentence, and how bad it is."""

    severity: int
    text: str


@dataclass(frozen=True, slots=True)
class HookOff:
    """A program of the agent that does not run on the host, or a hook that the host does not offer."""

    name: str
    reason: str
    is_program: bool


@dataclass(frozen=True, slots=True)
class ServiceUse:
    """A service on a host, in one version, and the CPUs it used on average."""

    service: str
    version: str
    cores: float


@dataclass(frozen=True, slots=True)
class Agent:
    """What an agent said of itself and its host. Empty and 0 for an agent that never registered."""

    agent_id: str = ""
    refused_because: str = ""
    version: str = ""
    kernel: str = ""
    architecture: str = ""
    cpus: int = 0
    memory_bytes: int = 0
    backend: str = ""
    hooks_off: tuple[HookOff, ...] = ()
    started_at_s: int = 0
    seen_at_s: int = 0
    """When it registered or sent a heartbeat last; 0 for never."""
    clock_skew_s: float = 0.0
    """Its clock minus the collector's."""
    queue_windows: int = 0
    rss_bytes: int = 0
    map_bytes: int = 0

    @property
    def measures_bpf(self) -> bool:
        """Whether its cost holds that of its BPF programs (also where there are none)."""
        return self.backend == "perf" or all(hook.name != BPF_RUN_TIME for hook in self.hooks_off)


@dataclass(frozen=True, slots=True)
class Reported:
    """What a host's windows say."""

    last_window_s: int = 0
    """End of the newest window; 0 for none."""
    cpus: int = 0
    covered_s: float = 0.0
    """Seconds of the range that windows cover."""
    used_s: float = 0.0
    """Of them those of the last hour of the range, over which services are told."""
    cost_share: float | None = None
    """0..1 of the host's CPU time that profiling it took in the range; None without windows."""
    rss_bytes: int = 0
    map_bytes: int = 0
    exact: bool = True
    completeness: tuple[float | None, ...] = (None,) * CELLS
    """By hour, the last one holding the range's end: the share of time that arrived; None: not expected."""
    agent_ids: tuple[str, ...] = ()
    same_agent_as: tuple[str, ...] = ()
    """Other hosts whose windows carry the same agent id."""


@dataclass(frozen=True, slots=True)
class HostRow:
    """One host."""

    host: str
    agent: Agent
    reported: Reported
    services: tuple[ServiceUse, ...] = ()
    """The busiest first; over the last hour of the range."""
    utilisation: float | None = None
    """0..1: CPU time in use of all there was in the last hour of the range; None without data."""
    captures: int = 0
    """Captured CPU samples in the range; of a longer one than an hour, as many an hour as in the last."""
    losses: Mapping[str, int] = field(default_factory=dict)
    """DropReason label → count in the range."""
    last_seen_s: int = 0
    silent: bool = False
    problems: tuple[Problem, ...] = ()
    """What is wrong, worst first."""

    @property
    def cores(self) -> float:
        """CPUs in use on average."""
        return sum(use.cores for use in self.services)

    @property
    def cpus(self) -> int:
        """CPUs of the host."""
        return self.reported.cpus or self.agent.cpus
