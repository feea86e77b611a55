"""/metrics of the web application: its own requests, and what else this process counts.

Names follow https://prometheus.io/docs/practices/naming/: base units, `_total` for counters. Requests are
labelled by route, never by path: a path may be anything.
"""

import time
from collections.abc import Sequence

from flask import Flask, Response, g, request
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more a counter, needed by nobody

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def add_metrics(app: Flask, others: Sequence[CollectorRegistry] = ()) -> None:
    """Count the requests of `app` and serve /metrics, with the families of `others` (all named differently).

    Without `others` it also tells this process's CPU time and memory, which otherwise are among them.
    """
    registry = CollectorRegistry()
    if not others:
        ProcessCollector(registry=registry)
    requests = Counter(
        "fleetprof_ui_http_requests",
        "HTTP requests, by route, method and status code.",
        ["route", "method", "code"],
        registry=registry,
    )
    seconds = Histogram(
        "fleetprof_ui_http_request_duration_seconds",
        "Time from a request's arrival to its answer.",
        ["route"],
        buckets=_SECONDS,
        registry=registry,
    )

    def begin() -> None:
        g.began_s = time.perf_counter()

    def count(response: Response) -> Response:
        route = request.url_rule.rule if request.url_rule else "(none)"
        method = request.method if request.method in _METHODS else "(other)"
        requests.labels(route, method, str(response.status_code)).inc()
        seconds.labels(route).observe(time.perf_counter() - g.began_s)
        return response

    def show() -> Response:
        text = b"".join(generate_latest(each) for each in (registry, *others))
        response = Response(text, content_type=CONTENT_TYPE_LATEST)
        response.headers["Cache-Control"] = "no-store"
        return response

    app.before_request(begin)
    app.after_request(count)
    app.add_url_rule("/metrics", endpoint="metrics", view_func=show)
