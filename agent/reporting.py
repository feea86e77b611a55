"""All that leaves the host: windows, heartbeats, metrics. Put together here, in the order of their ending."""

import logging
from typing import TYPE_CHECKING

from agent.aggregate import ClosedWindow
from agent.backends.hooks import hooks_here
from agent.backends.interface import Backend
from agent.backlog import Backlog
from agent.config import AgentConfig
from agent.connection import Connection
from agent.debug_offers.offering import DebugOffers
from agent.debug_offers.sightings import Sightings
from agent.heartbeat import Heartbeat
from agent.pipeline import Parts, Pipeline
from agent.push import Sender
from agent.registration import registration
from agent.ship import Patience, Shipper
from agent.totals import RunningTotals
from fleetprof.losses import Losses
from fleetprof.settings import Loaded
from fleetprof.v1 import agent_pb2

if TYPE_CHECKING:
    from agent.metrics import MetricsServer

log = logging.getLogger("fleetprof.agent")


class Reporting:
    """Runs from when it is built until `close`. Raises UnavailableError when metrics_listen cannot be had."""

    def __init__(
        self,
        connection: Connection,
        sender: Sender,
        loaded: Loaded[AgentConfig],
        backend: Backend,
        sightings: Sightings | None = None,
    ) -> None:
        """`sightings`: files whose debug information is offered; None where none is."""
        self._sender, self._loaded, self._backend = sender, loaded, backend
        self._totals = RunningTotals()
        config = loaded.config
        patience = Patience(config.queue_windows, config.spool_after_s, config.catch_up_rate)
        backlog = Backlog(config.state_dir, config.spool_limit_bytes)
        self._shipper = Shipper(connection, sender, patience, backlog)
        self._offers: DebugOffers | None = None
        self._metrics = self._serve_metrics()
        self._heartbeat = Heartbeat(
            connection,
            sender,
            self._describe,
            self._totals.read,
            lambda: self._shipper.waiting,
            lambda: self._shipper.acknowledged,
        )
        if sightings:
            self._offers = DebugOffers(
                connection, sender, sightings, config.offer_limits(), lambda: self._shipper.waiting
            )

    def pipeline(self, parts: Parts) -> Pipeline:
        """A pipeline whose windows are sent from here."""
        return Pipeline(parts, self._deliver, self._take_losses)

    def close(self, flush_s: float) -> int:
        """Send what waits for up to `flush_s`, put the rest on disk, say good-bye, and end.

        Returns the windows that are lost; `on_disk` are sent by the next run.
        """
        if self._offers:
            self._offers.close()
        if self._shipper.flush(flush_s):
            self._heartbeat.close(last=True)
        # Where the collector does not answer, the disk comes first: whoever ends us may lose patience.
        lost = self._shipper.close(0)
        self._heartbeat.close(last=False)
        if self._metrics:
            self._metrics.close()
        return lost

    @property
    def on_disk(self) -> int:
        """Windows that wait on disk."""
        return self._shipper.on_disk

    def _deliver(self, window: ClosedWindow) -> None:
        self._totals.add(window)
        self._shipper.offer(window)

    def _take_losses(self) -> Losses:
        losses = self._shipper.take_losses()
        if self._offers:
            losses.update(self._offers.take_losses())
        return losses

    def _describe(self) -> agent_pb2.RegisterRequest:
        return registration(
            self._sender, self._loaded, self._backend.name, self._backend.unavailable, hooks_here()
        )

    def _serve_metrics(self) -> "MetricsServer | None":
        address = self._loaded.config.metrics_listen
        if not address:
            return None
        # Only here: the library and the HTTP server behind it take memory that most agents can do without.
        from agent.metrics import AgentMetrics, MetricsServer

        metrics = AgentMetrics(
            self._backend.name,
            self._totals.read,
            lambda: self._shipper.waiting,
            lambda: self._shipper.acknowledged,
            lambda: (self._shipper.on_disk, self._shipper.disk_bytes),
            lambda: self._offers.sent if self._offers else (0, 0),
        )
        server = MetricsServer(address, metrics)
        log.info("Serving metrics on http://%s/metrics.", address._replace(port=server.port))
        return server
