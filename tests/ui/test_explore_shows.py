"""What the Explore page shows: the API's figures, gaps, completeness, empty and error states, both themes."""

import json
import re
import urllib.request
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.ui.conftest import Quiet, flame, open_explore, wait_for_load
from tests.ui.shop import HOSTS, NOW_S, SILENT, WINDOW_S, WINDOWS, make_shop

START_S = NOW_S - WINDOWS * WINDOW_S


def ask(url: str, route: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}/api/v1/{route}") as answer:
        return dict(json.load(answer))


def test_figures_are_those_of_the_rows(page: Page, shop_url: str) -> None:
    open_explore(page, shop_url)
    rows = make_shop()
    whole = int(rows.value[rows.type == 0].sum())
    assert flame(page, "panel => panel.tree.total[0]") == whole
    assert flame(page, "panel => panel.tree.whole") == whole
    seconds = (WINDOWS - len(SILENT)) * WINDOW_S
    headline = page.locator("#headline").inner_text()
    assert headline.startswith(f"{whole / 1e9 / seconds:.2f} cores on average")
    assert f"{len(HOSTS)} of {len(HOSTS)} hosts" in headline
    assert page.locator("#top tr").count() == len(ask(shop_url, "top?from=now-15m&limit=1000")["rows"])


def test_table_is_the_servers_and_shares_add_up(page: Page, shop_url: str) -> None:
    open_explore(page, shop_url, '?query=service%3D"checkout"')
    answer = ask(shop_url, "top?from=now-15m&limit=1000&query=service%3D%22checkout%22")
    first = answer["rows"][0]
    cells = page.locator("#top tr").first.locator("td").all_inner_texts()
    assert cells[0].strip() == first["name"]
    assert cells[1] == f"{100 * first['self'] / answer['total']:.2f}\u2009%"
    shares = [
        float(text.replace("\u2009%", ""))
        for text in page.locator("#top tr td:nth-child(2)").all_inner_texts()
    ]
    assert sum(shares) == pytest.approx(100, abs=0.5)


def test_sorting_by_total_puts_the_outermost_function_first(page: Page, shop_url: str) -> None:
    open_explore(page, shop_url, '?query=service%3D"checkout"')
    page.get_by_role("button", name="Total", exact=True).last.click()
    assert "sort=-total" in page.url
    expect(page.locator("#top tr").first).to_contain_text("Thread._bootstrap_inner")


def test_wall_time_is_the_sum_of_the_three_types(page: Page, shop_url: str) -> None:
    open_explore(page, shop_url, "?type=wall")
    rows = make_shop()
    assert flame(page, "panel => panel.tree.whole") == int(rows.value.sum())
    assert "threads on average" in page.locator("#headline").inner_text()


def test_silent_time_is_a_gap_and_completeness_says_why(page: Page, shop_url: str) -> None:
    open_explore(page, shop_url)
    gaps = page.evaluate(
        """async () => {
          const page = document.querySelector('script[type=module]').src;
          const {gapsOf} = await import(page.replace('explore.js', 'series_chart.js'));
          const answer = await (await fetch('/api/v1/series?from=now-15m')).json();
          return gapsOf(answer);
        }"""
    )
    first = START_S + SILENT.start * WINDOW_S
    assert gaps == [[first - WINDOW_S, first + len(SILENT) * WINDOW_S]]
    page.locator("#completeness").click()
    told = page.locator("#completeness-menu").inner_text()
    missing = len(SILENT) * len(HOSTS) + 6
    assert f"{missing} of {WINDOWS * len(HOSTS)} windows" in told
    assert "184" in told


def test_grouping_draws_a_line_a_value_with_a_legend(page: Page, shop_url: str) -> None:
    open_explore(page, shop_url, '?query=service%3D"checkout"')
    page.locator("#group-by").get_by_text("Version").click()
    answer = ask(shop_url, "series?from=now-15m&group_by=version&query=service%3D%22checkout%22")
    names = [line["labels"]["version"] for line in answer["series"]]
    assert sorted(names) == ["2.30.4", "2.31.0"]
    expect(page.locator("#series-legend li")).to_have_text(names)
    assert "group_by=version" in page.url


def test_unknown_service_is_explained_with_a_guess(page: Page, shop_url: str) -> None:
    open_explore(page, shop_url, '?query=service%3D"chekout"')
    state = page.locator("#profile-state")
    expect(state).to_contain_text("No samples match")
    expect(state).to_contain_text("Did you mean checkout?")
    state.get_by_text("Use checkout").click()
    wait_for_load(page, 2)
    expect(state).to_be_hidden()
    assert flame(page, "panel => panel.tree.n") > 20


def test_bad_selector_says_where_and_the_page_recovers(page: Page, shop_url: str, quiet: Quiet) -> None:
    quiet.expected = ("400",)
    open_explore(page, shop_url, "?query=service%3Dcheckout")
    expect(page.locator("#profile-state")).to_contain_text(
        "Selector not understood at character 9: expected a quoted value"
    )
    expect(page.locator("#selector")).to_have_attribute("aria-invalid", "true")
    page.locator("#selector").fill('service="checkout"')
    page.locator("#selector").press("Enter")
    wait_for_load(page, 2)
    expect(page.locator("#profile-state")).to_be_hidden()
    expect(page.locator("#selector")).to_have_attribute("aria-invalid", "false")


def test_store_without_data_says_so_and_looks_again(page: Page, empty_url: str) -> None:
    open_explore(page, empty_url)
    expect(page.locator("#profile-state")).to_contain_text("No data yet")
    wait_for_load(page, 2)


def test_server_away_is_said_in_place(page: Page, shop_url: str, quiet: Quiet) -> None:
    quiet.expected = ("ERR_FAILED", "Failed to load resource")
    open_explore(page, shop_url)
    page.route("**/api/v1/**", lambda route: route.abort())
    page.locator("#reload").click()
    expect(page.locator("#profile-state")).to_contain_text("The server did not answer")
    page.unroute("**/api/v1/**")
    page.locator("#profile-state").get_by_text("Try again").click()
    expect(page.locator("#profile-state")).to_be_hidden()


def test_theme_key_switches_canvas_and_is_remembered(page: Page, shop_url: str, quiet: Quiet) -> None:
    quiet.expected = ("willReadFrequently",)
    open_explore(page, shop_url)
    corner = "panel => [...panel.graph.canvas.getContext('2d').getImageData(2, 2, 1, 1).data]"
    light = flame(page, corner)
    page.keyboard.press("t")
    dark = flame(page, corner)
    assert sum(light[:3]) > 3 * 200 > 3 * 80 > sum(dark[:3])
    page.reload()
    wait_for_load(page, 1)
    assert flame(page, corner) == dark


def test_phone_never_scrolls_sideways(browser: Browser, shop_url: str, quiet: Quiet) -> None:
    context = browser.new_context(viewport={"width": 400, "height": 800}, has_touch=True)
    page = context.new_page()
    quiet.listen(page)
    for query in (
        "",
        '?query=service%3D"checkout"%2Cregion%3D~"eu.*"&group_by=version&view=table',
        "?query=x%3D%221%22",
    ):
        page.goto(f"{shop_url}/{query}")
        wait_for_load(page, 1)
        assert page.evaluate("document.documentElement.scrollWidth") == 400
        for control in ("#range", "#completeness"):
            if page.locator(control).is_visible():
                page.locator(control).click()
                assert page.evaluate("document.documentElement.scrollWidth") == 400
                page.keyboard.press("Escape")
    context.close()
    quiet.check()


def test_page_carries_a_strict_policy(page: Page, shop_url: str) -> None:
    response = page.goto(shop_url)
    assert response
    policy = response.headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "style-src 'self'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"<[^>]+\sstyle=|<script>(?!\s*</script>)|\son\w+=", response.text())
