"""What the Compare page does when it is used: swapping, selecting, zooming, by mouse and keyboard."""

from playwright.sync_api import Page, expect

from tests.ui.conftest import Quiet, flame, loads, open_page, place_of, wait_for_load
from tests.ui.fleet import NEW, OLD, SLOWER
from tests.ui.test_compare_shows import address

SELECTED = "({tree, graph}) => tree.frames.name[tree.frame[graph.selected]]"
MOVERS = (
    "() => Object.fromEntries(window.fleetprofTest.answer().movers.map((m) => [m.name, [m.self, m.total]]))"
)


def test_swapping_flips_every_sign_and_keeps_every_size(page: Page, fleet_url: str) -> None:
    open_page(page, fleet_url, address())
    before = page.evaluate(MOVERS)
    first = page.locator("#movers tr").first.locator("td").nth(3).inner_text()
    page.keyboard.press("x")
    wait_for_load(page, 2)
    after = page.evaluate(MOVERS)
    assert before.keys() == after.keys()
    for name, effects in before.items():
        for there, back in zip(effects, after[name], strict=True):
            assert (there["a"], there["b"]) == (back["b"], back["a"])
            assert there["delta"] == -back["delta"]
            if there["low"] is not None:
                assert (there["low"], there["high"]) == (-back["high"], -back["low"])
    assert page.locator("#movers tr").first.locator("td").nth(3).inner_text() == first.replace("+", "−")
    expect(page.locator("#a-selector-field")).to_contain_text(NEW)
    expect(page.locator("#b-selector-field")).to_contain_text(OLD)
    page.go_back()
    wait_for_load(page, 3)
    expect(page.locator("#a-selector-field")).to_contain_text(OLD)


def test_click_on_a_mover_selects_it_in_the_graph_and_back(page: Page, fleet_url: str) -> None:
    open_page(page, fleet_url, address())
    page.locator("#movers tr").first.click()
    assert flame(page, SELECTED) == SLOWER
    details = page.locator("#details")
    expect(details).to_contain_text(SLOWER)
    expect(details).to_contain_text("Function, everywhere")
    assert "frame=" in page.url
    place = place_of(page, "re.match")
    page.mouse.click(place["x"], place["y"])
    expect(page.locator('#movers tr[aria-selected="true"]')).to_have_count(1)
    expect(page.locator('#movers tr[aria-selected="true"]')).to_contain_text("re.match")
    assert loads(page) == 1, "selecting asks nothing"


def test_rows_work_by_keyboard(page: Page, fleet_url: str) -> None:
    open_page(page, fleet_url, address())
    page.locator("#movers tr").first.focus()
    page.keyboard.press("ArrowDown")
    name = page.evaluate("() => document.activeElement.dataset.name")
    page.keyboard.press("Enter")
    assert flame(page, SELECTED) == name


def test_double_click_zooms_and_the_zoomed_link_opens_alike(page: Page, fleet_url: str) -> None:
    open_page(page, fleet_url, address())
    place = place_of(page, "place_order")
    page.mouse.dblclick(place["x"], place["y"])
    page.wait_for_url("**root=*")
    focus = "({tree, graph}) => tree.frames.name[tree.frame[graph.focus]]"
    assert flame(page, focus) == "place_order"
    total = "({tree, graph}) => [tree.a[graph.focus], tree.b[graph.focus]]"
    values = flame(page, total)
    link = page.url
    page.goto("about:blank")
    page.goto(link)
    wait_for_load(page, 1)
    assert flame(page, focus) == "place_order"
    assert flame(page, total) == values
    page.keyboard.press("Escape")
    page.wait_for_function("() => window.fleetprofTest.panel.graph.focus === 0")


def test_cores_per_host_are_another_unit_of_the_same_change(page: Page, fleet_url: str) -> None:
    open_page(page, fleet_url, address())
    in_cores = page.locator("#movers tr", has_text=SLOWER).locator("td").nth(6).inner_text()
    page.get_by_role("button", name="Cores/host").click()
    wait_for_load(page, 2)
    assert "unit=cores_per_host" in page.url
    row = page.locator("#movers tr", has_text=SLOWER).locator("td")
    assert row.nth(3).inner_text() == f"{in_cores}\u2009cores"
    expect(page.locator("#unit-head")).to_have_text("Share")
    assert flame(page, "panel => panel.tree.a[0]") == page.evaluate(
        "() => window.fleetprofTest.answer().a.total"
    )


def test_total_counts_what_a_function_calls(page: Page, fleet_url: str) -> None:
    open_page(page, fleet_url, address())
    expect(page.locator("#movers tr.changed")).to_have_count(3)
    assert "render_cart" not in page.locator("#movers").inner_text()
    page.locator("#of").get_by_role("button", name="Total").click()
    assert "of=total" in page.url
    expect(page.locator("#movers tr.changed", has_text="render_cart")).to_have_count(1)
    assert loads(page) == 1


def test_callers_and_noise_are_shown_on_demand(page: Page, fleet_url: str) -> None:
    open_page(page, fleet_url, address())
    assert page.locator("#movers tr.noise").count() == 3
    assert page.locator("#movers tr.other").count() == 0
    page.locator("#show-other").click()
    expect(page.locator("#movers tr.other", has_text="render_cart")).to_contain_text("In what it calls")
    page.locator("#show-noise").click()
    answer = page.evaluate("() => window.fleetprofTest.answer()")
    assert page.locator("#movers tr").count() == answer["functions"]
    groups = page.locator("#movers tr").evaluate_all("rows => rows.map((row) => row.className)")
    order = ["changed", "other", "noise"]
    assert groups == sorted(groups, key=order.index), "what did not change stands below"
    page.locator("#show-noise").click()
    assert page.locator("#movers tr.noise").count() == 3


def test_search_dims_the_graph_and_filters_the_rows(page: Page, fleet_url: str) -> None:
    open_page(page, fleet_url, address())
    page.keyboard.press("/")
    page.keyboard.type("json")
    expect(page.locator("#search-result")).to_contain_text("·")
    names = page.locator("#movers tr").evaluate_all("rows => rows.map((row) => row.dataset.name)")
    assert names
    assert all("json" in name.lower() for name in names)
    assert "search=json" in page.url
    page.keyboard.press("Escape")
    expect(page.locator("#movers tr").first).to_contain_text(SLOWER)


def test_sorting_keeps_noise_below(page: Page, fleet_url: str) -> None:
    open_page(page, fleet_url, address(noise="noise"))
    page.locator("#movers-table").get_by_role("button", name="Function").click()
    rows = page.locator("#movers tr").evaluate_all(
        "rows => rows.map((row) => [row.className, row.dataset.name])"
    )
    for group in ("changed", "noise"):
        names = [name for kind, name in rows if kind == group]
        assert names == sorted(names), group
    assert rows[0][0] == "changed"


def test_a_new_selector_asks_again_and_forgets_the_zoom(page: Page, fleet_url: str) -> None:
    open_page(page, fleet_url, address(root="Thread._bootstrap_inner"))
    page.keyboard.press("s")
    page.locator("#b-selector").fill('host="shop-02"')
    page.keyboard.press("Escape")
    page.locator("#b-selector").press("Enter")
    wait_for_load(page, 2)
    assert "root=" not in page.url
    expect(page.locator("#b-meta")).to_contain_text("1 host")


def test_files_hold_both_sides(page: Page, fleet_url: str) -> None:
    open_page(page, fleet_url, address())
    page.locator("#export").click()
    with page.expect_download() as caught:
        page.get_by_role("menuitem", name="Folded stacks").click()
    lines = caught.value.path().read_text().splitlines()
    totals = [sum(int(line.rsplit(" ", 2)[place]) for line in lines) for place in (1, 2)]
    assert totals == page.evaluate(
        "() => [window.fleetprofTest.answer().a.total, window.fleetprofTest.answer().b.total]"
    )


def test_a_theme_change_paints_the_difference_again(page: Page, quiet: Quiet, fleet_url: str) -> None:
    quiet.expected = ("willReadFrequently",)
    open_page(page, fleet_url, address())
    pixel = """panel => {
      const {canvas, ratio} = panel.graph;
      return [...canvas.getContext('2d').getImageData(300 * ratio, 3 * ratio, 1, 1).data];
    }"""
    light = flame(page, pixel)
    page.keyboard.press("t")
    assert flame(page, pixel) != light
