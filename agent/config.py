"""The agent's configuration: one table for flags, environment, file and documentation."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.backends.interface import BackendOptions
from agent.debug_offers.limits import OfferLimits
from agent.identify.identifier import HostIdentity
from agent.identify.rules import RULES, Rule
from agent.scope import HOST, SCOPES
from fleetprof.series import KNOWN_LABELS, LABEL_NAME
from fleetprof.setting_kinds import (
    ADDRESS,
    BOOL,
    BYTES,
    DURATION,
    FLOAT,
    INT,
    OPTIONAL_LISTEN,
    OPTIONAL_PATH,
    PAIRS,
    PATH,
    STR,
    Address,
    Kind,
    quote,
)
from fleetprof.settings import Setting
from fleetprof.tls import TlsFiles

DEFAULT_FILE = Path("/etc/fleetprof/agent.toml")
BACKENDS = ("auto", "core", "bcc", "perf")
LOG_LEVELS = ("debug", "info", "warning", "error")


def _free_labels(pairs: Mapping[str, str]) -> dict[str, str]:
    for name in pairs:
        if name in KNOWN_LABELS:
            raise ValueError(f"sets {quote(name)}, which is no free label")
        if not LABEL_NAME.match(name):
            raise ValueError(f"has {quote(name)}, which is no label name (letters, digits, _; at most 64)")
    return dict(pairs)


def _free_labels_from_text(text: str) -> dict[str, str]:
    return _free_labels(PAIRS.from_text(text) if PAIRS.from_text else {})


FREE_LABELS = Kind(
    'pairs name=value (in the file: labels = { team = "payments" })',
    _free_labels_from_text,
    lambda value: _free_labels(PAIRS.from_toml(value)),
    PAIRS.to_toml,
    metavar=PAIRS.metavar,
    repeats=True,
)

TABLE = (
    Setting("collector", ADDRESS, "127.0.0.1:4040", "The collector to push to."),
    Setting(
        "tls_ca", OPTIONAL_PATH, "", "Certificate of the authority that signed the collector's; turns TLS on."
    ),
    Setting("tls_certificate", OPTIONAL_PATH, "", "This agent's certificate, where the collector wants one."),
    Setting("tls_key", OPTIONAL_PATH, "", "Private key of tls_certificate."),
    Setting(
        "tls_server_name", STR, "", "Name in the collector's certificate, where it is not its address."
    ),
    Setting(
        "token", STR, "", "What shows the collector that this agent may push; better in a token_file.",
        secret=True,
    ),
    Setting(
        "token_file", OPTIONAL_PATH, "", "File that holds the token; read again when it changes."
    ),
    Setting(
        "backend", STR, "auto", "How to sample; auto takes the first that works here.", choices=BACKENDS
    ),
    Setting("frequency_hz", INT, "99", "CPU samples per second and CPU.", minimum=1, maximum=1000),
    Setting("sched", BOOL, "true", "Also follow threads while they wait."),
    Setting(
        "wait_stacks_per_second", INT, "25", "Most stacks of waits taken per second and CPU.",
        minimum=1, maximum=100_000,
    ),
    Setting(
        "unwind", STR, "auto", "Unwind user stacks by .eh_frame where that is possible; off: by frame pointers.",
        choices=("auto", "off"),
    ),
    Setting(
        "unwind_memory", BYTES, "40 MiB", "Kernel memory for unwind tables; the least used go first.",
        minimum=1 << 20, maximum=16 << 30,
    ),
    Setting(
        "python", STR, "auto", "Show Python functions in place of the interpreter's, where stacks are unwound.",
        choices=("auto", "off"),
    ),
    Setting(
        "java_names", BOOL, "true", "Ask running Java VMs (17 or newer) for the names of the code they compile."
    ),
    Setting(
        "source_lines", INT, "0",
        "Most places inside functions that are sent with each window, for CPU time by line of source; 0: none.",
        minimum=0, maximum=100_000,
    ),
    Setting(
        "offer_debug_files", STR, "auto",
        "Offer debug files of sampled programs to the collector, and send those it asks for: symbols, names of "
        "source files and lines, no code and no data.",
        choices=("auto", "off"),
    ),
    Setting(
        "debug_files_rate", BYTES, "64 KiB", "Most bytes of debug files sent a second.",
        minimum=16 << 10, maximum=1 << 30,
    ),
    Setting(
        "debug_file_limit", BYTES, "1 GiB", "Largest debug file that is sent.", minimum=1 << 20, maximum=4 << 30
    ),
    Setting(
        "scope", STR, HOST, "Which processes: all, or those in the agent's own network namespace.",
        choices=SCOPES,
    ),
    Setting("host", STR, "", "Name of this host in the profiles; empty: the machine's own name."),
    Setting("environment", STR, "", "Environment of processes that do not declare one, such as production."),
    Setting("region", STR, "", "Region of processes that do not declare one."),
    Setting("labels", FREE_LABELS, "", "Further labels for all that runs on this host."),
    Setting("rules", RULES, "", "Set labels of processes by pattern, over what was found."),
    Setting(
        "symbol_memory", BYTES, "32 MiB", "Memory for symbol tables; the least used go first.",
        minimum=1 << 20, maximum=16 << 30,
    ),
    Setting(
        "process_limit", INT, "8192", "Most processes followed at a time; samples of others count as lost.",
        minimum=16, maximum=4_194_304,
    ),
    Setting(
        "queue_windows", INT, "30", "Most windows of 10 s kept in memory while the collector is away.",
        minimum=1, maximum=8640,
    ),
    Setting(
        "spool_limit", BYTES, "256 MiB",
        "Most disk space for windows that wait for the collector, in state_dir; 0: none.",
        minimum=0, maximum=1 << 40,
    ),
    Setting(
        "spool_after", DURATION, "30s",
        "How long a window waits in memory for the collector before it goes to disk.",
        minimum=1, maximum=3600,
    ),
    Setting(
        "catch_up_rate", FLOAT, "2",
        "Most windows per second sent from disk once the collector is back; new ones go first.",
        minimum=0.01, maximum=1000,
    ),
    Setting(
        "metrics_listen", OPTIONAL_LISTEN, "", "Where to serve /metrics for Prometheus, such as 0.0.0.0:9404."
    ),
    Setting("state_dir", PATH, "/var/lib/fleetprof-agent", "Folder of the agent's id and of windows that wait."),
    Setting("log_level", STR, "info", "How much the agent says on standard error.", choices=LOG_LEVELS),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """The configuration in force; each field is described in TABLE."""

    collector: Address
    tls_ca: Path | None
    tls_certificate: Path | None
    tls_key: Path | None
    tls_server_name: str
    token: str
    token_file: Path | None
    backend: str
    frequency_hz: int
    sched: bool
    wait_stacks_per_second: int
    unwind: str
    unwind_memory_bytes: int
    python: str
    java_names: bool
    source_lines: int
    offer_debug_files: str
    debug_files_rate_bytes: int
    debug_file_limit_bytes: int
    scope: str
    host: str
    environment: str
    region: str
    labels: dict[str, str]
    rules: tuple[Rule, ...]
    symbol_memory_bytes: int
    process_limit: int
    queue_windows: int
    spool_limit_bytes: int
    spool_after_s: float
    catch_up_rate: float
    metrics_listen: Address | None
    state_dir: Path
    log_level: str

    def tls(self) -> TlsFiles:
        """The TLS files; `on` is false without any."""
        return TlsFiles(self.tls_ca, self.tls_certificate, self.tls_key)

    def offer_limits(self) -> OfferLimits:
        """How fast debug files are sent, and how large they may be."""
        return OfferLimits(self.debug_files_rate_bytes, self.debug_file_limit_bytes)

    def identity(self) -> HostIdentity:
        """What identity needs of it."""
        return HostIdentity(self.host, self.environment, self.region, self.labels, self.rules)

    def backend_options(self, **others: Any) -> BackendOptions:
        """What the backends need of it; `others` are fields that the configuration does not hold."""
        return BackendOptions(
            frequency_hz=self.frequency_hz,
            sched=self.sched,
            wait_stacks_per_second=self.wait_stacks_per_second,
            unwind=self.unwind,
            python=self.python,
            **others,
        )
