"""A full disk and dropped days are said above every page, in both themes, and in the terminal."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from query_ui import cli
from tests.ui.conftest import Quiet, ask, check_phone, open_page, serving


@pytest.fixture(scope="module")
def full_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("full"), "full") as url:
        yield url


@pytest.mark.parametrize("address", ["/", "/compare", "/alerts", "/hosts"])
def test_every_page_says_it(page: Page, full_url: str, address: str) -> None:
    page.goto(full_url + address)
    notices = page.locator("#notices .banner")
    expect(notices).to_have_count(2)
    expect(page.get_by_role("alert").filter(has_text="No windows are taken")).to_be_visible()
    expect(notices.nth(1)).to_contain_text("2026-03-02 and 2026-03-03 were dropped for want of room")
    said = [f"{each['title']} {each['text']}" for each in ask(full_url, "status")["notices"]]
    assert notices.all_inner_texts() == said


def test_nothing_is_said_while_all_is_well(page: Page, empty_url: str) -> None:
    with page.expect_response("**/api/v1/status"):
        open_page(page, empty_url, "/hosts")
    expect(page.locator("#notices")).to_be_hidden()


def test_it_fits_a_phone(browser: Browser, full_url: str, quiet: Quiet) -> None:
    check_phone(browser, quiet, f"{full_url}/hosts")


def test_the_terminal_says_it(full_url: str, empty_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["status", "--server", full_url]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("critical: No windows are taken")
    assert said[2] == "Disk: 700 MiB of 100 GiB free, 2 GiB are kept free."
    assert said[3].startswith("Dropped for want of room: 2026-03-02, on ")
    assert cli.run(["hosts", "--server", full_url]) == 0
    assert capsys.readouterr().out.startswith("critical: No windows are taken")
    assert cli.run(["status", "--server", empty_url]) == 0
    assert "ClickHouse server" in capsys.readouterr().out
