"""Chromium against the real server with a real store.

Every page test also checks that the page was quiet: no error on the console, nothing refused by the content
security policy, no request that leaves this machine.
"""

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

ROOT = Path(__file__).parents[2]
CHROMIUM = (
    os.environ.get("FLEETPROF_CHROMIUM")
    or shutil.which("chromium-headless-shell")
    or shutil.which("chromium")
    or "/usr/bin/chromium"
)
"""The whole browser takes a third more CPU: without a window, too, it draws all that is around a page."""
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(item.path).parent == Path(__file__).parent:
            item.add_marker("ui")


@contextmanager
def serving(folder: Path, content: str) -> Iterator[str]:
    """The URL of a server process over a store of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.ui.serve_shop", str(folder), content],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'proto'}:{ROOT}"},
    )
    assert process.stdin
    assert process.stdout
    try:
        url = process.stdout.readline().strip()
        assert url.startswith("http"), f"the server did not start (exit code {process.poll()})"
        yield url
    finally:
        process.stdin.close()
        process.wait(timeout=30)


@pytest.fixture(scope="package")
def shop_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("shop"), "shop") as url:
        yield url


@pytest.fixture(scope="package")
def fleet_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("fleet"), "fleet") as url:
        yield url


@pytest.fixture(scope="package")
def listed_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("listed"), "listed") as url:
        yield url


@pytest.fixture(scope="package")
def empty_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("empty"), "empty") as url:
        yield url


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield launched
        launched.close()


@dataclass
class Quiet:
    """What a page said and asked that it should not have."""

    complaints: list[str] = field(default_factory=list)
    expected: tuple[str, ...] = ()
    """Parts of complaints that the test provokes."""

    def listen(self, page: Page) -> None:
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))
        page.on("request", lambda request: self._asked(request.url))

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def _asked(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob") and parts.hostname != "127.0.0.1":
            self.complaints.append(f"request to {url}")

    def check(self) -> None:
        left = [text for text in self.complaints if not any(part in text for part in self.expected)]
        assert not left, "\n".join(left)


@pytest.fixture
def quiet() -> Quiet:
    return Quiet()


@pytest.fixture
def page(browser: Browser, quiet: Quiet) -> Iterator[Page]:
    """A page of 1440 x 900 in the light theme."""
    context = browser.new_context(
        viewport={"width": 1440, "height": 900}, color_scheme="light", reduced_motion="reduce"
    )
    opened = context.new_page()
    opened.set_default_timeout(15_000)
    quiet.listen(opened)
    yield opened
    context.close()
    quiet.check()


def open_explore(page: Page, url: str, query: str = "") -> None:
    """Open the Explore page and wait until its first answers are shown."""
    open_page(page, url, f"/{query}")


def open_page(page: Page, url: str, address: str) -> None:
    """Open a page and wait until its first answers are shown."""
    page.goto(url + address)
    wait_for_load(page, 1)


def ask(url: str, route: str, **parameters: str) -> dict[str, Any]:
    """What the API answers."""
    query = f"?{urlencode(parameters)}" if parameters else ""
    with urllib.request.urlopen(f"{url}/api/v1/{route}{query}") as answer:
        return dict(json.load(answer))


def check_phone(browser: Browser, quiet: "Quiet", address: str) -> None:
    """The page at 400 px: nothing is scrolled sideways but what lies in a table's own box.

    In one theme only: themes differ in colours.
    """
    context = browser.new_context(viewport={"width": 400, "height": 800})
    page = context.new_page()
    quiet.listen(page)
    page.goto(address)
    wait_for_load(page, 1)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 400
    outside = page.evaluate(
        """() => [...document.querySelectorAll('main button, main a, main h1, main p')]
          .filter((part) => part.checkVisibility() && !part.closest('.scroll, .path, .visually-hidden'))
          .filter((part) => !part.matches('.visually-hidden') && part.getBoundingClientRect().right > 400.5)
          .map((part) => part.outerHTML.slice(0, 120))"""
    )
    assert not outside
    context.close()


def loads(page: Page) -> int:
    """How many loads the page has shown."""
    return int(page.locator("body").get_attribute("data-loaded") or 0)


def wait_for_load(page: Page, count: int) -> None:
    """Wait until `count` loads of the page are shown."""
    page.wait_for_function("count => Number(document.body?.dataset.loaded) >= count", arg=count)


def flame(page: Page, expression: str, argument: Any = None) -> Any:
    """Evaluate a function of the flame panel, e.g. "panel => panel.graph.focus"."""
    return page.evaluate(f"argument => ({expression})(window.fleetprofTest.panel, argument)", argument)


def place_of(page: Page, name: str) -> dict[str, float]:
    """Where the heaviest frame called `name` is, in page coordinates: the middle of its box."""
    found = flame(
        page,
        """(panel, name) => {
          const {tree, graph} = panel;
          let best = -1;
          for (let i = 0; i < tree.n; i++) {
            if (tree.frames.name[tree.frame[i]] !== name) continue;
            if (best < 0 || tree.total[i] > tree.total[best]) best = i;
          }
          graph.canvas.scrollIntoView({block: 'center'});
          const box = best < 0 ? null : graph.box(best);
          const canvas = graph.canvas.getBoundingClientRect();
          const [x, y] = box ? [canvas.left + (box.left + box.right) / 2, canvas.top + box.top + 10] : [];
          return box && {x, y, node: best};
        }""",
        name,
    )
    assert found, f"{name} is not in view"
    return dict(found)
