"""The web application: pages, their JSON twins, static files and health."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from flask import Flask, Response
from prometheus_client import CollectorRegistry

from collector.alerts.service import AlertService
from collector.query.model import TimeRange
from collector.query.querier import Querier
from collector.receivers.http import HttpReceivers
from collector.sources.listing import Sources
from collector.tokens.gate import Gate
from query_ui.api.alerts import create_alerts_api
from query_ui.api.blueprint import create_api, json_response
from query_ui.api.receivers import create_receivers
from query_ui.api.status import DiskOf
from query_ui.assets import Assets, create_static
from query_ui.failures import handle_failures
from query_ui.guard import add_guard
from query_ui.host_names import refuse_other_names
from query_ui.http_policy import apply_policy
from query_ui.metrics import add_metrics
from query_ui.pages import add_page_context, create_pages


@dataclass(frozen=True, slots=True)
class UiConfig:
    """Settings of the web application. `now` gives Unix seconds."""

    now: Callable[[], float] = time.time
    metrics: tuple[CollectorRegistry, ...] = ()
    """What /metrics shows besides the application's own figures."""
    alerts: AlertService | None = None
    """Who judges alerts; None where there are no rules."""
    receivers: HttpReceivers | None = None
    """Who takes other profilers' pushes; None where no collector runs in this process."""
    gate: Gate | None = None
    """Who may ask; None: anyone."""
    disk: DiskOf = lambda: None
    """How full the embedded store's disk is."""
    sources: Sources | None = None
    """Who lists functions by line; None where there is no data folder."""
    names: tuple[str, ...] | None = None
    """Names that the pages answer to (host_names.py); None for every name."""


def create_app(querier: Querier, config: UiConfig | None = None) -> Flask:
    """The WSGI application that answers from `querier`."""
    config = config or UiConfig()
    now = config.now
    app = Flask(__name__, static_folder=None)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    assets = Assets()
    add_page_context(app, assets, now)
    app.register_blueprint(create_pages())
    app.register_blueprint(create_api(querier, now, config.disk, config.sources))
    app.register_blueprint(create_alerts_api(config.alerts, now, json_response))
    app.register_blueprint(create_static(assets))
    app.register_blueprint(create_receivers(config.receivers))
    _add_health(app, querier, now)
    add_metrics(app, config.metrics)
    if config.gate:
        add_guard(app, config.gate)
    handle_failures(app)
    apply_policy(app)
    if config.names is not None:
        refuse_other_names(app, config.names)
    return app


def _add_health(app: Flask, querier: Querier, now: Callable[[], float]) -> None:
    """/healthz: the process answers; /readyz: the store answers, too (503 with the reason otherwise)."""

    def ready() -> Response:
        end_s = int(now())
        querier.label_names(TimeRange(end_s - 60, end_s))
        return json_response({"status": "ready"})

    app.add_url_rule("/healthz", endpoint="healthz", view_func=lambda: json_response({"status": "ok"}))
    app.add_url_rule("/readyz", endpoint="readyz", view_func=ready)
