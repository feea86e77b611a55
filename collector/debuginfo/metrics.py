"""The debug files' figures for Prometheus."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector as MetricSource

from collector.debuginfo.files import DebugFiles
from collector.debuginfo.naming import Naming

_PREFIX = "fleetprof_collector_debuginfo"


class DebugInfoMetrics(MetricSource):
    """Looks at the files when it is asked."""

    def __init__(self, files: DebugFiles, naming: Naming) -> None:
        self._files, self._naming = files, naming

    def collect(self) -> Iterator[Metric]:
        """All families."""
        files = self._files
        yield GaugeMetricFamily(f"{_PREFIX}_files", "Debug files kept.", value=len(files.all()))
        yield GaugeMetricFamily(
            f"{_PREFIX}_bytes", "Disk that debug files take, of debuginfo_size.", value=files.used_bytes()
        )
        yield CounterMetricFamily(
            f"{_PREFIX}_evicted", "Debug files that gave way to others.", value=files.evicted
        )
        yield CounterMetricFamily(
            f"{_PREFIX}_frames_named", "Stored frames that got names.", value=self._naming.named
        )
