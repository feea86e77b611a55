"""The parts of a collector's debug information, put together from its configuration."""

from prometheus_client import CollectorRegistry

from collector.config import CollectorConfig
from collector.debuginfo.files import FOLDER, DebugFiles
from collector.debuginfo.intake import Intake
from collector.debuginfo.metrics import DebugInfoMetrics
from collector.debuginfo.service import DebugInfoService
from collector.debuginfo.workers import WorkerLimits, Workers
from collector.store.interface import Store


def open_files(config: CollectorConfig) -> DebugFiles:
    """The debug files of the data folder; raises UnavailableError."""
    return DebugFiles(config.data / FOLDER, config.debuginfo_size_bytes, config.disk_free_bytes)


def open_workers(config: CollectorConfig) -> Workers:
    """What reads them."""
    return Workers(WorkerLimits(config.debuginfo_memory_bytes))


class DebugInfo:
    """Keeps debug files until `stop`."""

    def __init__(self, config: CollectorConfig, store: Store, metrics: CollectorRegistry) -> None:
        """Raises UnavailableError."""
        files, self._workers = open_files(config), open_workers(config)
        files.sweep()
        self.service = DebugInfoService(files, Intake(files, self._workers))
        metrics.register(DebugInfoMetrics(files))

    def stop(self) -> None:
        """End what runs."""
        self._workers.close()
