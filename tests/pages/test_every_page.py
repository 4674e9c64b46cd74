"""What holds for each page alike: small, steady, readable by everybody, at home on a phone and on a wall."""

from __future__ import annotations

import itertools

import pytest
from playwright.async_api import Page, Response, expect

from server.http.pages import PAGES
from tests.pages.browsing import Visitors
from tests.support.cluster import Nodes
from tests.support.process import ROOT
from tests.support.running import token

pytestmark = pytest.mark.e2e

AXE = ROOT / "clients/node_modules/axe-core/axe.min.js"
FIRST_LOAD_BYTES = 150_000  # gzipped, beside the chart library of trading
CHARTS = "lightweight-charts"  # its file is named after it
MOST_LAYOUT_SHIFT = 0.02  # what people notice begins at 0.1 (web.dev/articles/cls)
WATCH_SHIFTS = """
window.shifts = [];
new PerformanceObserver((list) => {
  for (const each of list.getEntries())
    if (!each.hadRecentInput)
      window.shifts.push([each.value, ...each.sources.map((source) => source.node?.outerHTML?.slice(0, 200))]);
}).observe({ type: "layout-shift", buffered: true });
"""
#: A machine's box leaves the seconds that pass out of its name: they are visible, and nobody wants them said.
AXE_OPTIONS = {"resultTypes": ["violations"], "rules": {"label-content-name-mismatch": {"enabled": False}}}
ROLES = ["admin", "publisher", "operator"]


async def settled(page: Page) -> None:
    await expect(page.get_by_role("banner")).to_be_visible()
    await page.wait_for_timeout(1500)  # the time in which late things would move what is there


async def test_a_first_load_is_small_and_nothing_moves(visitors: Visitors, nodes: Nodes) -> None:
    for path in PAGES:
        page = await visitors.visit("about:blank")
        loaded: dict[str, int] = {}

        async def count(response: Response, loaded: dict[str, int] = loaded) -> None:
            if "/assets/" in response.url and CHARTS not in response.url:
                loaded[response.url] = int(await response.header_value("content-length") or 0)

        page.on("response", count)
        await page.add_init_script(WATCH_SHIFTS)
        await page.goto(f"{nodes.url(0)}{path}#token={token('ada', roles=ROLES)}")
        await settled(page)
        assert loaded
        assert sum(loaded.values()) < FIRST_LOAD_BYTES, (path, loaded)
        shifts = await page.evaluate("window.shifts")
        assert sum(value for value, *_ in shifts) < MOST_LAYOUT_SHIFT, (path, shifts)


async def test_everybody_can_use_it(visitors: Visitors, nodes: Nodes) -> None:
    """Contrast, names and roles of what is there, by axe-core."""
    told = []
    for path, dark in itertools.product(PAGES, (False, True)):
        page = await visitors.visit(nodes.url(0) + path, "ada", roles=ROLES, dark=dark, language="ko-KR")
        await settled(page)
        await page.evaluate(AXE.read_text())
        found = await page.evaluate("options => axe.run(options).then(({violations}) => violations)", AXE_OPTIONS)
        told += [
            f"{path} {'dark' if dark else 'light'}: {each['id']}: {node['html'][:200]} {node['failureSummary']}"
            for each in found
            for node in each["nodes"]
        ]
    assert not told, "\n\n".join(told)


async def test_it_fits_a_phone_a_desk_and_a_wall(visitors: Visitors, nodes: Nodes) -> None:
    for path, (width, height) in itertools.product(PAGES, ((360, 740), (1280, 800), (3840, 2160))):
        page = await visitors.visit(nodes.url(0) + path, "ada", roles=ROLES, size=(width, height))
        await settled(page)
        out = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert out <= 0, f"{path}: {out} pixels stick out of {width}"
