"""The parts of a collector's debug information, put together from its configuration."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry

from collector.config import CollectorConfig
from collector.debuginfo.debuginfod import Debuginfod
from collector.debuginfo.files import FOLDER, DebugFiles
from collector.debuginfo.intake import Intake
from collector.debuginfo.metrics import DebugInfoMetrics
from collector.debuginfo.namer import Namer
from collector.debuginfo.naming import Naming
from collector.debuginfo.offer_service import DebugOfferService
from collector.debuginfo.offers import Offers
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
    """Keeps debug files and names frames with them, until `stop`."""

    def __init__(
        self,
        config: CollectorConfig,
        store: Store,
        metrics: CollectorRegistry,
        pay: Callable[[int], None] | None = None,
    ) -> None:
        """`pay` takes what agents send, in bytes, from the limits of their token.

        Raises UnavailableError, InputError.
        """
        files, self._workers = open_files(config), open_workers(config)
        files.sweep()
        naming, intake = Naming(store, files, self._workers), Intake(files, self._workers)
        upstream = Debuginfod(config.debuginfod_urls, intake) if config.debuginfod_urls else None
        self._namer = Namer(naming, files, upstream)
        self.service = DebugInfoService(files, intake, self._namer.wake)
        namer = self._namer
        self._offers = Offers(intake, namer.nameless, namer.wake, config.debuginfo_from_agents)
        self.offer_service = DebugOfferService(self._offers, pay or (lambda _: None))
        metrics.register(DebugInfoMetrics(files, naming, self._offers))

    def stop(self) -> None:
        """End what runs; what is not named yet is named at the next start."""
        self._workers.close()
        self._namer.stop()
        self._offers.close()
