"""/metrics as Prometheus reads it: scraped over HTTP, parsed, named by its conventions."""

import re
import socket
import time
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from flask import Flask
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from agent.aggregate import Cost
from agent.metrics import AgentMetrics
from agent.metrics import MetricsServer as AgentMetricsServer
from agent.push import Acknowledged
from agent.totals import Totals
from collector.agents.registry import AgentRegistry
from collector.agents.state import Registration
from collector.ingest.committer import Queued, Stored
from collector.ingest.loss_ledger import LossLedger
from collector.metrics import MetricsServer, PartsMetrics, PushMetrics, process_metrics
from collector.server_tls import ServerCertificates
from collector.tokens.allowance import Allowance, Limit
from collector.tokens.gate import NotAllowed, Reason
from collector.tokens.guard import Guard
from fleetprof.errors import UnavailableError
from fleetprof.losses import DropReason, Losses
from fleetprof.setting_kinds import Address
from query_ui.metrics import add_metrics
from tests.unit.tls_files import Authority

ANY = Address("127.0.0.1", 0)
UNITS = (
    "seconds",
    "bytes",
    "windows",
    "rows",
    "errors",
    "agents",
    "losses",
    "files",
    "pushes",
    "requests",
    "info",
    "calls",
    "connections",
    "breaches",
    "fds",
)


class Committer:
    """The figures of one."""

    stored = Stored(windows=7, rows=700, insert_errors=2)
    queued = Queued(windows=3, rows=300)


def scrape(port: int) -> dict[str, Metric]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        return families(answer.read().decode())


def families(text: str) -> dict[str, Metric]:
    found = list(text_string_to_metric_families(text))
    assert len({family.name for family in found}) == len(found), "a family is written twice"
    return {family.name: family for family in found}


def value(family: Metric, suffix: str = "", **labels: str) -> float:
    (sample,) = [s for s in family.samples if s.name == family.name + suffix and s.labels == labels]
    return sample.value


def follows_conventions(found: Iterable[Metric]) -> None:
    for family in found:
        assert re.fullmatch(r"(fleetprof_(agent|collector|ui)|process)_[a-z_]+", family.name), family.name
        assert family.documentation, family.name
        assert any(unit in family.name for unit in UNITS), f"{family.name} has no unit"
        assert not family.name.endswith("_total"), "the parser takes _total off counters"
        if family.type == "counter":
            assert all(sample.name.endswith("_total") for sample in family.samples)


def collector_registry(folder: Path) -> CollectorRegistry:
    registry, ledger, agents = CollectorRegistry(), LossLedger(), AgentRegistry({"old": 1.0})
    ledger.count(DropReason.TOO_OLD, "h", 4)
    agents.window("new")
    agents.register(Registration("third", 1, "h", 1, registered_at_s=5.0))
    guard = Guard(folder, Allowance())
    for peer in ("10.0.0.1", "10.0.0.2"):
        guard.gate.count(NotAllowed(Reason.WRONG, "The token is not one of this collector."), peer)
    guard.allowances.breaches[Limit.ROWS] += 3
    certificates = ServerCertificates(Authority.make(folder / "tls").server())
    registry.register(PartsMetrics(Committer(), ledger, agents, certificates, guard))  # type: ignore[arg-type]
    process_metrics(registry)
    pushes = PushMetrics(registry)
    pushes.count("accepted", 0.02)
    pushes.count("refused", 3.0)
    return registry


def test_the_collectors_metrics(tmp_path: Path) -> None:
    server = MetricsServer(ANY, collector_registry(tmp_path))
    found = scrape(server.port)
    server.close()
    follows_conventions(found.values())
    assert value(found["fleetprof_collector_pushes"], "_total", result="accepted") == 1
    assert value(found["fleetprof_collector_pushes"], "_total", result="later") == 0
    assert value(found["fleetprof_collector_losses"], "_total", reason="too_old") == 4
    assert value(found["fleetprof_collector_sample_rows_stored"], "_total") == 700
    assert value(found["fleetprof_collector_store_insert_errors"], "_total") == 2
    assert value(found["fleetprof_collector_queue_windows"]) == 3
    assert value(found["fleetprof_collector_agents"], state="reporting") == 1
    assert value(found["fleetprof_collector_agents"], state="silent") == 2
    expires_s = value(found["fleetprof_collector_tls_certificate_expiry_timestamp_seconds"])
    assert expires_s > time.time() + 3600
    assert value(found["fleetprof_collector_tls_connections_unused"], "_total") == 0
    assert value(found["fleetprof_collector_calls_refused"], "_total", reason="wrong_token") == 2
    assert value(found["fleetprof_collector_calls_refused"], "_total", reason="no_token") == 0
    assert value(found["fleetprof_collector_token_limit_breaches"], "_total", limit="rows_per_minute") == 3
    seconds = found["fleetprof_collector_push_duration_seconds"]
    assert seconds.type == "histogram"
    assert value(seconds, "_sum") == pytest.approx(3.02)
    assert value(seconds, "_bucket", le="0.025") == 1
    assert value(seconds, "_bucket", le="+Inf") == 2


def test_the_agents_metrics() -> None:
    totals = Totals(9, Cost(2_500_000_000, 500_000_000, 40 << 20, 8 << 20), Losses({DropReason.RING_FULL: 5}))
    metrics = AgentMetrics(
        "core",
        lambda: totals,
        lambda: 2,
        lambda: Acknowledged(7, 1, 1234.5),
        lambda: (1, 900),
        lambda: (3, 4000),
    )
    server = AgentMetricsServer(ANY, metrics)
    found = scrape(server.port)
    server.close()
    follows_conventions(found.values())
    assert value(found["fleetprof_agent_cpu_seconds"], "_total") == 2.5
    assert value(found["fleetprof_agent_bpf_seconds"], "_total") == 0.5
    assert value(found["fleetprof_agent_resident_memory_bytes"]) == 40 << 20
    assert value(found["fleetprof_agent_bpf_map_bytes"]) == 8 << 20
    assert value(found["fleetprof_agent_queue_windows"]) == 2
    assert value(found["fleetprof_agent_spool_windows"]) == 1
    assert value(found["fleetprof_agent_spool_bytes"]) == 900
    assert value(found["fleetprof_agent_debug_files_sent"], "_total") == 3
    assert value(found["fleetprof_agent_debug_file_bytes_sent"], "_total") == 4000
    assert value(found["fleetprof_agent_windows_acknowledged"], "_total") == 7
    assert value(found["fleetprof_agent_last_push_timestamp_seconds"]) == 1234.5
    assert value(found["fleetprof_agent_losses"], "_total", reason="ring_full") == 5
    assert len(found["fleetprof_agent_losses"].samples) == len(DropReason)


def web(*others: CollectorRegistry) -> Flask:
    app = Flask(__name__)
    add_metrics(app, others)
    app.add_url_rule("/items/<name>", view_func=lambda name: name, endpoint="items")
    return app


def test_requests_are_counted_by_route_not_by_path() -> None:
    client = web().test_client()
    for path in ("/items/a", "/items/b", "/nothing/here", "/nothing/there"):
        client.get(path)
    client.open("/items/a", method="BREW")
    found = families(client.get("/metrics").get_data(as_text=True))
    follows_conventions(found.values())
    requests = found["fleetprof_ui_http_requests"]
    assert value(requests, "_total", route="/items/<name>", method="GET", code="200") == 2
    assert value(requests, "_total", route="(none)", method="GET", code="404") == 2
    assert {sample.labels["method"] for sample in requests.samples} == {"GET", "(other)"}
    assert value(found["fleetprof_ui_http_request_duration_seconds"], "_count", route="/items/<name>") == 2
    assert "process_resident_memory_bytes" in found


def test_the_web_application_shows_the_metrics_of_its_process_once(tmp_path: Path) -> None:
    found = families(web(collector_registry(tmp_path)).test_client().get("/metrics").get_data(as_text=True))
    follows_conventions(found.values())
    assert {"fleetprof_collector_pushes", "process_cpu_seconds"} <= found.keys()


AGENT = AgentMetrics("core", lambda: Totals(0, Cost(), Losses()), lambda: 0, Acknowledged, lambda: (0, 0))


@pytest.mark.parametrize(
    "serve",
    [
        lambda address: AgentMetricsServer(address, AGENT),
        lambda address: MetricsServer(address, CollectorRegistry()),
    ],
    ids=["agent", "collector"],
)
def test_a_taken_port_is_one_clear_message(serve: Callable[[Address], object]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = Address("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(UnavailableError, match=r"Cannot serve metrics on .*in use") as caught:
            serve(address)
        assert "--metrics-listen" in caught.value.hint
