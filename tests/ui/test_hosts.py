"""The Hosts page: problems first, the API's figures, one host opened, filters, files, keyboard."""

import csv

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.ui.conftest import Quiet, ask, check_phone, loads, open_page
from tests.ui.fleet import HOSTS, SILENT, SKEWED

ROWS = "#hosts tr[data-host]"


def shown(page: Page) -> list[str]:
    """The hosts of the rows from above."""
    return list(page.locator(ROWS).evaluate_all("rows => rows.map((row) => row.dataset.host)"))


def test_hosts_with_problems_come_first(page: Page, fleet_url: str) -> None:
    open_page(page, fleet_url, "/hosts")
    answer = ask(fleet_url, "hosts", **{"from": "now-24h"})
    assert shown(page) == [host["host"] for host in answer["hosts"]]
    assert shown(page)[:2] == [SILENT, SKEWED]
    first = page.locator(ROWS).first
    expect(first).to_contain_text("Silent for 11 min")
    expect(first.locator("svg.health.off")).to_have_count(1)
    expect(page.locator(ROWS).nth(1).locator("svg.health.warning")).to_have_count(1)
    expect(page.locator(ROWS).last).to_contain_text("Healthy")


def test_figures_are_the_api_s(page: Page, fleet_url: str) -> None:
    open_page(page, fleet_url, "/hosts")
    answer = ask(fleet_url, "hosts", **{"from": "now-24h"})
    sums = page.locator("#sums").inner_text()
    assert f"{answer['reporting']} of {len(answer['hosts'])} hosts" in sums
    cores = sum(host["cores"] for host in answer["hosts"])
    assert f"{cores:.2f} of {sum(host['cpus'] for host in answer['hosts'])} CPUs" in sums
    for row, host in zip(page.locator(ROWS).all()[:5], answer["hosts"], strict=False):
        cells = row.locator("td").all_inner_texts()
        assert cells[4] == f"{host['cores']:.2f}"
        assert cells[5].strip() == f"{100 * host['cost']['share']:.2f}\u2009%"
        strip = row.locator("svg.cells")
        expect(strip.locator("rect")).to_have_count(24)


def test_a_host_opens_and_says_what_is_wrong(page: Page, fleet_url: str) -> None:
    open_page(page, fleet_url, "/hosts")
    page.locator(f'tr[data-host="{SKEWED}"]').click()
    details = page.locator(".host-details")
    expect(details).to_contain_text("Its clock is 14.2 s ahead of the collector's")
    expect(details).to_contain_text(
        "Windows dropped by the agent because the collector was away for too long."
    )
    expect(details).to_contain_text("kernel.cgroup_skb: not in this kernel")
    expect(details.get_by_role("link", name="gateway")).to_have_count(1)
    assert f"host={SKEWED}" in page.url
    assert loads(page) == 1
    page.keyboard.press("Escape")
    expect(details).to_have_count(0)


def test_a_link_to_an_opened_host_opens_it(page: Page, fleet_url: str) -> None:
    open_page(page, fleet_url, f"/hosts?host={HOSTS[1]}")
    details = page.locator(".host-details")
    for version in ("2.30.4", "2.31.0"):
        expect(details).to_contain_text(version)
    details.get_by_role("link", name="Explore this host").click()
    page.wait_for_url(f"**/?query=host*{HOSTS[1]}*")


def test_filters_by_health_and_by_words(page: Page, fleet_url: str) -> None:
    open_page(page, fleet_url, "/hosts")
    page.get_by_role("button", name="Silent 1").click()
    assert shown(page) == [SILENT]
    assert "health=silent" in page.url
    page.get_by_role("button", name="All 26").click()
    page.keyboard.press("/")
    page.keyboard.type("0.9.2")
    assert shown(page) == [HOSTS[3]]
    expect(page.locator(ROWS).first).to_contain_text("other")
    page.locator("#search").fill("no such host")
    expect(page.locator("#hosts-state")).to_contain_text('No host matches "no such host"')
    page.get_by_role("button", name="Clear filter").click()
    assert len(shown(page)) == 26


@pytest.mark.parametrize(("title", "column"), [("Cores", "cores"), ("Completeness, 24 h", "complete")])
def test_columns_sort(page: Page, fleet_url: str, title: str, column: str) -> None:
    open_page(page, fleet_url, "/hosts")
    page.locator("#hosts-table").get_by_role("button", name=title).click()
    hosts = {host["host"]: host for host in ask(fleet_url, "hosts", **{"from": "now-24h"})["hosts"]}
    if column == "cores":
        values = [-hosts[name]["cores"] for name in shown(page)]
    else:
        values = [hosts[name]["completeness"][-1] for name in shown(page)]
    assert values == sorted(values)
    assert f"sort={'-' if column == 'cores' else ''}{column}" in page.url


def test_rows_work_by_keyboard(page: Page, fleet_url: str) -> None:
    open_page(page, fleet_url, "/hosts")
    page.locator(ROWS).first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator(f'tr[data-host="{SKEWED}"]')).to_have_attribute("aria-expanded", "true")
    expect(page.locator(f'tr[data-host="{SKEWED}"]')).to_be_focused()


def test_the_file_holds_the_hosts_that_are_shown(page: Page, fleet_url: str) -> None:
    open_page(page, fleet_url, "/hosts?health=attention")
    with page.expect_download() as caught:
        page.locator("#csv").click()
    with caught.value.path().open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["host"] for row in rows] == shown(page)
    assert rows[0]["health"] == "off"
    assert "Synchronise it (NTP)." in rows[1]["problems"]


def test_an_empty_store_says_what_to_do(page: Page, empty_url: str) -> None:
    open_page(page, empty_url, "/hosts")
    expect(page.locator("#hosts-state")).to_contain_text("No host has reported")
    expect(page.locator("#hosts-state")).to_contain_text("fleetprof up")


def test_an_impossible_range_is_refused_in_words(page: Page, quiet: Quiet, fleet_url: str) -> None:
    quiet.expected = ("status of 400",)
    open_page(page, fleet_url, "/hosts?from=now&to=now-1h")
    expect(page.locator("#hosts-state h3")).not_to_be_empty()
    expect(page.locator("#hosts-part")).not_to_be_visible()


def test_phones_need_no_sideways_scroll(browser: Browser, quiet: Quiet, fleet_url: str) -> None:
    check_phone(browser, quiet, f"{fleet_url}/hosts?host={SKEWED}")
    quiet.check()
