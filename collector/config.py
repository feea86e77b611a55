"""The collector's configuration: one table for flags, environment, file and documentation."""

from dataclasses import dataclass
from pathlib import Path

from collector.keeping.disk_guard import Reserve
from collector.store.retention import Retention
from collector.tokens.allowance import Allowance
from collector.tokens.guard import OFF, TOKENS
from fleetprof.setting_kinds import (
    BOOL,
    BYTES,
    DURATION,
    FLOAT,
    INT,
    LIST,
    LISTEN,
    OPTIONAL_LISTEN,
    OPTIONAL_PATH,
    PATH,
    STR,
    Address,
)
from fleetprof.settings import Setting
from fleetprof.tls import TlsFiles

DEFAULT_FILE = Path("/etc/fleetprof/collector.toml")
LOG_LEVELS = ("debug", "info", "warning", "error")

TABLE = (
    Setting("grpc", LISTEN, "127.0.0.1:4040", "Where agents push to."),
    Setting("tls_certificate", OPTIONAL_PATH, "", "The collector's certificate; turns TLS on."),
    Setting("tls_key", OPTIONAL_PATH, "", "Private key of tls_certificate."),
    Setting(
        "tls_client_ca", OPTIONAL_PATH, "",
        "Certificate of the authority that signs agents' certificates; only agents with one are taken then.",
    ),
    Setting(
        "auth", STR, OFF,
        "Who may call: anyone who can connect, or who has a token (fleetprof-collector token).",
        choices=(OFF, TOKENS),
    ),
    Setting(
        "token_rows_per_minute", INT, "60000000", "Most sample rows that one token may push a minute.",
        minimum=1, maximum=10**12,
    ),
    Setting(
        "token_volume_per_minute", BYTES, "4 GiB", "Most bytes that one token may push a minute.",
        minimum=1 << 20, maximum=1 << 50,
    ),
    Setting(
        "token_series_per_hour", INT, "1000000", "Most distinct series that one token may push an hour.",
        minimum=1, maximum=10**12,
    ),
    Setting(
        "token_stacks_per_hour", INT, "10000000", "Most distinct stacks that one token may push an hour.",
        minimum=1, maximum=10**12,
    ),
    Setting(
        "metrics_listen", OPTIONAL_LISTEN, "", "Where to serve /metrics for Prometheus, such as 0.0.0.0:9405."
    ),
    Setting("data", PATH, "data", "Folder of the embedded store, and of all else that the collector keeps."),
    Setting(
        "store", STR, "",
        "A ClickHouse to keep profiles in, rather than the embedded one: "
        "clickhouse://user@host:9000/database?password_file=FILE&secure=1&ca=FILE.",
    ),
    Setting(
        "standby", BOOL, "false",
        "Where another collector writes to the ClickHouse: wait and take over when it is gone.",
    ),
    Setting(
        "store_memory", BYTES, "2 GiB", "Most memory of the embedded store, or of one query to a ClickHouse.",
        minimum=256 << 20, maximum=1 << 40,
    ),
    Setting("store_threads", INT, "2", "CPUs that one query may use.", minimum=1, maximum=1024),
    Setting(
        "retention_samples_days", INT, "7", "Days for which samples are kept, windows of 10 s.",
        minimum=1, maximum=3650,
    ),
    Setting(
        "retention_rollups_days", INT, "90", "Days for which sums by hour are kept, and which windows there were.",
        minimum=1, maximum=3650,
    ),
    Setting(
        "retention_minutes_days", INT, "0",
        "Days for which the sums by minute are kept (values over time, releases); 0: as long as those by hour.",
        minimum=0, maximum=3650,
    ),
    Setting(
        "retention_traces_days", INT, "0", "Days for which traces are kept; 0: as long as samples.",
        minimum=0, maximum=3650,
    ),
    Setting(
        "disk_free", BYTES, "1 GiB",
        "What stays free on the disk of the embedded store: below, the oldest days are dropped; below half of it "
        "no windows are taken.",
        minimum=0, maximum=1 << 50,
    ),
    Setting(
        "disk_free_percent", FLOAT, "2", "The same in percent of the disk; the larger of both counts.",
        minimum=0, maximum=90,
    ),
    Setting(
        "debuginfo_size", BYTES, "10 GiB",
        "Most disk for debug files (fleetprof-collector debuginfo); the least recently used gives way. 0: none.",
        minimum=0, maximum=1 << 50,
    ),
    Setting(
        "debuginfo_memory", BYTES, "1 GiB", "Most memory for reading one debug file.",
        minimum=256 << 20, maximum=1 << 40,
    ),
    Setting(
        "debuginfo_from_agents", BOOL, "true",
        "Ask agents for debug files of the programs that they sample, each build of one agent only.",
    ),
    Setting(
        "debuginfod_urls", LIST, "",
        "Servers to ask for debug files of programs without symbols, such as https://debuginfod.debian.net.",
    ),
    Setting(
        "message_limit", BYTES, "16 MiB", "Largest request taken.", minimum=1 << 20, maximum=1 << 30,
    ),
    Setting("alert_rules", OPTIONAL_PATH, "", "File of alert rules, or folder of *.toml files."),
    Setting(
        "alert_interval", DURATION, "1m", "Time between two evaluations of the alert rules.",
        minimum=1, maximum=3600,
    ),
    Setting("ui_url", STR, "", "URL at which people reach the web UI: for links in alerts, and through a proxy."),
    Setting("log_level", STR, "info", "How much is said on standard error.", choices=LOG_LEVELS),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class CollectorConfig:
    """The configuration in force; each field is described in TABLE."""

    grpc: Address
    tls_certificate: Path | None
    tls_key: Path | None
    tls_client_ca: Path | None
    auth: str
    token_rows_per_minute: int
    token_volume_per_minute_bytes: int
    token_series_per_hour: int
    token_stacks_per_hour: int
    metrics_listen: Address | None
    data: Path
    store: str
    standby: bool
    store_memory_bytes: int
    store_threads: int
    retention_samples_days: int
    retention_rollups_days: int
    retention_minutes_days: int
    retention_traces_days: int
    disk_free_bytes: int
    disk_free_percent: float
    debuginfo_size_bytes: int
    debuginfo_memory_bytes: int
    debuginfo_from_agents: bool
    debuginfod_urls: tuple[str, ...]
    message_limit_bytes: int
    alert_rules: Path | None
    alert_interval_s: float
    ui_url: str
    log_level: str

    def tls(self) -> TlsFiles:
        """The TLS files; `on` is false without any."""
        return TlsFiles(self.tls_client_ca, self.tls_certificate, self.tls_key)

    def retention(self) -> Retention:
        """How long rows are kept."""
        return Retention(
            self.retention_samples_days,
            self.retention_rollups_days,
            self.retention_minutes_days,
            self.retention_traces_days,
        )

    def reserve(self) -> Reserve:
        """What stays free on the embedded store's disk."""
        return Reserve(self.disk_free_bytes, self.disk_free_percent)

    def allowance(self) -> Allowance:
        """What each token may push."""
        return Allowance(
            self.token_rows_per_minute,
            self.token_volume_per_minute_bytes,
            self.token_series_per_hour,
            self.token_stacks_per_hour,
        )
