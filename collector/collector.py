"""The collector as one thing that starts and stops: store, pipeline, gRPC server, retention."""

import logging

from collector.config import CollectorConfig
from collector.ingest.committer import Committer
from collector.ingest.journal import Journal
from collector.ingest.known import KnownDefinitions
from collector.ingest.limits import Limits
from collector.ingest.loss_ledger import LossLedger
from collector.pipeline import Pipeline
from collector.server import Running, serve
from collector.store.chdb import ChdbStore
from collector.store.migrate import migrate
from collector.store.retention import RetentionJob, retention_days
from fleetprof.errors import FleetprofError, UnavailableError

log = logging.getLogger("fleetprof.collector")

JOURNAL = "journal"
"""Folder of unfinished batches, inside the data folder."""


class Collector:
    """Opens the store at once, so that it can be asked; takes windows between `start` and `stop`."""

    def __init__(self, config: CollectorConfig) -> None:
        """Open the store and bring it to this program's schema; raises UnavailableError, InputError."""
        self.config = config
        self.store = ChdbStore(config.data, config.store_memory_bytes, config.store_threads)
        self.ledger = LossLedger()
        self._committer: Committer | None = None
        self._server: Running | None = None
        self._retention: RetentionJob | None = None
        try:
            for name in migrate(self.store):
                log.info("Applied migration %s.", name)
        except FleetprofError:
            self.store.close()
            raise

    @property
    def grpc_port(self) -> int:
        """The port that agents push to; 0 before `start`."""
        return self._server.port if self._server else 0

    @property
    def alive(self) -> bool:
        """False once the collector can no longer store what it takes, and should be ended."""
        return self._committer is not None and self._committer.alive

    def start(self) -> None:
        """Finish what a crash interrupted and listen; raises UnavailableError, and is then as before."""
        config, limits = self.config, self._limits()
        known = KnownDefinitions(self.store)
        self._committer = Committer(self.store, self._journal(), known, self.ledger)
        try:
            pipeline = Pipeline(known, self._committer, self.ledger, limits)
            self._server = serve(pipeline, config.grpc, limits)
        except FleetprofError:
            self._committer.stop(5.0)
            raise
        days = retention_days(config.retention_samples_days, config.retention_rollups_days)
        self._retention = RetentionJob(self.store, days)

    def stop(self, grace_s: float = 10.0) -> bool:
        """Answer what is under way, store what is queued, close the store; false when not all could be.

        What could not was not acknowledged, or is stored at the next start.
        """
        clean = True
        if self._server:
            self._server.stop(grace_s)
        if self._committer:
            clean = self._committer.stop(grace_s)
        if self._retention:
            self._retention.stop()
        self.store.close()
        return clean

    def _limits(self) -> Limits:
        return Limits(
            message_bytes=self.config.message_limit_bytes,
            oldest_s=self.config.retention_samples_days * 86400,
        )

    def _journal(self) -> Journal:
        try:
            return Journal(self.config.data / JOURNAL)
        except OSError as error:
            raise UnavailableError(
                f"Cannot use {self.config.data / JOURNAL}: {error.strerror}.",
                "Give this user the right to write there, or choose another folder (--data).",
            ) from error
