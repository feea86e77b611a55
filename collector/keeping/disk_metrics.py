"""The disk guard's figures for Prometheus."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector as MetricSource

from collector.keeping.disk_guard import DiskGuard


class DiskMetrics(MetricSource):
    """Reads the guard when it is asked."""

    def __init__(self, guard: DiskGuard) -> None:
        self._guard = guard

    def collect(self) -> Iterator[Metric]:
        """All families."""
        prefix = "fleetprof_collector"
        yield GaugeMetricFamily(
            f"{prefix}_disk_free_bytes", "Free on the embedded store's disk.", value=self._guard.free_bytes
        )
        yield GaugeMetricFamily(
            f"{prefix}_disk_refusing",
            "1 while no windows are taken for want of room on the disk.",
            value=float(bool(self._guard.refusal)),
        )
        yield CounterMetricFamily(
            f"{prefix}_disk_days_dropped",
            "Days dropped for want of room.",
            value=len(self._guard.status.dropped),
        )
