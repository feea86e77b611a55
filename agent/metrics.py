"""The agent's own figures in Prometheus' text format, on a port of its own when metrics_listen is set.

Names follow https://prometheus.io/docs/practices/naming/: base units, `_total` for counters.
"""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agent.push import Acknowledged
from agent.totals import Totals
from fleetprof import __version__
from fleetprof.errors import UnavailableError
from fleetprof.losses import DropReason
from fleetprof.setting_kinds import Address


class AgentMetrics(Collector):
    """Reads the figures when it is asked.

    `waiting` are all windows to be sent, `on_disk` those of them on disk, and their bytes; `debug_files` how many
    were sent, and the bytes of all.
    """

    def __init__(
        self,
        backend: str,
        totals: Callable[[], Totals],
        waiting: Callable[[], int],
        acknowledged: Callable[[], Acknowledged],
        on_disk: Callable[[], tuple[int, int]],
        debug_files: Callable[[], tuple[int, int]] = lambda: (0, 0),
    ) -> None:
        self._backend, self._debug_files = backend, debug_files
        self._on_disk = on_disk
        self._totals, self._waiting, self._acknowledged = totals, waiting, acknowledged

    def collect(self) -> Iterator[Metric]:
        """All families."""
        totals, done = self._totals(), self._acknowledged()
        info = GaugeMetricFamily(
            "fleetprof_agent_info", "What runs; always 1.", labels=["version", "backend"]
        )
        info.add_metric([__version__, self._backend], 1)
        yield info
        yield _counter("cpu_seconds", "CPU time of the agent's process.", totals.cost.cpu_ns / 1e9)
        if (
            totals.cost.bpf_ns
        ):  # else it is not measured (or there are none): no figure is better than a wrong 0
            yield _counter("bpf_seconds", "Time inside the agent's BPF programs.", totals.cost.bpf_ns / 1e9)
        yield _gauge("resident_memory_bytes", "Resident memory of the agent.", totals.cost.rss_bytes)
        yield _gauge("bpf_map_bytes", "Kernel memory of the agent's BPF maps.", totals.cost.map_bytes)
        yield _counter("windows_closed", "Windows of 10 s that were closed.", totals.windows)
        yield _counter("windows_acknowledged", "Windows that the collector took.", done.windows)
        yield _gauge("queue_windows", "Windows that wait to be acknowledged.", self._waiting())
        windows, size_bytes = self._on_disk()
        yield _gauge("spool_windows", "Those of them that wait on disk.", windows)
        yield _gauge("spool_bytes", "Disk space of the windows that wait there.", size_bytes)
        yield _gauge(
            "last_push_timestamp_seconds", "When the collector took a window last; 0: never.", done.at_s
        )
        files, sent_bytes = self._debug_files()
        yield _counter("debug_files_sent", "Debug files that the collector asked for and kept.", files)
        yield _counter("debug_file_bytes_sent", "Bytes of debug files sent.", sent_bytes)
        yield _losses(totals)


def _losses(totals: Totals) -> Metric:
    family = CounterMetricFamily(
        "fleetprof_agent_losses", "What was not measured, kept or sent, by reason.", labels=["reason"]
    )
    for reason in DropReason:
        family.add_metric([reason.label], totals.losses[reason])
    return family


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"fleetprof_agent_{name}", text, value=value)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"fleetprof_agent_{name}", text, value=value)


class MetricsServer:
    """Serves /metrics until closed; `port` is the one in use."""

    def __init__(self, address: Address, metrics: Collector) -> None:
        """Raises UnavailableError when the address cannot be had."""
        registry = CollectorRegistry()
        registry.register(metrics)
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
