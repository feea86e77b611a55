"""What the collector knows of one agent: its registration, and its last heartbeat."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fleetprof.losses import DropReason


@dataclass(frozen=True, slots=True)
class HookState:
    """A hook of the kernel or a program of the agent; `reason` says why it is off, "" when it is not."""

    name: str
    reason: str
    is_program: bool


@dataclass(frozen=True, slots=True)
class SettingValue:
    """A setting in force, as TOML, and where it came from."""

    name: str
    value: str
    source: str


@dataclass(frozen=True, slots=True)
class Registration:
    """What an agent said of itself; texts and counts have been checked."""

    agent_id: str
    run_id: int
    host: str
    protocol_version: int
    registered_at_s: float
    agent_version: str = ""
    kernel: str = ""
    architecture: str = ""
    cpu_count: int = 0
    memory_bytes: int = 0
    backend: str = ""
    hooks: tuple[HookState, ...] = ()
    configuration: tuple[SettingValue, ...] = ()
    started_at_s: int = 0
    refused_because: str = ""
    """Empty for an agent that was accepted."""


@dataclass(frozen=True, slots=True)
class Beat:
    """A heartbeat. Cost and losses count from the agent's start; rss_bytes and map_bytes are as of then."""

    received_at_s: float
    clock_skew_ms: int = 0
    """The agent's clock minus the collector's, the way of the message included."""
    queue_windows: int = 0
    acknowledged_at_s: int = 0
    """Start of the newest window that was acknowledged; 0 for none."""
    windows_closed: int = 0
    windows_acknowledged: int = 0
    cpu_ns: int = 0
    bpf_ns: int = 0
    rss_bytes: int = 0
    map_bytes: int = 0
    losses: Mapping[DropReason, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AgentState:
    """An agent's latest state; `beat` is None before the first heartbeat."""

    registration: Registration
    beat: Beat | None = None

    @property
    def seen_at_s(self) -> float:
        """When it was heard last."""
        return max(self.registration.registered_at_s, self.beat.received_at_s if self.beat else 0)
