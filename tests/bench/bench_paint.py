"""How long the flame graph takes in Chromium: 100 k and 500 k nodes through the real wire format and page.

Prints, as medians: the size of the answer, the browser's decoding and layout, the part of painting that the
script takes, and the time to the second frame after the call (about 33 ms at 60 Hz when painting is free).
"""

import gzip
import json
import statistics
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, sync_playwright

from collector.query.flame import build_flame, to_wire
from collector.query.model import Completeness, Profile, Query, TimeRange
from fleetprof.frames import Frame, FrameKind
from fleetprof.profile_types import selection
from query_ui.api.profiles import profile_json
from tests.ui.conftest import ARGUMENTS, CHROMIUM, serving

KINDS = (FrameKind.NATIVE, FrameKind.KERNEL, FrameKind.PYTHON, FrameKind.JVM, FrameKind.GO)
REPEATS = 5


def invented_profile(nodes: int) -> Profile:
    """A profile whose tree has about `nodes` nodes, 40 to 60 deep on average."""
    random = np.random.default_rng(3)
    names = max(nodes // 12, 10)
    frames = [
        Frame(KINDS[i % 5], f"namespace::Class{i % 97}::method_{i}", f"lib{i % 40}.so") for i in range(names)
    ]
    stacks: list[list[int]] = [[0]]
    count = 1
    while count < nodes:
        base = stacks[random.integers(len(stacks))]
        kept = base[: max(1, int(len(base) * random.beta(6, 1.2)))]
        grown = random.integers(0, names, random.integers(4, 24)).tolist()
        stack = (kept + grown)[:95]
        count += len(stack) - len(kept)
        stacks.append(stack)
    starts = np.concatenate([[0], np.cumsum([len(stack) for stack in stacks])])
    flat = np.concatenate([np.array(stack[::-1], np.int32) for stack in stacks])
    values = (random.pareto(1.3, len(stacks)) * 1e7).astype(np.uint64) + np.uint64(10_000_000)
    query = Query(selection("cpu"), (), TimeRange(1_700_000_000, 1_700_003_600))
    return Profile(query, frames, flat, starts, values, len(stacks), "10s", True, Completeness(1, 360, 360))


TIMED = """async (repeats) => {
  const page = document.querySelector('script[type=module]').src;
  const {decode} = await import(page.replace('explore.js', 'flame/wire.js'));
  const {layOut} = await import(page.replace('explore.js', 'flame/layout.js'));
  const {panel} = window.fleetprofTest;
  const frames = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  const text = await (await fetch('/api/v1/profile?from=now-15m')).text();
  const times = {parse: [], layout: [], draw: [], paint: [], zoom: [], search: []};
  for (let i = 0; i < repeats; i++) {
    let started = performance.now();
    const wire = JSON.parse(text).flame;
    times.parse.push(performance.now() - started);
    started = performance.now();
    const tree = layOut(decode(wire));
    times.layout.push(performance.now() - started);
    started = performance.now();
    panel.graph.setTree(tree);
    times.draw.push(panel.graph.lastDrawMs);
    await frames();
    times.paint.push(performance.now() - started);
    started = performance.now();
    let node = 1;
    while (tree.total[node] > tree.total[0] * 0.4 && node < tree.n - 1) node++;
    panel.graph.zoomTo(node, false);
    await frames();
    times.zoom.push(performance.now() - started);
    panel.graph.zoomTo(0, false);
    await frames();
    started = performance.now();
    panel.search('method_1');
    await frames();
    times.search.push(performance.now() - started);
    panel.search('');
  }
  return {times, nodes: panel.tree.n, levels: panel.tree.levels};
}"""


def measure(page: Page, url: str, nodes: int) -> None:
    profile = invented_profile(nodes)
    answer = profile_json(profile, 0.0, (), "")
    body = json.dumps(answer, separators=(",", ":"))
    assert len(to_wire(build_flame(profile, 0.0))["name"]) > nodes * 0.8
    page.route("**/api/v1/profile?*", lambda route: route.fulfill(body=body, content_type="application/json"))
    page.goto(url)
    page.wait_for_function("() => Number(document.body.dataset.loaded) >= 1")
    found = page.evaluate(TIMED, REPEATS)
    packed = len(gzip.compress(body.encode(), 3))
    print(f"\n{found['nodes']} nodes, {found['levels']} levels: {len(body)} bytes, {packed} gzipped")
    for name, values in found["times"].items():
        print(f"  {name:8} {statistics.median(values):7.1f} ms   (worst {max(values):.1f})")


@pytest.mark.parametrize("nodes", [100_000, 500_000])
def test_paint(nodes: int, tmp_path: Path) -> None:
    with serving(tmp_path / "store", "shop") as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
        measure(page, url, nodes)
        browser.close()
