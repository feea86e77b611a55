"""The collector's configuration: one table for flags, environment, file and documentation."""

from dataclasses import dataclass
from pathlib import Path

from fleetprof.setting_kinds import BYTES, INT, LISTEN, PATH, STR, Address
from fleetprof.settings import Setting

DEFAULT_FILE = Path("/etc/fleetprof/collector.toml")
LOG_LEVELS = ("debug", "info", "warning", "error")

TABLE = (
    Setting("grpc", LISTEN, "127.0.0.1:4040", "Where agents push to."),
    Setting("data", PATH, "data", "Folder of the embedded store."),
    Setting(
        "store_memory", BYTES, "2 GiB", "Most memory of the embedded store.",
        minimum=256 << 20, maximum=1 << 40,
    ),
    Setting("store_threads", INT, "2", "CPUs that one query may use.", minimum=1, maximum=1024),
    Setting(
        "retention_samples_days", INT, "7", "Days for which samples are kept, windows of 10 s.",
        minimum=1, maximum=3650,
    ),
    Setting(
        "retention_rollups_days", INT, "90", "Days for which the sums by minute and hour are kept.",
        minimum=1, maximum=3650,
    ),
    Setting(
        "message_limit", BYTES, "64 MiB", "Largest request taken.", minimum=1 << 20, maximum=1 << 30,
    ),
    Setting("log_level", STR, "info", "How much is said on standard error.", choices=LOG_LEVELS),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class CollectorConfig:
    """The configuration in force; each field is described in TABLE."""

    grpc: Address
    data: Path
    store_memory_bytes: int
    store_threads: int
    retention_samples_days: int
    retention_rollups_days: int
    message_limit_bytes: int
    log_level: str
