"""The collector as one thing that starts and stops: store, pipeline, server, agents, metrics, alerts."""

import logging
import threading
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from collector.agents.keeper import AgentKeeper, seen_before
from collector.agents.registry import AgentRegistry
from collector.agents.service import AgentService
from collector.alerts.database import wanted
from collector.changed_settings import reread
from collector.config import CollectorConfig
from collector.debuginfo.assemble import DebugInfo
from collector.exposure import push_exposure
from collector.ingest.committer import Committer
from collector.ingest.journal import JOURNAL, Journal
from collector.ingest.known import KnownDefinitions
from collector.ingest.left_journal import set_aside
from collector.ingest.limits import Limits
from collector.ingest.loss_ledger import LossLedger
from collector.keeping.backup_pieces import BackupPieces
from collector.keeping.control import ControlServer
from collector.keeping.disk_guard import DiskGuard, DiskStatus
from collector.keeping.disk_metrics import DiskMetrics
from collector.keeping.half_restored import refuse_half_restored
from collector.metrics import MetricsServer, PartsMetrics, PushMetrics, process_metrics
from collector.pipeline import Pipeline, nothing
from collector.receivers.http import HttpReceivers
from collector.receivers.receivers import Receivers
from collector.server import Running, serve
from collector.server_tls import ServerCertificates
from collector.store.chdb import ChdbStore
from collector.store.folder_lock import FolderLock, collector_id
from collector.store.interface import Store
from collector.store.migrate import migrate
from collector.store.open import open_store
from collector.store.retention import RetentionJob
from collector.store.snapshot import drop_snapshot
from collector.tokens.gate import Gate
from collector.tokens.guard import TOKENS, Guard
from collector.tokens.local_admin import LocalAdmin
from fleetprof.errors import FleetprofError, UnavailableError

if TYPE_CHECKING:
    from collector.alerts.service import AlertService

log = logging.getLogger("fleetprof.collector")


class Collector:
    """Opens the store at once, so that it can be asked; takes windows between `start` and `stop`."""

    def __init__(
        self, config: CollectorConfig, ui_url: str = "", stopping: threading.Event | None = None
    ) -> None:
        """Open the store and bring it to this program's schema; raises UnavailableError, InputError.

        `ui_url`: where links in alerts lead, unless the configuration says it. `stopping` ends the wait of a
        standby for the store.
        """
        refuse_half_restored(config.data)
        self.config = config
        self.certificates = ServerCertificates(config.tls()) if config.tls().on else None
        self._folder = FolderLock(config.data, config.standby, stopping) if config.store else None
        self.store = self._open_store()
        self.ledger = LossLedger()
        self._limits = Limits(config.message_limit_bytes, oldest_s=config.retention_samples_days * 86400)
        self.metrics = CollectorRegistry()
        """What /metrics shows of this collector."""
        self.alerts: AlertService | None = None
        """None where there are no alert rules: then alerting costs nothing."""
        self.guard: Guard | None = None
        """None where anyone who can connect may call."""
        self._local_admin = LocalAdmin(config.data)
        self._keeper: AgentKeeper | None = None
        self._metrics_server: MetricsServer | None = None
        self._committer: Committer | None = None
        self._receivers: Receivers | None = None
        self._server: Running | None = None
        self._retention: RetentionJob | None = None
        self._disk: DiskGuard | None = None
        self._debuginfo: DebugInfo | None = None
        self._control: ControlServer | None = None
        try:
            aside = lambda: set_aside(config.data / JOURNAL)  # noqa: E731
            self.store.own(collector_id(config.data), config.standby, stopping, aside)
            for name in migrate(self.store):
                log.info("Applied migration %s.", name)
            self.alerts = self._alerts(ui_url)
            if config.auth == TOKENS:
                self.guard = Guard(config.data, config.allowance())
        except FleetprofError:
            self._close_store()
            raise

    @property
    def grpc_port(self) -> int:
        """The port that agents push to; 0 before `start`."""
        return self._server.port if self._server else 0

    @property
    def local_port(self) -> int:
        """The port for an agent of this machine: without TLS, on the loopback address."""
        return (self._server.local_port or self._server.port) if self._server else 0

    @property
    def http_receivers(self) -> HttpReceivers | None:
        """Answers other profilers' and tracers' pushes over HTTP; None before `start`."""
        return self._receivers.http if self._receivers else None

    @property
    def gate(self) -> Gate | None:
        """Judges the tokens of calls; None where anyone may call."""
        return self.guard.gate if self.guard else None

    @property
    def disk(self) -> DiskStatus | None:
        """How full the embedded store's disk is; None before `start`, and where a server keeps the profiles."""
        return self._disk.status if self._disk else None

    @property
    def alive(self) -> bool:
        """False once the collector cannot store what it takes, or judge alerts, and should be ended."""
        judging = self.alerts is None or self.alerts.alive
        return self._committer is not None and self._committer.alive and judging and self.store.owned

    def start(self, local: bool = False) -> None:
        """Finish what a crash interrupted and listen; raises UnavailableError, with all parts stopped again.

        `local`: where agents need TLS, listen also for an agent of this machine (see `local_port`).
        """
        try:
            self._start_parts(local)
        except FleetprofError:
            self._stop_parts(5.0)
            raise
        config = self.config
        if warning := push_exposure(
            config.grpc.host, config.tls().on, config.tls_client_ca is not None, self.guard is not None
        ):
            log.warning("%s", warning)

    def _start_parts(self, local: bool) -> None:
        """In the order in which they need each other; each is kept at once, so that it can be stopped."""
        config, limits, guard = self.config, self._limits, self.guard
        known = KnownDefinitions(self.store)
        registry = AgentRegistry(seen_before(self.store))
        self._disk = self._disk_guard()
        self._committer = Committer(
            self.store,
            self._journal(),
            known,
            self.ledger,
            limits=limits,
            refusal=lambda: self._disk.refusal if self._disk else "",
        )
        pipeline = Pipeline(
            known,
            self._committer,
            self.ledger,
            limits,
            heard=registry.window,
            account=guard.account if guard else nothing,
        )
        self._debuginfo = DebugInfo(config, self.store, self.metrics, guard.pay if guard else None)
        self._receivers = Receivers(pipeline.unheard().push, self.store, self.ledger, limits)
        self._metrics_server = self._serve_metrics(registry)
        self._server = serve(
            pipeline,
            config.grpc,
            limits,
            AgentService(registry, self.ledger),
            PushMetrics(self.metrics),
            self.certificates,
            local and self.certificates is not None,
            self._receivers.grpc,
            guard.interceptors() if guard else (self._local_admin,),
            self._debuginfo.service,
            self._debuginfo.offer_service,
        )
        self._keeper = AgentKeeper(self.store, registry)
        self._retention = RetentionJob(self.store, config.retention().days())
        drop_snapshot(self.store)  # of a backup that was under way when its collector was killed
        self._control = ControlServer(config.data, self._hold)
        if self.alerts:
            self.alerts.start()

    def _hold(self, have: Collection[str]) -> BackupPieces:
        """What a backup of now is made of, where an earlier one has `have`."""
        assert self._committer
        return self._committer.at_rest(lambda: BackupPieces(self.store, self.config.data, have))

    def _serve_metrics(self, registry: AgentRegistry) -> MetricsServer | None:
        assert self._committer
        source = PartsMetrics(self._committer, self.ledger, registry, self.certificates, self.guard)
        self.metrics.register(source)
        if self._disk:
            self.metrics.register(DiskMetrics(self._disk))
        process_metrics(self.metrics)
        if not self.config.metrics_listen:
            return None
        server = MetricsServer(self.config.metrics_listen, self.metrics)
        address = self.config.metrics_listen._replace(port=server.port)
        log.info("Serving metrics on http://%s/metrics.", address)
        return server

    def flush(self) -> bool:
        """Roll up all that is stored, and wait for it; false when the store did not take it."""
        return self._committer is not None and self._committer.flush()

    def reload(self, read: Callable[[], CollectorConfig]) -> None:
        """Take into use what can change while running: how long rows are kept, and the alert rules.

        `read` gives the configuration as it is written now.
        """
        self.config = reread(self.config, read)
        retention = self.config.retention()
        self._limits.oldest_s = retention.samples * 86400
        if self._retention:
            self._retention.change(retention.days())
        if self._disk:
            self._disk.change(self.config.reserve())
        if self.alerts:
            self.alerts.keep(retention.hours * 86400)
            self.alerts.reload()

    def stop(self, grace_s: float = 10.0) -> bool:
        """Answer what is under way, store what is queued, close the store; false when not all could be.

        What could not was not acknowledged, or is stored at the next start.
        """
        clean = self._stop_parts(grace_s)
        if self.guard:
            self.guard.close()
        self._local_admin.close()
        self._close_store()
        return clean

    def _stop_parts(self, grace_s: float) -> bool:
        """Those that were started: first what takes, then what stores."""
        clean = True
        if self._control:
            self._control.stop(grace_s)
        if self._server:
            self._server.stop(grace_s)
        if self._debuginfo:
            self._debuginfo.stop()
        if self.alerts:
            self.alerts.stop(grace_s)
        if self._keeper:
            self._keeper.stop()
        if self._metrics_server:
            self._metrics_server.close()
        if self._receivers:
            clean = self._receivers.stop(grace_s)
        if self._committer:
            clean = self._committer.stop(grace_s) and clean
        if self._retention:
            self._retention.stop()
        if self._disk:
            self._disk.stop()
        return clean

    def _open_store(self) -> Store:
        config = self.config
        try:
            return open_store(config.store or config.data, config.store_memory_bytes, config.store_threads)
        except FleetprofError:
            if self._folder:
                self._folder.release()
            raise

    def _close_store(self) -> None:
        self.store.close()
        if self._folder:
            self._folder.release()

    def _alerts(self, ui_url: str) -> "AlertService | None":
        config = self.config
        if not wanted(config.data, config.alert_rules):
            return None
        # Not at the top: its statistics (scipy) take 0.6 s and 30 MB, which most commands do not need.
        from collector.alerts.service import AlertService

        return AlertService(
            config.data,
            config.alert_rules,
            self.store,
            config.alert_interval_s,
            keep_s=config.retention_rollups_days * 86400,
            ui_url=config.ui_url or ui_url,
        )

    def _disk_guard(self) -> DiskGuard | None:
        """Watches the disk of the embedded store; a server's disks are its own."""
        if not isinstance(self.store, ChdbStore):
            return None
        return DiskGuard(self.store, self.config.data, self.config.reserve())

    def _journal(self) -> Journal:
        try:
            return Journal(self.config.data / JOURNAL)
        except OSError as error:
            raise UnavailableError(
                f"Cannot use {self.config.data / JOURNAL}: {error.strerror}.",
                "Give this user the right to write there, or choose another folder (--data).",
            ) from error
