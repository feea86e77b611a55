"""The debug files' figures for Prometheus."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector as MetricSource

from collector.debuginfo.files import DebugFiles
from collector.debuginfo.naming import Naming
from collector.debuginfo.offers import Answer, Offers

_PREFIX = "fleetprof_collector_debuginfo"


class DebugInfoMetrics(MetricSource):
    """Looks at the files when it is asked."""

    def __init__(self, files: DebugFiles, naming: Naming, offers: Offers) -> None:
        self._files, self._naming, self._offers = files, naming, offers

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
        yield from self._of_agents()

    def _of_agents(self) -> Iterator[Metric]:
        offers = self._offers
        answers = CounterMetricFamily(
            f"{_PREFIX}_files_offered", "Debug files that agents offered, by answer.", labels=["answer"]
        )
        for answer in Answer:
            answers.add_metric([answer], offers.answers[answer])
        yield answers
        yield GaugeMetricFamily(
            f"{_PREFIX}_files_claimed", "Debug files that agents are asked for now.", value=offers.open_claims
        )
        for name, text, value in (
            ("received_bytes", "Bytes of debug files that agents sent.", offers.taken_bytes),
            ("files_from_agents", "Debug files of agents that were kept.", offers.kept),
            ("files_refused", "Debug files of agents that were none, or not whole.", offers.refused),
        ):
            yield CounterMetricFamily(f"{_PREFIX}_{name}", text, value=value)
