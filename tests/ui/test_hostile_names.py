"""Names that are markup or code stay text on every page: nothing of them runs, nothing of them is an element."""

from collections.abc import Iterator
from urllib.parse import quote as percent
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, expect

from collector.query.selector import quote
from tests.ui.conftest import Quiet, ask, flame, open_page, serving
from tests.ui.hostile import NAMES, NOW_S, START_S, VERSIONS

RANGE = {"from": "now-10m"}


@pytest.fixture(scope="module")
def hostile_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("hostile"), "hostile") as url:
        yield url


@pytest.fixture
def harmless(page: Page) -> Iterator[Page]:
    """A page in which nothing that a name says may have happened."""
    opened: list[str] = []
    page.on("dialog", lambda dialog: (opened.append(dialog.message), dialog.dismiss()))
    page.on("popup", lambda popup: opened.append(popup.url))
    yield page
    check(page)
    assert opened == []


def check(page: Page) -> None:
    """Nothing ran, and no element came out of a name."""
    assert page.evaluate("() => window.fleetprofPwned") is None
    assert page.evaluate("() => ({}).fleetprofPwned ?? Object.prototype.polluted ?? null") is None
    foreign = "img, iframe, object, embed, base, main script, [onload], [onerror], a[href^='javascript:' i]"
    assert page.locator(foreign).count() == 0


def test_the_flame_graph_the_table_and_the_series_show_names_as_they_are(
    harmless: Page, hostile_url: str
) -> None:
    page = harmless
    open_page(page, hostile_url, "/")
    assert set(NAMES) <= set(flame(page, "panel => panel.tree.frames.name"))
    assert {row["name"] for row in ask(hostile_url, "top", limit="1000", **RANGE)["rows"]} == set(NAMES)
    shown = page.locator("#top tr td:first-child").all_text_contents()
    for name in NAMES:
        assert any(name in text for text in shown), name
    row = page.locator("#top tr", has_text=NAMES[1]).first
    row.click()
    expect(page.locator("#details")).to_contain_text(NAMES[1])
    check(page)
    page.locator("#group-by").get_by_text("Version").click()
    expect(page.locator("#series-legend li")).to_have_text(sorted(VERSIONS), use_inner_text=False)
    page.keyboard.press("s")
    page.keyboard.type('service="<scr')
    expect(page.locator("#completion .option")).to_have_text([quote(NAMES[0])])
    page.keyboard.press("Enter")
    expect(page.locator(".matcher")).to_have_text([f"service={quote(NAMES[0])}"])
    page.wait_for_function(
        "() => window.fleetprofTest.panel.tree.n === 3"
    )  # all, and the two functions of its stack


def test_a_link_with_a_name_selects_its_own_row(harmless: Page, hostile_url: str) -> None:
    for name in (NAMES[2], NAMES[4], "__proto__", NAMES[-1]):
        open_page(harmless, hostile_url, f"/?query={percent('service=' + quote(name))}")
        answer = ask(hostile_url, "profile", query=f"service={quote(name)}", **RANGE)
        assert flame(harmless, "panel => panel.tree.whole") == answer["flame"]["whole"] > 0
        expect(harmless.locator(".matcher")).to_have_text([f"service={quote(name)}"])
        check(harmless)


def test_hosts_comparisons_and_alerts(harmless: Page, hostile_url: str, quiet: Quiet) -> None:
    page = harmless
    open_page(page, hostile_url, "/hosts")
    rows = page.locator("#hosts tr[data-host]")
    assert set(rows.evaluate_all("rows => rows.map((row) => row.dataset.host)")) == set(NAMES)
    for name in (NAMES[0], NAMES[1]):
        open_page(page, hostile_url, f"/hosts?host={percent(name)}")
        expect(page.locator(".host-details")).to_contain_text(name)
        check(page)
    middle = (START_S + NOW_S) // 2
    sides = {"a": (VERSIONS[0], START_S, middle), "b": (VERSIONS[1], middle, NOW_S)}
    asked = {f"{side}_query": f"version={quote(version)}" for side, (version, _, _) in sides.items()}
    asked |= {f"{side}_from": str(start_s) for side, (_, start_s, _) in sides.items()}
    asked |= {f"{side}_to": str(end_s) for side, (_, _, end_s) in sides.items()}
    open_page(page, hostile_url, f"/compare?{urlencode(asked)}")
    page.wait_for_function("() => window.fleetprofTest.panel?.tree.n > 3")
    assert set(NAMES) <= set(flame(page, "panel => panel.tree.frames.name"))
    check(page)
    open_page(page, hostile_url, "/compare")
    expect(page.get_by_role("link", name=NAMES[1]).first).to_be_visible()
    check(page)
    open_page(page, hostile_url, "/alerts")
    alerts = ask(hostile_url, "alerts")["alerts"]
    assert {alert["service"] for alert in alerts} == set(NAMES)
    for name in (NAMES[0], NAMES[1], NAMES[2]):
        expect(page.locator("#alerts")).to_contain_text(name)
        alert = next(alert for alert in alerts if alert["service"] == name)
        open_page(page, hostile_url, f"/alerts/{alert['id']}")
        expect(page.locator("h1")).to_contain_text(name)
        check(page)
        open_page(page, hostile_url, "/alerts")
    quiet.expected = ("404",)
    page.goto(f"{hostile_url}/{percent(NAMES[1], safe='')}")
    expect(page.locator("body")).not_to_be_empty()
