"""`fleetprof up`: agent, collector and UI of this machine in one go, on the embedded store.

Collector and UI share this process, since the embedded store belongs to one; the agent is a child. Ctrl-C
ends them in the order of the data: the agent sends its last window, the collector stores it, the UI stops.
"""

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from collector.collector import Collector
from collector.config import TABLE as COLLECTOR_TABLE
from collector.config import CollectorConfig
from collector.exposure import page_exposure
from collector.query.querier import Querier
from collector.sources.assemble import open_sources
from collector.store.interface import Store
from collector.tokens.token import Scope
from fleetprof.errors import UnavailableError
from fleetprof.garbage import search_rarely
from fleetprof.setting_kinds import LISTEN, Address
from fleetprof.settings import PRINT_FLAG, Loaded, Setting, add_flags, load_settings
from query_ui.agent_process import AgentProcess
from query_ui.app import UiConfig, create_app
from query_ui.host_names import known_names
from query_ui.server import DEFAULT_ADDRESS, Running, serve

LOOK_EVERY_S = 0.5
HTTP = Setting("http", LISTEN, DEFAULT_ADDRESS, "Where the web UI and the API listen.")


def add_up_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `fleetprof up`."""
    parser.add_argument("--no-agent", action="store_true", help="Do not sample this machine.")
    add_flags(parser, (HTTP, *COLLECTOR_TABLE))


def run_up(options: argparse.Namespace) -> int:
    """Start everything, say where it is, wait for Ctrl-C, end cleanly. Returns the exit code."""
    loaded = _load(options)
    # `http` is no setting of the collector: the file, which fleetprof-collector reads too, cannot hold it.
    http_flag = {HTTP.name: vars(options).get(HTTP.name)}
    config, http = loaded.config, load_settings((HTTP,), _HttpConfig, http_flag, os.environ).config.http
    if getattr(options, PRINT_FLAG, False):
        print(loaded.as_toml())
        return 0
    if not options.no_agent:
        _require_root()
    ended, reloading = _on_signals()

    def reload_if_asked() -> None:
        if reloading.is_set():
            reloading.clear()
            collector.reload(lambda: _load(options).config)

    _say(f"Opening the store in {config.data} …")
    collector = Collector(config, ui_url=f"http://{http._replace(host=_reachable(http.host))}")
    try:
        collector.start(local=not options.no_agent)
        _say(f"Collector ready: agents push to {config.grpc.host}:{collector.grpc_port}.")
        ui = serve(
            create_app(Querier(collector.store), _ui_config(collector, config, http)),
            http.host,
            http.port,
        )
        search_rarely()
        if warning := page_exposure(http.host, collector.guard is not None):
            _say(f"warning: {warning}")
        try:
            if options.no_agent:
                _say(f"UI ready: {ui.url} (no agent on this machine; Ctrl-C ends)")
                return _until_ended(collector, ended, reload_if_asked)
            return _with_agent(config, collector, ui, ended, reload_if_asked)
        finally:
            ui.stop()
    finally:
        _say(
            "Ended; everything is stored."
            if collector.stop()
            else "Ended; the rest is stored at the next start."
        )


def _load(options: argparse.Namespace) -> Loaded[CollectorConfig]:
    return load_settings(COLLECTOR_TABLE, CollectorConfig, vars(options), os.environ)


def _until_ended(
    collector: Collector,
    ended: threading.Event,
    reload_if_asked: Callable[[], None],
    agent: AgentProcess | None = None,
) -> int:
    """Wait for the end; the exit code, which is not 0 where a part has failed for good."""
    while not ended.wait(LOOK_EVERY_S):
        reload_if_asked()
        if agent and agent.gave_up.is_set():
            _say("The agent cannot run here (see above); ending. --no-agent starts the rest alone.")
            return 3
        if not collector.alive:
            _say("The collector can no longer store what it takes (see above); ending.")
            return 1
    return 0


def _with_agent(
    config: CollectorConfig,
    collector: Collector,
    ui: Running,
    ended: threading.Event,
    reload_if_asked: Callable[[], None],
) -> int:
    began_s = int(time.time())
    # Where agents need TLS, this machine's own has a port without: it has no certificate, and needs none.
    host = "127.0.0.1" if collector.certificates else _reachable(config.grpc.host)
    address = Address(host, collector.local_port)
    guard = collector.guard
    token = guard.book.lend("the agent of this machine", [Scope.INGEST]) if guard else ""
    agent = AgentProcess(str(address), config.data / "agent", _say, token)
    try:
        _say(f"UI ready: {ui.url}")
        _await_first_window(collector.store, agent, ended, began_s, ui.url)
        return _until_ended(collector, ended, reload_if_asked, agent)
    finally:
        _say("Ending: the agent sends its last window …")
        agent.stop()


def _await_first_window(
    store: Store, agent: AgentProcess, ended: threading.Event, began_s: int, url: str
) -> None:
    """Say when the first flame graph can be seen."""
    _say("Sampling; the first window closes within 10 s …")
    sql = "SELECT count() AS n FROM windows WHERE received_at >= toDateTime(%(began)s)"
    while not ended.is_set() and not agent.gave_up.is_set():
        if store.query((sql, {"began": began_s}))["n"][0]:
            _say(f"A flame graph of this machine: {url} (Ctrl-C ends)")
            return
        ended.wait(LOOK_EVERY_S)


@dataclass(frozen=True, slots=True)
class _HttpConfig:
    http: Address


def _ui_config(collector: Collector, config: CollectorConfig, http: Address) -> UiConfig:
    names = known_names(http.host, config.ui_url)
    return UiConfig(
        metrics=(collector.metrics,),
        alerts=collector.alerts,
        gate=collector.gate,
        names=names,
        receivers=collector.http_receivers,
        disk=lambda: collector.disk,
        sources=open_sources(config),
    )


def _reachable(host: str) -> str:
    return "127.0.0.1" if host in ("", "0.0.0.0", "::") else host


def _require_root() -> None:
    if os.geteuid() != 0:
        raise UnavailableError(
            "The agent samples all processes of this machine, which needs root.",
            "Run it with sudo, or start the collector and the UI alone with --no-agent.",
        )


def _on_signals() -> tuple[threading.Event, threading.Event]:
    """(to end, to read settings and alert rules again): set by SIGINT or SIGTERM, and by SIGHUP."""
    ended, reloading = threading.Event(), threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    signal.signal(signal.SIGHUP, lambda *_: reloading.set())
    return ended, reloading


def _say(text: str) -> None:
    print(f"fleetprof: {text}", file=sys.stderr, flush=True)
