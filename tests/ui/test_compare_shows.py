"""What the Compare page shows: the API's figures, the rows' own; both directions; what is refused."""

import re
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.store.generate import Rows
from tests.ui.conftest import Quiet, ask, check_phone, flame, open_page, wait_for_load
from tests.ui.fleet import BORN, GONE, NEW, OLD, RELEASE_S, SLOWER, make_fleet
from tests.ui.shop import NOW_S

A = f'service="checkout",version="{OLD}"'
B = f'service="checkout",version="{NEW}"'
SIDES = {"a_query": A, "a_from": str(RELEASE_S), "b_query": B, "b_from": str(RELEASE_S)}
RANGE = {"a_to": str(NOW_S), "b_to": str(NOW_S)}


def address(**more: str) -> str:
    """The page with both releases side by side."""
    return "/compare?" + "&".join(f"{name}={value}" for name, value in (SIDES | RANGE | more).items())


def sums(rows: Rows, version: str) -> tuple[int, dict[str, int]]:
    """(all nanoseconds, those of each function itself) of a version since the release."""
    of_version = np.array([label["version"] == version for label in rows.labels])
    chosen = of_version[rows.series] & (rows.ts >= RELEASE_S)
    found: dict[str, int] = {}
    values = zip(rows.stack[chosen].tolist(), rows.value[chosen].tolist(), strict=True)
    for stack, value in values:
        name = rows.frames[rows.stacks[stack][0]].function
        found[name] = found.get(name, 0) + value
    return int(rows.value[chosen].sum()), found


def test_totals_are_those_of_both_profiles_to_the_last_unit(page: Page, fleet_url: str) -> None:
    rows = make_fleet()
    open_page(page, fleet_url, address())
    answer = page.evaluate("() => window.fleetprofTest.answer()")
    for side, version, query in (("a", OLD, A), ("b", NEW, B)):
        whole, _ = sums(rows, version)
        profile = ask(fleet_url, "profile", query=query, **{"from": str(RELEASE_S), "to": str(NOW_S)})
        assert profile["flame"]["whole"] == whole
        assert answer[side]["total"] == whole
        for view, width in (("diff", "both"), ("diff", "a"), ("diff", "b"), ("a", "both"), ("b", "both")):
            page.evaluate(f"() => document.querySelector('#view [value={view}]').click()")
            page.evaluate(f"() => document.querySelector('#width [value={width}]').click()")
            held = width if view == "diff" else view
            if held in ("both", side):
                assert flame(page, f"panel => panel.tree.{side}[0]") == whole
                own = flame(page, f"panel => panel.tree.self{side.upper()}.reduce((sum, v) => sum + v, 0)")
                assert own == whole


def test_first_mover_is_the_slower_function_with_the_rows_shares(page: Page, fleet_url: str) -> None:
    rows = make_fleet()
    shares = {}
    for side, version in (("a", OLD), ("b", NEW)):
        whole, by_function = sums(rows, version)
        shares[side] = by_function[SLOWER] / whole
    open_page(page, fleet_url, address())
    cells = page.locator("#movers tr").first.locator("td").all_inner_texts()
    assert cells[0].startswith(SLOWER)
    assert cells[1] == f"{100 * shares['a']:.2f}\u2009%"
    assert cells[2] == f"{100 * shares['b']:.2f}\u2009%"
    delta = 100 * (shares["b"] - shares["a"])
    assert cells[3] == f"+{delta:.2f}\u2009pp"
    label = page.locator("#movers tr").first.locator("svg.interval").get_attribute("aria-label") or ""
    low, high = (float(text) for text in re.findall(r"interval \+([\d.]+) to \+([\d.]+)", label)[0])
    assert low < delta < high


def test_rows_and_sentence_are_the_api_s(page: Page, fleet_url: str) -> None:
    answer = ask(fleet_url, "diff", **SIDES, **RANGE)
    open_page(page, fleet_url, address())
    assert page.locator("#say").inner_text().replace("\N{NO-BREAK SPACE}", " ") == answer["verdict"]
    hint = page.locator("#visible").inner_text().replace("\N{NO-BREAK SPACE}", " ")
    assert hint == f"{answer['method']['sentence']} {answer['visible']}"
    changed = [mover for mover in answer["movers"] if mover["self"]["significant"]]
    shown = page.locator("#movers tr.changed").evaluate_all("rows => rows.map((row) => row.dataset.name)")
    assert set(shown) == {mover["name"] for mover in changed}
    assert f"{answer['a']['hosts']} hosts" in page.locator("#a-meta").inner_text()
    assert f"{answer['b']['hosts']} hosts" in page.locator("#b-meta").inner_text()
    assert page.locator("#show-noise").inner_text() == f"Show {answer['noise']} within noise"


def names_in_graph(page: Page) -> set[str]:
    return set(flame(page, "({tree}) => [...tree.frame].map((frame) => tree.frames.name[frame])"))


def test_vanished_and_new_frames_are_shown_where_they_were(page: Page, fleet_url: str) -> None:
    open_page(page, fleet_url, address())
    assert {GONE, BORN} <= names_in_graph(page)
    page.get_by_role("button", name="A → B").click()
    assert GONE in names_in_graph(page)
    assert BORN not in names_in_graph(page)
    page.get_by_role("button", name="B → A").click()
    assert BORN in names_in_graph(page)
    assert GONE not in names_in_graph(page)
    expect(page.locator("#movers tr", has_text=GONE)).to_contain_text("Gone")
    expect(page.locator("#movers tr", has_text=BORN)).to_contain_text("New")


def test_colours_say_gone_new_more_and_no_change(page: Page, fleet_url: str) -> None:
    open_page(page, fleet_url, address())
    steps: dict[str, int] = flame(
        page,
        """({tree}) => Object.fromEntries(Array.from({length: tree.n}, (_, node) =>
          [tree.frames.name[tree.frame[node]], tree.marks.step(tree, node)]))""",
    )
    assert (steps[GONE], steps[BORN]) == (0, 8)
    assert steps[SLOWER] > 5
    assert steps["ip_queue_xmit"] == 4, "only its share shrank, because another function grew"


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"a_query": 'service="chekout"'}, "Did you mean checkout?"),
        ({"a_query": B}, "A and B are the same selection of the same time."),
        ({"a_query": "service=="}, "Selector"),
        ({"b_query": 'version="9"'}, "B has nothing to compare"),
    ],
)
def test_what_cannot_be_compared_is_told_with_other_comparisons(
    page: Page, quiet: Quiet, fleet_url: str, query: dict[str, str], words: str
) -> None:
    quiet.expected = ("status of 400",)
    open_page(page, fleet_url, address(**query))
    expect(page.locator("#say")).to_contain_text(words)
    expect(page.locator("#movers-table")).not_to_be_visible()
    expect(page.locator("#flame")).not_to_be_visible()
    expect(page.locator("#result-state .option").first).to_contain_text(f"checkout {OLD} → {NEW}")


def test_without_selections_releases_are_offered_first(page: Page, fleet_url: str) -> None:
    open_page(page, fleet_url, "/compare")
    first = page.locator("#result-state .option").first
    expect(first).to_contain_text(f"checkout {OLD} → {NEW}")
    expect(first).to_contain_text("since 09:20 UTC, 50\u2009% of hosts")
    first.click()
    page.wait_for_url("**/compare?*b_query=*")
    wait_for_load(page, 1)
    expect(page.locator("#movers tr").first).to_contain_text(SLOWER)
    expect(page.locator("#visible")).to_contain_text("12 against 12 hosts")


def test_an_empty_store_offers_times(page: Page, empty_url: str) -> None:
    open_page(page, empty_url, "/compare")
    expect(page.locator("#result-state")).to_contain_text("No release was seen in the last 24 hours.")
    assert page.locator("#result-state .option").count() == 2


def test_explore_leads_here_with_the_time_before(page: Page, fleet_url: str) -> None:
    open_page(page, fleet_url, '/?query=service="checkout"&from=now-10m')
    marks = page.evaluate("() => window.fleetprofTest.chart.marks")
    page.wait_for_function("() => window.fleetprofTest.chart.marks.length > 0")
    marks = page.evaluate("() => window.fleetprofTest.chart.marks")
    assert [mark["kind"] for mark in marks] == ["alert"]
    page.keyboard.press("v")
    page.wait_for_url("**/compare?*")
    wait_for_load(page, 1)
    ranges = {name: answer_range(page, name) for name in "ab"}
    assert ranges == {"a": [NOW_S - 1200, NOW_S - 600], "b": [NOW_S - 600, NOW_S]}


def answer_range(page: Page, side: str) -> Any:
    return page.evaluate(
        "side => Object.values(window.fleetprofTest.answer()[side].range)",
        side,
    )


def test_releases_are_diamonds_on_explore(page: Page, fleet_url: str) -> None:
    open_page(page, fleet_url, '/?query=service="checkout"&from=now-40m')
    page.wait_for_function("() => window.fleetprofTest.chart.marks.length > 0")
    marks = page.evaluate("() => window.fleetprofTest.chart.marks")
    assert (marks[0]["kind"], marks[0]["label"], marks[0]["at"]) == ("release", NEW, RELEASE_S)


def test_phones_need_no_sideways_scroll(browser: Browser, quiet: Quiet, fleet_url: str) -> None:
    check_phone(browser, quiet, fleet_url + address())
    check_phone(browser, quiet, f"{fleet_url}/compare")
    quiet.check()
