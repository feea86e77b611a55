"""The Source page: from the flame graph to a function's lines, with their heat, text and what is missing."""

from playwright.sync_api import Browser, Page, expect

from tests.ui.conftest import Quiet, ask, check_phone, open_explore, open_page, wait_for_load
from tests.ui.listed import LINES, NEW, OLD, TEXT_LINES

QUERY = 'service="till"'
ADDRESS = "/source?query=service%3D%22till%22&function=total"


def marked(page: Page) -> str:
    return page.locator("#line-rows tr[aria-current] td.line").inner_text()


def in_view(page: Page) -> bool:
    """Whether the marked line lies inside of the table's box."""
    return bool(
        page.evaluate(
            """() => {
              const row = document.querySelector('#line-rows tr[aria-current]').getBoundingClientRect();
              const box = document.getElementById('lines-part').getBoundingClientRect();
              return row.top >= box.top && row.bottom <= Math.min(box.bottom, innerHeight);
            }"""
        )
    )


def test_a_functions_lines_open_from_its_details(page: Page, listed_url: str) -> None:
    """At the hottest one, with the API's figures; keys and links go from line to line, the address keeps them."""
    open_explore(page, listed_url, "?query=service%3D%22till%22")
    page.locator("#top tr", has_text="total").first.click()
    page.locator("#details").get_by_role("button", name="Source").click()
    wait_for_load(page, 1)
    assert "/source?" in page.url
    expect(page.get_by_role("heading", name="total")).to_have_count(1)
    answer = ask(listed_url, "source", query=QUERY, function="total", **{"from": "now-15m"})
    assert (answer["hottest"], answer["build_id"], answer["unplaced"] > 0) == (147, NEW, True)
    own = answer["own"]
    assert own == sum(line["value"] for line in answer["lines"]) + answer["unplaced"]
    expect(page.locator("#headline")).to_contain_text(
        f"{100 * LINES[NEW][147][0] / 100:.1f}\u2009% on line 147"
    )
    assert marked(page) == "147"
    assert in_view(page)
    hot = page.locator("#L147")
    expect(hot).to_have_class("heat-4")
    expect(hot.locator("td.code")).to_have_text("        sum += cart->items[i].price;")
    expect(hot.locator("td.value").nth(1)).to_have_text("50.00\u2009%")
    expect(page.locator("#L160 .inlined")).to_have_text("round_up inlined, 9.0\u2009%")
    expect(page.locator("#L140 td.code")).to_contain_text("<b>not bold</b>")
    expect(page.locator("#L148")).to_have_class("quiet")
    assert page.locator("#line-rows tr").count() == len(answer["lines"])
    page.keyboard.press("n")
    assert marked(page) == "152"
    page.keyboard.press("p")
    page.keyboard.press("p")
    assert marked(page) == "230"
    assert in_view(page)
    page.locator("#L161 td.line a").click()
    assert "line=161" in page.url
    page.reload()
    wait_for_load(page, 1)
    assert marked(page) == "161"
    page.keyboard.press("h")
    assert marked(page) == "147"


def test_each_build_has_its_own_lines(page: Page, listed_url: str) -> None:
    """A line beyond the text's end is listed without any."""
    open_page(page, listed_url, ADDRESS)
    page.locator("#build").click()
    page.get_by_role("menuitemradio", name=OLD[:12]).click()
    wait_for_load(page, 2)
    assert OLD in page.url
    assert marked(page) == "146"
    assert max(LINES[OLD]) > TEXT_LINES
    expect(page.locator("#L400 td.code")).to_have_text("no text")
    expect(page.locator("#line-rows tr.gap")).to_have_count(1)
    page.go_back()
    wait_for_load(page, 3)
    assert marked(page) == "147"


def test_what_is_missing_is_said_with_what_to_do(
    page: Page, listed_url: str, shop_url: str, quiet: Quiet
) -> None:
    open_page(page, listed_url, "/source?function=scan")
    notices = page.locator("#source-notices")
    expect(notices).to_contain_text("Set source_lines = 200 in agent.toml")
    expect(page.locator("#lines-part")).to_be_hidden()
    rows = ask(shop_url, "top", limit="500")["rows"]
    python = next(row for row in rows if row["kind"] == "python" and row["self"] and row["location"])
    open_page(page, shop_url, f"/source?function={python['name']}")
    expect(notices).to_contain_text("Lines of Python functions are not measured")
    expect(notices.locator("code").first).to_contain_text(
        "fleetprof-collector sources upload FILE.zip --service"
    )
    quiet.expected = ("400",)
    open_page(page, listed_url, "/source?function=nothing")
    expect(page.locator("#source-state")).to_contain_text('No function is called "nothing"')


def test_the_page_on_a_phone(browser: Browser, quiet: Quiet, listed_url: str) -> None:
    check_phone(browser, quiet, listed_url + ADDRESS)
