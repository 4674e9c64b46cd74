"""The plant on a screen: seen from afar, answered by those who may, and honest about what nobody knows."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Locator, Page, expect

from tests.conftest import Serve
from tests.pages.browsing import Visitors
from tests.pages.plant import LONG_NAME, MACHINES, NAMES, Plant, plant
from tests.support.cluster import Nodes
from tests.support.proxy import Proxy
from tests.support.redis import RedisServer
from tests.support.rest import Rest

pytestmark = pytest.mark.e2e

LEAST_CONTRAST = 7
FAR_PX = 36  # on a display of 55 inches: 2 cm
#: Of a box's name and status word against what is behind them.
CONTRASTS = """boxes => boxes.flatMap(box => [".monitor-box-name", ".monitor-box-status"].map(part => {
  const light = colour => {
    const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3)
      .map(each => each / 255).map(each => each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [getComputedStyle(box.querySelector(part)).color, getComputedStyle(box).backgroundColor].map(light);
  return (Math.max(...found) + 0.05) / (Math.min(...found) + 0.05);
}))"""
COLOURS = {
    "running": "rgb(10, 92, 43)",
    "idle": "rgb(255, 212, 41)",
    "stopped": "rgb(168, 15, 26)",
    "error": "rgb(100, 32, 171)",
    "disconnected": "rgb(69, 77, 88)",
}
A_DAY_OFF = """{ const Right = Date, off = -86_400_000;
  globalThis.Date = class extends Right { constructor(...of) { of.length ? super(...of) : super(Right.now() + off); }
    static now() { return Right.now() + off; } }; }"""
FAILS_WITHIN_MS = 40_000


@dataclass
class Floor:
    """What a server, or each of several nodes, shows at `url`."""

    plant: Plant
    urls: list[str]
    nodes: Nodes | None = None

    def url(self, node: int = 0) -> str:
        return self.urls[node] + "/monitor"


@pytest_asyncio.fixture
async def machines(tmp_path: Path) -> AsyncIterator[Plant]:
    async with plant(tmp_path) as started:
        yield started


@pytest_asyncio.fixture
async def floor(machines: Plant, serve: Serve) -> Floor:
    server = await serve(CONFIG_DIR=machines.config)
    return Floor(machines, [server.url])


@pytest_asyncio.fixture
async def two(machines: Plant, tmp_path: Path, sqlite_url: str) -> AsyncIterator[Floor]:
    """Nodes, as processes that can be killed."""
    async with RedisServer() as redis:
        environ = {"DEBUG": "true", "CONFIG_DIR": str(machines.config)}
        async with Nodes(tmp_path, database_url=sqlite_url, redis_urls=[redis.url] * 2, **environ) as nodes:
            yield Floor(machines, nodes.urls, nodes)


def boxes(page: Page) -> Locator:
    return page.get_by_role("list", name=re.compile("Machines|설비별")).get_by_role("button")


def box(page: Page, machine: int) -> Locator:
    return page.locator(".monitor-box").nth(machine)


async def legible(page: Page) -> None:
    found = await boxes(page).evaluate_all(CONTRASTS)
    assert len(found) == 2 * MACHINES
    assert min(found) >= LEAST_CONTRAST


async def test_seventeen_boxes_in_five_colours_that_fill_a_wall(visitors: Visitors, floor: Floor) -> None:
    for number, status in enumerate(COLOURS):
        await floor.plant.becomes(status, number)
    page = await visitors.visit(floor.url(), language="ko-KR", size=(1920, 1080))
    await expect(boxes(page)).to_have_count(MACHINES)
    words = ["가동", "비가동", "정지", "설비이상", "접속이상"]
    for number, ((status, colour), word) in enumerate(zip(COLOURS.items(), words, strict=True)):
        await expect(box(page, number)).to_have_attribute("data-status", status)
        await expect(box(page, number)).to_have_css("background-color", colour)
        await expect(box(page, number)).to_have_accessible_name(re.compile(rf"^{NAMES[number]}, {word}, \d\d:\d\d부터"))
    await legible(page)
    await page.emulate_media(color_scheme="dark")
    await legible(page)

    await page.get_by_role("button", name="현황판").click()
    await expect(page.get_by_role("banner")).to_be_hidden()
    await expect(box(page, MACHINES - 1)).to_be_in_viewport(ratio=1)
    assert await page.evaluate("document.documentElement.scrollHeight <= innerHeight")
    size = await box(page, 0).locator(".monitor-box-name").evaluate("name => getComputedStyle(name).fontSize")
    assert float(size.removesuffix("px")) > FAR_PX
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("banner")).to_be_visible()


async def test_names_of_any_length_are_text_and_the_own_clock_does_not_matter(visitors: Visitors, floor: Floor) -> None:
    page = await visitors.visit(floor.url(), size=(390, 844))
    await page.add_init_script(A_DAY_OFF)
    await page.reload()
    last = box(page, MACHINES - 1)
    await expect(last).to_have_accessible_name(re.compile(re.escape(LONG_NAME)))
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await floor.plant.becomes("stopped", MACHINES - 1)
    await expect(last).to_contain_text("Stopped")
    await expect(last).to_contain_text(re.compile(r"since \d\d:\d\d · \d+ s"))  # of today, seconds ago
    await last.click()
    details = page.get_by_role("dialog")
    await expect(details.get_by_role("heading", name=LONG_NAME)).to_be_visible()
    assert await details.evaluate("dialog => dialog.scrollWidth <= dialog.clientWidth")
    assert await page.locator("img[src=x]").count() == 0


async def test_alarms_are_answered_by_those_who_may_and_everybody_sees_it(visitors: Visitors, two: Floor) -> None:
    stranger = await visitors.visit(two.url(0))
    operator = await visitors.visit(two.url(1), "olga", roles=["operator"])
    for page in (stranger, operator):
        await expect(page.get_by_text("Nothing to answer")).to_be_visible()
    await two.plant.becomes("error", 3)
    for page in (stranger, operator):
        await expect(page.get_by_role("alert").filter(has_text=f"Alarm: {NAMES[3]}, Fault")).to_be_attached()
    alarm = f"{NAMES[3]}, Fault"

    await stranger.get_by_role("article", name=alarm).get_by_role("button", name="Acknowledge", exact=True).click()
    refusal = stranger.get_by_role("dialog", name="Operators and admins answer alarms")
    await refusal.get_by_role("button", name="Sign in").click()
    await stranger.get_by_role("dialog", name="Sign in").get_by_role("button", name="alice").click()
    await stranger.get_by_role("article", name=alarm).get_by_role("button", name="Acknowledge", exact=True).click()
    await expect(stranger.get_by_text("You are signed in as alice, who is neither")).to_be_visible()
    await stranger.get_by_role("button", name="Close").click()

    card = operator.get_by_role("article", name=alarm)
    await card.get_by_role("button", name="Acknowledge with a comment").click()
    await operator.get_by_role("dialog").get_by_label("Comment").fill("<b>on my way</b>")
    await operator.get_by_role("dialog").get_by_role("button", name="Acknowledge").click()
    for page in (stranger, operator):
        await expect(page.get_by_role("heading", name="Acknowledged 1")).to_be_visible()
        await expect(page.get_by_role("article", name=alarm)).to_contain_text("olga")
        await expect(page.get_by_role("article", name=alarm)).to_contain_text("<b>on my way</b>")

    await card.get_by_role("button", name="Shelve…").click()
    await operator.get_by_role("dialog").get_by_label("For").select_option("1 h")
    await operator.get_by_role("dialog").get_by_role("button", name="Shelve").click()
    await expect(stranger.get_by_role("heading", name="Shelved 1")).to_be_visible()
    await card.get_by_role("button", name="Unshelve").click()
    await expect(stranger.get_by_role("heading", name="Shelved 1")).to_be_hidden()
    await two.plant.becomes("running", 3)
    await expect(stranger.get_by_role("article", name=alarm)).to_have_count(0)
    await stranger.get_by_text("Past alarms").click()
    await expect(stranger.get_by_role("listitem").filter(has_text="lasted")).to_contain_text("olga")


async def test_one_on_the_shelf_goes_when_it_is_over_and_is_there_again_when_it_is_back(
    visitors: Visitors, floor: Floor
) -> None:
    """Of the first everybody is told, of the second nobody: the page finds that there should be one."""
    page = await visitors.visit(floor.url(), "olga", roles=["operator"])
    await expect(page.get_by_text("Nothing to answer")).to_be_visible()
    await floor.plant.becomes("error", 3)
    card = page.get_by_role("article", name=f"{NAMES[3]}, Fault")
    await card.get_by_role("button", name="Shelve…").click()
    await page.get_by_role("dialog").get_by_role("button", name="Shelve").click()
    await expect(page.get_by_role("heading", name="Shelved 1")).to_be_visible()
    await asyncio.sleep(1.5)  # the reader looks once a second
    await floor.plant.becomes("running", 3)
    await expect(box(page, 3)).to_contain_text("Running")
    await expect(card).to_have_count(0)
    await floor.plant.becomes("error", 3)
    await expect(page.get_by_role("heading", name="Shelved 1")).to_be_visible(timeout=10_000)
    await expect(card).to_contain_text("olga")
    assert await page.get_by_text("Nothing to answer").is_visible()


async def test_one_machine_by_keyboard_and_the_past_in_a_spreadsheet(visitors: Visitors, floor: Floor) -> None:
    page = await visitors.visit(floor.url())
    await expect(boxes(page)).to_have_count(MACHINES)
    await floor.plant.becomes("stopped", 1)
    await expect(box(page, 1)).to_contain_text("Stopped")
    await box(page, 0).focus()
    await page.keyboard.press("ArrowRight")
    await page.keyboard.press("Enter")
    details = page.get_by_role("dialog", name=NAMES[1])
    await expect(details.get_by_role("region", name="History").get_by_role("listitem").first).to_contain_text("Stopped")
    await expect(details.get_by_role("img", name=re.compile("^Status from"))).to_be_visible()
    await expect(details.get_by_role("img", name=re.compile("available .* Stopped"))).to_be_visible()
    for name, header in (("History", "timestamp,status,previous_status"), ("Availability", "shift,start,end")):
        async with page.expect_download() as downloading:
            await details.get_by_role("button", name=f"{name} as a spreadsheet").click()
        text = (await (await downloading.value).path()).read_text("utf-8")
        assert text.startswith("\ufeffequipment_code")
        assert header in text.splitlines()[0]
        assert NAMES[1] in text
    await page.keyboard.press("Escape")
    await expect(box(page, 1)).to_be_focused()


async def test_what_is_shown_is_chosen_and_stays_in_the_address(visitors: Visitors, floor: Floor) -> None:
    page = await visitors.visit(floor.url())
    await page.get_by_role("combobox", name="Line").select_option("paint")
    await expect(boxes(page)).to_have_count(7)
    await floor.plant.becomes("error", 0)  # of the other line
    await floor.plant.becomes("error", 12)
    await expect(page.get_by_role("article")).to_have_count(1)
    await page.get_by_role("button", name="Fault: 1. Show only these").click()
    await expect(boxes(page)).to_have_count(1)
    await page.reload()
    await expect(boxes(page)).to_have_count(1)
    await expect(boxes(page)).to_have_accessible_name(re.compile(NAMES[12]))
    await expect(page.get_by_role("combobox", name="Line")).to_have_value("paint")
    await floor.plant.becomes("running", 12)
    await page.get_by_role("button", name="Show all").click()
    await expect(boxes(page)).to_have_count(7)

    await page.goto(floor.url() + "?line=not-there&status=%3Cscript%3E")
    await expect(boxes(page)).to_have_count(MACHINES)
    await expect(page.get_by_role("combobox", name="Line")).to_have_value("")


async def test_all_boxes_are_gray_when_the_link_fails_and_then_live_again(visitors: Visitors, two: Floor) -> None:
    assert two.nodes is not None
    page = await visitors.visit(two.url())
    light = page.locator(".light")
    await expect(light).to_contain_text("Connected")
    await two.nodes.restart(0)
    await expect(light).to_contain_text("Connected")
    await two.plant.becomes("idle", 4)
    await expect(box(page, 4)).to_contain_text("Idle")

    await box(page, 4).hover()
    await two.nodes.kill(0)
    await expect(light).to_contain_text("Reconnecting")
    await expect(page.get_by_text(re.compile(r"No connection since \d\d:\d\d:\d\d"))).to_be_visible()
    await expect(box(page, 4)).to_contain_text("Idle")  # as it was, and no longer in its colour
    await expect(box(page, 4)).not_to_have_css("background-color", COLOURS["idle"])
    await legible(page)
    await expect(light).to_contain_text("Not connected", timeout=FAILS_WITHIN_MS)
    await expect(page.locator(".monitor-box[data-status=disconnected]")).to_have_count(MACHINES)
    await expect(box(page, 4)).to_have_css("background-color", COLOURS["disconnected"])
    await legible(page)
    await two.nodes.start(0)
    await page.get_by_role("button", name="Try now").click()
    await expect(light).to_contain_text("Connected")
    await expect(box(page, 4)).to_have_css("background-color", COLOURS["idle"])


@pytest.mark.undeclared("Administrators may tell anything")
async def test_administrators_are_heard_and_a_young_past_fills_its_bar(visitors: Visitors, floor: Floor) -> None:
    root = Rest(floor.urls[0], "root", roles=("admin",))
    page = await visitors.visit(floor.url(), "olga", roles=["operator"])
    await expect(boxes(page)).to_have_count(MACHINES)
    await floor.plant.becomes("stopped", 1)
    await expect(box(page, 1)).to_contain_text("Stopped")
    await box(page, 1).click()
    details = page.get_by_role("dialog")
    await expect(details.get_by_role("listitem").filter(has_text="was Running")).to_be_visible()
    await expect(details.locator(".monitor-timeline [data-status=running]")).to_be_visible()
    await expect(details.locator(".monitor-timeline [data-status=unknown]")).to_have_count(0)

    body = {"namespace": "/monitor", "event": "maintenance", "data": {"message": "Line 2 stops at noon"}}
    await root.post("/api/admin/broadcast", body)
    await expect(details.get_by_role("log")).to_have_text("Line 2 stops at noon")
    await page.keyboard.press("Escape")
    await root.post("/api/admin/users/olga/disconnect", {"reason": "Please call the desk"})
    lost = page.locator(".monitor-lost")
    await expect(lost).to_contain_text("An administrator ended the connection: Please call the desk")


async def test_a_network_that_swallows_everything_is_seen_and_a_token_that_ran_out_is_told(
    visitors: Visitors, floor: Floor
) -> None:
    proxy = await Proxy.start("127.0.0.1", int(floor.urls[0].rpartition(":")[2]))
    try:
        page = await visitors.visit(f"http://127.0.0.1:{proxy.port}/monitor")
        await expect(page.locator(".light")).to_contain_text("Connected")
        proxy.delay(0.4)
        await floor.plant.becomes("stopped", 2)
        await expect(box(page, 2)).to_contain_text("Stopped")
        proxy.delay(0)
        proxy.black_hole(True)
        await expect(page.get_by_text("The server is silent")).to_be_visible()
        proxy.black_hole(False)
        await expect(page.get_by_text("The server is silent")).to_be_hidden()
    finally:
        await proxy.close()

    late = await visitors.visit(floor.url(), "olga", roles=["operator"], lifetime=-120)
    await expect(late.get_by_text("Your sign-in has run out")).to_be_visible()
    await late.get_by_role("button", name="Go on without signing in").click()
    await expect(boxes(late)).to_have_count(MACHINES)
