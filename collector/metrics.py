"""The collector's figures in Prometheus' text format.

Names follow https://prometheus.io/docs/practices/naming/: base units, `_total` for counters. What the parts
count anyway is read when it is asked for; only the time of a push is measured for this.
"""

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    start_http_server,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector as MetricSource

from collector.agents.registry import AgentRegistry
from collector.ingest.committer import Committer
from collector.ingest.loss_ledger import LossLedger
from collector.server_tls import ServerCertificates
from collector.tokens.allowance import Limit
from collector.tokens.gate import Reason
from collector.tokens.guard import Guard
from fleetprof import __version__
from fleetprof.errors import UnavailableError
from fleetprof.losses import DropReason
from fleetprof.setting_kinds import Address

disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more a counter, needed by nobody

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)
RESULTS = ("accepted", "duplicate", "need_definitions", "refused", "later")


class PushMetrics:
    """How pushes were answered, and how fast."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._answers = Counter(
            "fleetprof_collector_pushes",
            "Windows pushed, by answer; refused ones by reason in fleetprof_collector_losses_total.",
            ["result"],
            registry=registry,
        )
        for result in RESULTS:
            self._answers.labels(result)
        self._seconds = Histogram(
            "fleetprof_collector_push_duration_seconds",
            "Time from a push's arrival to its answer, storing included.",
            buckets=_SECONDS,
            registry=registry,
        )

    def count(self, result: str, seconds: float) -> None:
        """One push was answered with one of RESULTS."""
        self._answers.labels(result).inc()
        self._seconds.observe(seconds)


class PartsMetrics(MetricSource):
    """Reads the committer, the ledger, the registry of agents and the doors' keepers when it is asked."""

    def __init__(
        self,
        committer: Committer,
        ledger: LossLedger,
        agents: AgentRegistry,
        certificates: ServerCertificates | None = None,
        guard: Guard | None = None,
    ) -> None:
        self._committer, self._ledger, self._agents = committer, ledger, agents
        self._certificates = certificates
        self._guard = guard

    def collect(self) -> Iterator[Metric]:
        """All families."""
        info = GaugeMetricFamily("fleetprof_collector_info", "What runs; always 1.", labels=["version"])
        info.add_metric([__version__], 1)
        yield info
        stored, queued = self._committer.stored, self._committer.queued
        yield _counter("windows_stored", "Windows stored.", stored.windows)
        yield _counter("sample_rows_stored", "Sample rows stored.", stored.rows)
        yield _counter("store_insert_errors", "Inserts that failed; each is retried.", stored.insert_errors)
        yield _gauge("queue_windows", "Windows that wait to be stored.", queued.windows)
        yield _gauge("queue_sample_rows", "Sample rows that wait to be stored.", queued.rows)
        yield self._losses()
        yield self._known()
        if self._guard:
            yield _by_label(
                "calls_refused", "Calls refused for their token.", "reason", Reason, self._guard.gate.refused
            )
            yield _by_label(
                "token_limit_breaches",
                "Windows refused, or told to come later, since their token's limit was reached.",
                "limit",
                Limit,
                self._guard.allowances.breaches,
            )
        if self._certificates:
            yield _gauge(
                "tls_certificate_expiry_timestamp_seconds",
                "When the certificate in use expires.",
                self._certificates.validity.not_after_s,
            )
            yield _counter(
                "tls_connections_unused",
                "TLS connections without a call: failed handshakes, mostly.",
                self._certificates.connections.unused,
            )

    def _losses(self) -> Metric:
        family = CounterMetricFamily(
            "fleetprof_collector_losses", "What this collector refused or lost, by reason.", labels=["reason"]
        )
        for reason in DropReason:
            family.add_metric([reason.label], self._ledger.total[reason])
        return family

    def _known(self) -> Metric:
        family = GaugeMetricFamily(
            "fleetprof_collector_agents",
            "Agents of the last 7 days; silent: neither heartbeat nor window for 90 s.",
            labels=["state"],
        )
        reporting, silent = self._agents.counts()
        family.add_metric(["reporting"], reporting)
        family.add_metric(["silent"], silent)
        return family


def _by_label(
    name: str, text: str, label: str, values: Iterable[StrEnum], counts: Mapping[Any, int]
) -> Metric:
    family = CounterMetricFamily(f"fleetprof_collector_{name}", text, labels=[label])
    for value in values:
        family.add_metric([value], counts.get(value, 0))
    return family


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"fleetprof_collector_{name}", text, value=value)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"fleetprof_collector_{name}", text, value=value)


def process_metrics(registry: CollectorRegistry) -> None:
    """Add this process's own CPU time, memory and open files: once a process."""
    ProcessCollector(registry=registry)


class MetricsServer:
    """Serves a registry at /metrics until closed; `port` is the one in use."""

    def __init__(self, address: Address, registry: CollectorRegistry) -> None:
        """Raises UnavailableError when the address cannot be had."""
        try:
            self._server, self._thread = start_http_server(address.port, address.host, registry)
        except OSError as error:
            raise UnavailableError(
                f"Cannot serve metrics on {address}: {error.strerror or error}.",
                "Choose another address (--metrics-listen), or leave it empty.",
            ) from error
        self.port = int(self._server.server_port)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
