"""The pages of alerts: the list, one alert with its evidence, silencing and accepting, and its links."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.ui.conftest import Quiet, ask, check_phone, flame, open_page, serving, wait_for_load
from tests.ui.fleet import BORN, NEW, OLD, RELEASE_S, SLOWER


def alert_about(url: str, function: str, kind: str = "release") -> dict[str, Any]:
    """The alert on a function."""
    alerts = ask(url, "alerts")["alerts"]
    return next(alert for alert in alerts if alert["function"] == function and alert["kind"] == kind)


def test_the_list_says_what_fires_what_waits_and_what_is_held(page: Page, fleet_url: str) -> None:
    open_page(page, fleet_url, "/alerts")
    expect(page.locator("#say")).to_have_text(
        "2 alerts fire, 1 pending. 3 rules watched, last check 0 s ago."
    )
    row = page.locator("#alerts tr", has_text=SLOWER)
    expect(row).to_contain_text(f"{SLOWER} uses more CPU since checkout {NEW}")
    expect(row).to_contain_text("95 % interval")
    expect(row.locator("svg.health.bad")).to_have_count(1)
    expect(page.locator("#alerts tr", has_text="Pending")).to_contain_text("checkout uses")
    expect(page.locator("#rules")).to_contain_text("Held: gateway: 13 % of windows missing.")
    expect(page.locator(".nav .count")).to_have_text("2")
    page.get_by_role("button", name="Ended").click()
    expect(page.locator("#alerts-state")).to_contain_text("No alert has ended yet")


def test_an_alert_shows_its_effect_as_it_was_judged(page: Page, fleet_url: str) -> None:
    alert = alert_about(fleet_url, SLOWER)
    open_page(page, fleet_url, "/alerts")
    page.locator("#alerts tr", has_text=SLOWER).get_by_role("link").click()
    wait_for_load(page, 1)
    evidence = ask(fleet_url, f"alerts/{alert['id']}")["evidence"]
    expect(page.locator("h1")).to_have_text(f"{SLOWER} uses more CPU since checkout {NEW}")
    expect(page.locator("#badge")).to_contain_text("Firing for 4 min")
    expect(page.locator("#effect")).to_have_text(f"+{100 * evidence['delta']:.2f}\u2009pp")
    low, high = (f"+{100 * bound:.2f}" for bound in evidence["interval"])
    bar = page.locator("svg.effect-bar")
    assert f"95 % interval {low} to {high}" in (bar.get_attribute("aria-label") or "")
    expect(page.locator("#facts")).to_contain_text("Side by side 12 and 12 hosts")
    assert page.locator("svg.dots circle.side-0").count() == 12
    assert page.locator("svg.dots circle.side-1").count() == 12
    expect(page.locator("#callers")).to_contain_text("encoder_listencode_dict")
    expect(page.locator("#funnel li").last).to_contain_text("2")
    expect(page.locator("#events")).to_contain_text(f"checkout {NEW} on its first host")


def test_an_alert_leads_to_compare_with_both_selections_on_its_function(page: Page, fleet_url: str) -> None:
    open_page(page, fleet_url, f"/alerts/{alert_about(fleet_url, SLOWER)['id']}")
    page.get_by_role("link", name="Compare releases").click()
    page.wait_for_url("**/compare?*")
    wait_for_load(page, 1)
    expect(page.locator("#a-selector-field")).to_contain_text(OLD)
    expect(page.locator("#b-selector-field")).to_contain_text(NEW)
    answer = page.evaluate("() => window.fleetprofTest.answer()")
    for side, version in (("a", OLD), ("b", NEW)):
        assert version in answer[side]["query"]
        assert answer[side]["range"] == {"start_s": RELEASE_S, "end_s": RELEASE_S + 1200}
    selected = "({tree, graph}) => tree.frames.name[tree.frame[graph.selected]]"
    assert flame(page, selected) == SLOWER


def test_a_pending_threshold_shows_its_bound_and_hosts(page: Page, fleet_url: str) -> None:
    alert = alert_about(fleet_url, "", "threshold")
    open_page(page, fleet_url, f"/alerts/{alert['id']}")
    expect(page.locator("#badge")).to_contain_text("Pending for 4 min")
    expect(page.locator("#effect")).to_have_text(f"{alert['value']:.2f} cores")
    expect(page.locator("#facts")).to_contain_text("above 4.00 cores")
    expect(page.locator("#dots-title")).to_have_text("The 12 busiest of 24 hosts")
    expect(page.locator("#accept")).not_to_be_visible()


def test_silencing_happens_at_once_and_can_be_undone(page: Page, fleet_url: str) -> None:
    alert = alert_about(fleet_url, SLOWER)
    open_page(page, fleet_url, f"/alerts/{alert['id']}")
    page.keyboard.press("s")
    form = page.locator("#silence-menu")
    expect(form.get_by_label("Alerts with these labels")).to_have_value(f'team="cart",{selector(alert)}')
    form.get_by_label("Your name").fill("Ada")
    form.get_by_label("Why").fill("known")
    form.get_by_role("button", name="Silence").click()
    expect(page.locator("#silenced")).to_contain_text("Silenced until 13:45 UTC")
    expect(page.locator(".nav .count")).to_have_text("1")
    page.locator("#toasts").get_by_role("button", name="Undo").click()
    expect(page.locator("#silenced")).not_to_be_visible()
    expect(page.locator(".nav .count")).to_have_text("2")
    assert ask(fleet_url, "silences")["silences"][0]["state"] == "expired"


def selector(alert: dict[str, Any]) -> str:
    """All its labels but the first, as a selector."""
    return ",".join(f'{name}="{value}"' for name, value in list(alert["labels"].items())[1:])


def test_a_silence_that_is_not_understood_is_refused_in_the_form(
    page: Page, quiet: Quiet, fleet_url: str
) -> None:
    quiet.expected = ("status of 400",)
    open_page(page, fleet_url, "/alerts")
    page.get_by_role("button", name="New silence").click()
    form = page.locator("#silence-menu")
    form.get_by_label("Alerts with these labels").fill("service==")
    form.get_by_label("Your name").fill("Ada")
    form.get_by_label("Why").fill("known")
    form.get_by_role("button", name="Silence").click()
    expect(form.locator(".form-note.bad")).to_contain_text("Selector not understood")
    assert not [each for each in ask(fleet_url, "silences")["silences"] if each["state"] != "expired"]


@pytest.fixture
def own_fleet_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A fleet for one test, which changes what others would see."""
    with serving(tmp_path_factory.mktemp("own"), "fleet") as url:
        yield url


def test_accepting_ends_an_alert_for_good(own_fleet_url: str, page: Page) -> None:
    alert = alert_about(own_fleet_url, BORN)
    open_page(page, own_fleet_url, f"/alerts/{alert['id']}")
    page.get_by_role("button", name="Accept as baseline").click()
    dialog = page.get_by_role("dialog", name="Accept as the new baseline")
    expect(dialog).to_contain_text("This cannot be undone.")
    dialog.get_by_label("Your name").fill("Ada")
    dialog.get_by_role("button", name="Accept as baseline").click()
    expect(page.locator("#badge")).to_contain_text("Accepted")
    expect(page.locator("#events")).to_contain_text("Accepted by Ada")
    expect(page.locator("#accept")).not_to_be_visible()
    assert alert_about(own_fleet_url, BORN)["state"] == "accepted"
    expect(page.locator(".nav .count")).to_have_text("1")


def test_an_unknown_alert_and_a_server_without_rules_say_so(
    page: Page, quiet: Quiet, fleet_url: str, empty_url: str
) -> None:
    quiet.expected = ("status of 400",)
    open_page(page, fleet_url, "/alerts/0123456789abcdef-1")
    expect(page.locator("#alert-state h3")).not_to_be_empty()
    expect(page.locator("#alert-part")).not_to_be_visible()
    open_page(page, empty_url, "/alerts")
    expect(page.locator("#say")).to_have_text("No alerts are judged: this server has no rules.")
    expect(page.get_by_role("button", name="New silence")).not_to_be_visible()
    open_page(page, empty_url, "/alerts/0123456789abcdef-1")
    expect(page.locator("#alert-state")).to_contain_text("This server judges no alerts.")


def test_phones_need_no_sideways_scroll(browser: Browser, quiet: Quiet, fleet_url: str) -> None:
    check_phone(browser, quiet, f"{fleet_url}/alerts")
    for alert in ask(fleet_url, "alerts")["alerts"][1:]:
        check_phone(browser, quiet, f"{fleet_url}/alerts/{alert['id']}")
    quiet.check()
