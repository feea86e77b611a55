"""The pages. Each is one template; its data comes from the API, so that page and API always say the same."""

from collections.abc import Callable
from typing import NamedTuple

from flask import Blueprint, Flask, render_template

from query_ui.assets import Assets


class Entry(NamedTuple):
    """An entry of the navigation."""

    title: str
    path: str
    endpoint: str


NAVIGATION = (
    Entry("Explore", "/", "pages.explore"),
    Entry("Compare", "/compare", "pages.compare"),
    Entry("Alerts", "/alerts", "pages.alerts"),
    Entry("Hosts", "/hosts", "pages.hosts"),
)
PAGES = (
    ("/", "explore"),
    ("/source", "source"),
    ("/compare", "compare"),
    ("/alerts", "alerts"),
    ("/alerts/<id>", "alert"),
    ("/hosts", "hosts"),
)
"""(address, endpoint): the endpoint is also the template's name. What an address names, the page asks for."""


def create_pages() -> Blueprint:
    """The routes of the pages."""
    blueprint = Blueprint("pages", __name__)
    for path, name in PAGES:
        blueprint.add_url_rule(path, endpoint=name, view_func=_view(name))
    return blueprint


def _view(name: str) -> Callable[..., str]:
    return lambda **_: render_template(f"{name}.html")


def add_page_context(app: Flask, assets: Assets, now: Callable[[], float]) -> None:
    """What every template can use: asset(name), navigation, and the server's time."""
    app.context_processor(
        lambda: {"asset": assets.url, "navigation": NAVIGATION, "now_s": f"{now():.3f}"},
    )
