"""What the Explore page does when it is used: by mouse, by keyboard, with the browser's Back."""

import re

from playwright.sync_api import Page, Route, expect

from tests.ui.conftest import flame, loads, open_explore, place_of, wait_for_load
from tests.ui.shop import NOW_S

NAME_OF_FOCUS = "({tree, graph}) => tree.frames.name[tree.frame[graph.focus]]"
NAME_OF_SELECTED = "({tree, graph}) => tree.frames.name[tree.frame[graph.selected]]"
CHECKOUT = '?query=service%3D"checkout"'


def test_click_selects_without_moving_anything(page: Page, shop_url: str) -> None:
    open_explore(page, shop_url, CHECKOUT)
    before = page.locator("#flame").bounding_box()
    place = place_of(page, "dumps")
    page.mouse.click(place["x"], place["y"])
    details = page.locator("#details")
    expect(details).to_contain_text("dumps")
    expect(details).to_contain_text("Python · dumps.py:17 · /usr/lib/python3.11")
    share = flame(page, "(panel, node) => panel.tree.total[node] / panel.tree.whole * 100", place["node"])
    expect(details).to_contain_text(f"{share:.2f}\u2009%")
    assert "frame=" in page.url
    assert "root=" not in page.url
    assert flame(page, "panel => panel.graph.selected") == place["node"]
    after = page.locator("#flame").bounding_box()
    assert before
    assert after
    assert before["width"] == after["width"]
    assert before["height"] == after["height"]


def test_double_click_zooms_and_back_undoes_it(page: Page, shop_url: str) -> None:
    open_explore(page, shop_url, CHECKOUT)
    place = place_of(page, "place_order")
    page.mouse.dblclick(place["x"], place["y"])
    page.wait_for_url("**root=*")
    box = flame(page, "panel => ({...panel.graph.box(panel.graph.focus), width: panel.graph.width})")
    assert box["left"] == 0
    assert abs(box["right"] - box["width"]) < 1
    assert flame(page, NAME_OF_FOCUS) == "place_order"
    expect(page.locator("#path li").last).to_have_text("place_order")
    expect(page.locator("#reset")).to_be_enabled()
    page.go_back()
    page.wait_for_function("() => window.fleetprofTest.panel.graph.focus === 0")
    assert "root=" not in page.url
    expect(page.locator("#reset")).to_be_disabled()
    assert loads(page) == 1, "a zoom does not load the page's data again"


def test_zoomed_link_opens_zoomed(page: Page, shop_url: str) -> None:
    open_explore(page, shop_url, CHECKOUT)
    place = place_of(page, "render_cart")
    page.mouse.dblclick(place["x"], place["y"])
    page.wait_for_url("**root=*")
    link = page.url
    page.goto("about:blank")
    page.goto(link)
    wait_for_load(page, 1)
    assert flame(page, NAME_OF_FOCUS) == "render_cart"


def test_click_on_a_faded_ancestor_zooms_out(page: Page, shop_url: str) -> None:
    open_explore(page, shop_url, CHECKOUT)
    place = place_of(page, "place_order")
    page.mouse.dblclick(place["x"], place["y"])
    page.wait_for_url("**root=*")
    ancestor = place_of(page, "Flask.wsgi_app")
    page.mouse.click(ancestor["x"], ancestor["y"])
    expect(page.locator("#path li").last).to_have_text("Flask.wsgi_app")
    assert flame(page, NAME_OF_FOCUS) == "Flask.wsgi_app"


def test_zoom_loads_what_was_merged_and_keeps_every_total(page: Page, shop_url: str) -> None:
    """With a coarse server threshold the whole tree has (pruned) nodes; zooming shows what they were."""
    page.route(
        re.compile(r"/api/v1/profile\?(?!.*root=)"),
        lambda route: route.continue_(url=re.sub(r"min_share=[^&]+", "min_share=0.12", route.request.url)),
    )
    open_explore(page, shop_url, CHECKOUT)
    merged = "panel => panel.tree.frames.kind.includes('pruned')"
    assert flame(page, merged)
    place = place_of(page, "place_order")
    total = flame(page, "(panel, node) => panel.tree.total[node]", place["node"])
    nodes = flame(page, "panel => panel.tree.n")
    page.mouse.dblclick(place["x"], place["y"])
    page.wait_for_function(f"() => !({merged})(window.fleetprofTest.panel)")
    focus = flame(
        page,
        "({tree, graph}) => ({total: tree.total[graph.focus], root: tree.total[0], whole: tree.whole})",
    )
    assert focus["total"] == total
    assert focus["root"] == focus["whole"], "an ancestor keeps its own total"
    page.go_back()
    page.wait_for_function(f"() => window.fleetprofTest.panel.tree.n === {nodes}")


def test_search_dims_counts_filters_and_steps(page: Page, shop_url: str) -> None:
    open_explore(page, shop_url, CHECKOUT)
    page.keyboard.press("/")
    page.keyboard.type("JSON")
    expected = flame(
        page,
        """panel => {
          const {tree} = panel;
          const hit = i => i > 0 && tree.frames.name[tree.frame[i]].toLowerCase().includes('json');
          let frames = 0, sum = 0;
          for (let i = 1; i < tree.n; i++) {
            if (!hit(i)) continue;
            frames += 1;
            let above = tree.parent[i];
            while (above > 0 && !hit(above)) above = tree.parent[above];
            if (above <= 0) sum += tree.total[i];
          }
          return {frames, share: sum / tree.whole * 100};
        }""",
    )
    expect(page.locator("#search-result")).to_have_text(
        f"{expected['frames']} · {expected['share']:.1f}\u2009%"
    )
    assert "search=JSON" in page.url
    names = page.locator("#top .function b").all_inner_texts()
    assert names
    assert all("json" in name.lower() for name in names)
    place = place_of(page, "Flask.wsgi_app")
    grey = page.evaluate(
        "([x, y]) => { const c = document.getElementById('flame'); const b = c.getBoundingClientRect();"
        " return [...c.getContext('2d').getImageData(b.width - 300, y - b.top - 6, 1, 1).data]; }",
        [place["x"], place["y"]],
    )
    assert max(grey[:3]) - min(grey[:3]) < 8, "frames that do not match are grey"
    page.keyboard.press("Enter")
    first = flame(page, "panel => panel.graph.selected")
    page.locator("#flame").focus()
    page.keyboard.press("n")
    second = flame(page, "panel => panel.graph.selected")
    page.keyboard.press("p")
    assert first >= 0
    assert second > first
    assert flame(page, "panel => panel.graph.selected") == first
    page.keyboard.press("Escape")
    expect(page.locator("#search")).to_have_value("")


def test_keyboard_alone_walks_selects_zooms_and_resets(page: Page, shop_url: str) -> None:
    open_explore(page, shop_url, CHECKOUT)
    page.locator("#flame").focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowDown"):
        page.keyboard.press(key)
    assert flame(page, NAME_OF_SELECTED) == "_worker"
    page.keyboard.press("ArrowRight")
    assert flame(page, NAME_OF_SELECTED) != "_worker"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowDown")
    assert flame(page, NAME_OF_SELECTED) == "ThreadWorker.handle"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    page.wait_for_url("**root=*")
    expect(page.locator("#details")).to_contain_text("_worker")
    page.keyboard.press("Escape")
    page.wait_for_function("() => window.fleetprofTest.panel.graph.focus === 0")


def test_row_of_the_table_selects_its_heaviest_frame(page: Page, shop_url: str) -> None:
    open_explore(page, shop_url, CHECKOUT)
    row = page.locator("#top tr", has_text="sre_ucs1_match")
    row.click()
    assert flame(page, NAME_OF_SELECTED) == "sre_ucs1_match"
    expect(row).to_have_attribute("aria-selected", "true")


def test_drag_on_the_series_offers_a_zoom(page: Page, shop_url: str) -> None:
    open_explore(page, shop_url)
    start, end = NOW_S - 600, NOW_S - 300
    spots = [page.evaluate("s => window.fleetprofTest.chart.positionOf(s)", s) for s in (start, end)]
    page.mouse.move(spots[0]["x"], spots[0]["y"])
    page.mouse.down()
    page.mouse.move(spots[1]["x"], spots[1]["y"], steps=4)
    page.mouse.up()
    assert "from=" not in page.url, "it does not jump at once"
    page.locator(".brush").get_by_text("Zoom").click()
    wait_for_load(page, 2)
    found = re.search(r"from=(\d+)&to=(\d+)", page.url)
    assert found
    assert abs(int(found[1]) - start) < 15
    assert abs(int(found[2]) - end) < 15
    page.go_back()
    wait_for_load(page, 3)
    expect(page.locator("#range-title")).to_have_text("Last 15 minutes")


def test_completion_leads_to_a_selector(page: Page, shop_url: str) -> None:
    open_explore(page, shop_url)
    page.keyboard.press("s")
    page.keyboard.type("serv")
    expect(page.locator("#completion .option")).to_have_text(["service"])
    page.keyboard.press("Enter")
    expect(page.locator("#completion .option")).to_have_text(
        ['"checkout"', '"gateway"', '"postgres"', '"storefront"']
    )
    page.keyboard.type('"ga')
    expect(page.locator("#completion .option")).to_have_text(['"gateway"'])
    page.keyboard.press("Enter")
    wait_for_load(page, 2)
    expect(page.locator(".matcher")).to_have_text(['service="gateway"'])
    assert flame(page, "panel => panel.tree.frames.name.includes('Envoy::MainCommon::run')")
    page.locator("#selector").press("Backspace")
    expect(page.locator("#selector")).to_have_value('service="gateway"')


def test_completion_goes_on_while_somebody_types_and_answers_are_slow(page: Page, shop_url: str) -> None:
    page.add_init_script(
        """const fetched = window.fetch;
        window.fetch = (url, options) => !String(url).includes('/complete') ? fetched(url, options)
          : new Promise((answer, fail) => {
              const late = setTimeout(() => answer(fetched(url, options)), 300);
              options.signal.addEventListener('abort', () => {
                clearTimeout(late);
                fail(new DOMException('dropped', 'AbortError'));
              });
            });"""
    )
    open_explore(page, shop_url)
    page.keyboard.press("s")
    page.keyboard.type("serv", delay=120)  # a question a key, each dropped by the next
    expect(page.locator("#completion .option")).to_have_text(["service"])


def test_a_question_dropped_while_its_answer_arrives_is_no_failure(page: Page, shop_url: str) -> None:
    open_explore(page, shop_url)
    dropped = page.evaluate(
        """async () => {
          const page = document.querySelector('script[type=module]').src;
          const {ask, isDropped} = await import(page.replace('explore.js', 'api.js'));
          const json = () => Promise.reject(new DOMException('', 'AbortError'));
          window.fetch = async () => ({status: 200, ok: true, json});
          return ask('labels', {}).then(() => null, isDropped);
        }"""
    )
    assert dropped is True


def test_range_menu_and_shift(page: Page, shop_url: str) -> None:
    open_explore(page, shop_url)
    page.keyboard.press("r")
    page.locator("#range-menu").get_by_text("Last 5 minutes").click()
    wait_for_load(page, 2)
    page.keyboard.press("[")
    wait_for_load(page, 3)
    assert f"from={NOW_S - 600}&to={NOW_S - 300}" in page.url  # whole windows, so a link stays exact
    page.locator("#range").click()
    page.get_by_label("From").fill("2026-11-19 08:55")
    page.get_by_label("To", exact=True).fill("2026-11-19 08:50")
    page.get_by_role("button", name="Apply").click()
    expect(page.locator("#range-menu")).to_contain_text("ends before it starts")


def test_late_answer_to_an_old_question_is_dropped(page: Page, shop_url: str) -> None:
    open_explore(page, shop_url)
    held: list[Route] = []
    page.route(re.compile(r"/api/v1/profile.*storefront"), lambda route: held.append(route))
    page.evaluate("history.replaceState(null, '', '?query=service%3D%22storefront%22')")
    page.evaluate("dispatchEvent(new PopStateEvent('popstate'))")
    page.wait_for_function("() => document.getElementById('split').classList.contains('stale')")
    page.evaluate("history.replaceState(null, '', '?query=service%3D%22gateway%22')")
    page.evaluate("dispatchEvent(new PopStateEvent('popstate'))")
    expect(page.locator("#kinds")).not_to_contain_text("JIT")
    for route in held:
        route.continue_()
    page.locator("#reload").click()
    expect(page.locator("#split")).not_to_have_class(re.compile("stale"))
    names = flame(page, "panel => panel.tree.frames.name")
    assert "Envoy::MainCommon::run" in names
    assert "handleRender" not in names


def test_hover_tells_what_a_frame_is(page: Page, shop_url: str) -> None:
    open_explore(page, shop_url, CHECKOUT)
    place = place_of(page, "PaymentClient.charge")
    page.mouse.move(place["x"], place["y"])
    expect(page.get_by_role("tooltip")).to_contain_text("PaymentClient.charge")
    page.mouse.move(5, 5)
    expect(page.get_by_role("tooltip")).to_be_hidden()


def test_downloads_are_the_formats_of_other_tools(page: Page, shop_url: str) -> None:
    open_explore(page, shop_url, CHECKOUT)
    page.locator("#export").click()
    with page.expect_download() as started:
        page.locator("#export-menu").get_by_text("Folded stacks").click()
    text = started.value.path().read_text()
    assert started.value.suggested_filename.endswith(".folded")
    total = sum(int(line.rsplit(" ", 1)[1]) for line in text.splitlines())
    assert total == flame(page, "panel => panel.tree.whole")


def test_views_and_key_list(page: Page, shop_url: str) -> None:
    open_explore(page, shop_url)
    page.locator("#view").get_by_text("Table").click()
    expect(page.locator("#flame")).to_be_hidden()
    page.locator("#view").get_by_text("Graph").click()
    expect(page.locator("#top")).to_be_hidden()
    expect(page.locator("#flame")).to_be_visible()
    page.keyboard.press("?")
    expect(page.locator("#help")).to_contain_text("Search frames")
    page.keyboard.press("Escape")
    expect(page.locator("#help")).to_be_hidden()
