"""Trading: prices as they come, by numbers that show what was missed; alerts, orders and chat beside them."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import CDPSession, Page, expect

from tests.conftest import Serve
from tests.pages.browsing import PATIENCE_MS, Visitors
from tests.pages.ticking import SYMBOLS
from tests.support.cluster import Nodes
from tests.support.process import running
from tests.support.proxy import Proxy
from tests.support.redis import RedisServer
from tests.support.rest import Rest
from tests.support.running import token

log = logging.getLogger(__name__)
pytestmark = pytest.mark.e2e

NASTY = "<img src=x onerror=\"document.title='taken over'\"><script>document.title='taken over'</script>"


@pytest_asyncio.fixture
async def quiet_nodes(tmp_path: Path, sqlite_url: str) -> AsyncIterator[Nodes]:
    """Two nodes without a feed: what is published is what the test publishes."""
    async with (
        RedisServer() as redis,
        Nodes(tmp_path, database_url=sqlite_url, redis_urls=[redis.url, redis.url], DEBUG="true") as started,
    ):
        yield started


@pytest_asyncio.fixture
async def proxy(quiet_nodes: Nodes) -> AsyncIterator[Proxy]:
    between = await Proxy.start("127.0.0.1", quiet_nodes.port(0))
    yield between
    await between.close()


async def published(url: str, channel: str, *messages: dict[str, object]) -> list[dict[str, Any]]:
    """By a backend, over HTTP."""
    headers = {"Authorization": f"Bearer {token('desk', roles=['publisher'])}"}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.post(f"{url}/api/channels/{channel}/messages", json={"messages": messages}) as response,
    ):
        results: list[dict[str, Any]] = (await response.json())["results"]
    assert all(each["status"] == 201 for each in results), results
    return results


def tick(symbol: str, price: float, **more: object) -> dict[str, object]:
    return {
        "type": "tick",
        "data": {"symbol": symbol, "name": f"Name of {symbol}", "price": price, "volume": 1, **more},
    }


async def watching(page: Page) -> Page:
    """Once it is subscribed: what is published from now on comes as events."""
    await expect(page.locator("[data-state=connected]")).to_be_visible()
    await expect(page.get_by_role("table", name="Channels")).to_be_visible()
    return page


def quote(page: Page, symbol: str) -> Any:
    return page.locator(f"[data-symbol='{symbol}']")


async def tally(page: Page, channel: str) -> dict[str, str]:
    """The row of a channel, by column."""
    row = page.locator(f"[data-channel='{channel}']")
    await expect(row).to_be_visible()
    cells: dict[str, str] = await row.evaluate(
        """row => Object.fromEntries([...row.children].map(cell =>
            [cell.className.match(/trading-(?!bad)(\\w+)/)?.[1] ?? 'channel', cell.textContent.replaceAll(',', '')]))"""
    )
    return cells


async def until_tallied(page: Page, channel: str, seq: int) -> dict[str, str]:
    cell = page.locator(f"[data-channel='{channel}'] .trading-seq")
    await expect(cell).to_have_text(f"{seq:,}")
    return await tally(page, channel)


async def test_prices_alerts_orders_and_chat_cross_the_nodes(visitors: Visitors, quiet_nodes: Nodes) -> None:
    here, there = quiet_nodes.urls
    alice = await watching(await visitors.visit(f"{here}/trading", "alice", roles=["group:desk-1"], size=(1600, 1000)))
    peter = await watching(await visitors.visit(f"{there}/trading", "peter", roles=["publisher"], size=(1600, 1000)))
    await expect(alice.get_by_role("button", name="Publish")).to_be_hidden()

    await published(there, "ticks:T001", tick("T001", 50_000, change=0))
    await published(there, "ticks:T001", tick("T001", 51_500, change=1500), tick("T001", 51_250, change=1250))
    row = quote(alice, "T001")
    await expect(row.get_by_role("cell").nth(2)).to_have_text("51,250")
    await expect(row.get_by_role("cell").nth(3)).to_have_text("▲ 1,250")
    await expect(row.get_by_role("cell").nth(4)).to_have_text("+2.50%")
    await expect(row.get_by_role("cell").nth(5)).to_have_text("3")
    await expect(alice.get_by_role("heading", name="Name of T001")).to_be_visible()
    await expect(alice.get_by_text(re.compile(r"^O\s.* C\s51,250"))).to_be_visible()

    await peter.add_init_script("const now = Date.now; Date.now = () => now() + 86_400_000")
    await peter.reload()
    await watching(peter)
    assert not (await tally(peter, "ticks:T001"))["age"].endswith("h")  # a clock that is off by a day is not believed

    await peter.get_by_role("button", name="Publish").click()
    await peter.get_by_label("Data (JSON)").fill(json.dumps({"message": f"Halted {NASTY}", "symbol": "T001"}))
    await peter.get_by_role("dialog").get_by_role("button", name="Publish").click()
    await expect(peter.get_by_text("Published as number 1, for 2 subscribers.")).to_be_visible()
    await peter.get_by_label("Data (JSON)").fill("{not json")
    await peter.get_by_role("dialog").get_by_role("button", name="Publish").click()
    await expect(peter.get_by_text("This is not JSON")).to_be_visible()
    await peter.get_by_role("dialog").get_by_role("button", name="Close").click()
    alert = alice.get_by_role("listitem").filter(has_text="Alert")
    await expect(alert).to_contain_text(f"Halted {NASTY}")

    await published(there, "user:alice", {"type": "order_filled", "data": {"order_id": "A-1", "text": "x " * 15_000}})
    order = alice.get_by_role("listitem").filter(has_text="order_filled")
    await order.get_by_role("button", name="Whole message").click()
    await expect(alice.get_by_role("dialog")).to_contain_text('"order_id": "A-1"')
    await alice.keyboard.press("Escape")

    await peter.get_by_label("Message to everybody in general").fill("Good morning")
    await peter.keyboard.press("Enter")
    await expect(alice.get_by_role("listitem").filter(has_text="Good morning")).to_contain_text("peter")
    await published(there, "user:peter", {"type": "order_filled", "data": {"text": "for peter"}})
    await published(there, "group:desk-2", {"type": "note", "data": {"text": "for desk 2"}})
    await published(there, "group:desk-1", {"type": "note", "data": {"text": "for desk 1"}})
    await alice.get_by_role("radio", name="Orders").check()
    await expect(alice.get_by_role("listitem").filter(has_text="for desk 1")).to_be_visible()
    await expect(alice.get_by_role("listitem")).to_have_count(2)
    assert await alice.title() == "Trading · Atrium"


async def test_the_watch_list_is_sorted_kept_and_read_in_korean(visitors: Visitors, quiet_nodes: Nodes) -> None:
    url = quiet_nodes.url(0)
    page = await watching(await visitors.visit(f"{url}/trading", "alice", size=(1600, 1000)))
    long_name = "긴이름" * 80
    await published(url, "ticks:A", tick("A", 100, change=-5))
    await published(url, "ticks:B", tick("B", 300, change=30, name=NASTY))
    await published(url, "ticks:C", tick("C", 200.25, change=0, name=long_name), {"type": "tick", "data": "no tick"})
    await expect(quote(page, "C")).to_be_visible()

    def shown() -> Any:
        return page.locator("[data-symbol]").evaluate_all("rows => rows.map(row => row.dataset.symbol).join('')")

    assert await shown() == "ABC"
    header = page.get_by_role("columnheader", name="Last")
    await header.get_by_role("button").click()
    await expect(header).to_have_attribute("aria-sort", "descending")
    await expect(page.locator("[data-symbol]").first).to_have_attribute("data-symbol", "B")
    assert await shown() == "BCA"

    await page.get_by_role("button", name="Watch C").click()
    await page.get_by_label("Symbol to watch").fill("two words")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("A symbol has no spaces")).to_be_visible()
    await page.get_by_label("Symbol to watch").fill("LATER")
    await page.keyboard.press("Enter")
    await page.get_by_label("All symbols").uncheck()
    await expect(page.locator("[data-symbol]")).to_have_count(2)
    await published(url, "ticks:LATER", tick("LATER", 7, change=1))
    await expect(quote(page, "LATER").get_by_role("cell").nth(2)).to_have_text("7")
    await published(url, "ticks:A", tick("A", 101, change=-4))
    await page.reload()
    await watching(page)
    await expect(page.locator("[data-symbol]")).to_have_count(2)
    await expect(quote(page, "C").get_by_role("button", name=long_name[:200])).to_be_visible()
    await expect(page.get_by_label("All symbols")).not_to_be_checked()

    def colour(symbol: str) -> Any:
        return quote(page, symbol).get_by_role("cell").nth(4).evaluate("cell => getComputedStyle(cell).color")

    english = await colour("LATER")
    await page.get_by_role("button", name="한국어").click()
    await expect(page.get_by_role("heading", name="관심 종목")).to_be_visible()
    red, green, blue = map(int, re.findall(r"\d+", await colour("LATER"))[:3])
    assert english != f"rgb({red}, {green}, {blue})"
    assert red > max(green, blue)  # up is red in Korea
    await page.get_by_role("button", name="LATER 관심 종목에서 삭제").click()
    await expect(page.locator("[data-symbol]")).to_have_count(1)


async def scroll_back(page: Page) -> None:
    """As far as there are bars: at first there are none to scroll to."""
    box = await page.locator(".trading-canvas").bounding_box()
    assert box is not None
    y = box["y"] + 60
    while await page.get_by_role("button", name="To now").is_hidden():
        await page.mouse.move(box["x"] + 100, y)
        await page.mouse.down()
        await page.mouse.move(box["x"] + 400, y, steps=5)
        await page.mouse.up()


async def test_the_chart_follows_and_stays_where_one_scrolled_back_to(visitors: Visitors, nodes: Nodes) -> None:
    page = await watching(await visitors.visit(f"{nodes.url(0)}/trading", "alice", size=(1600, 1000)))
    await page.locator("[data-symbol]").first.get_by_role("button").nth(1).click()
    legend = page.get_by_text(re.compile(r"^O\s.* H\s.* L\s.* C\s"))
    await expect(legend).to_be_visible()
    live = page.get_by_role("button", name="To now")
    await expect(live).to_be_hidden()
    async with asyncio.timeout(PATIENCE_MS / 1000):
        await scroll_back(page)
    await live.click()
    await expect(live).to_be_hidden()
    for name in ("Line", "5 s", "1 m", "Candles"):
        await page.get_by_role("radio", name=name, exact=True).check()
        await expect(legend).to_be_visible()
    await page.locator("[data-symbol]").first.get_by_role("button").nth(1).click()
    await page.keyboard.press("ArrowDown")
    await expect(page.locator("[data-symbol]").nth(1).locator("[aria-current=true]")).to_be_focused()
    await expect(page.get_by_role("link", name="TradingView Lightweight Charts™")).to_have_attribute(
        "href", "https://www.tradingview.com/"
    )


async def cpu_seconds(tools: CDPSession) -> float:
    """Of the page's main thread, since this was asked first: as many on a loaded machine as on an idle one."""
    await tools.send("Performance.enable", {"timeDomain": "threadTicks"})
    metrics = (await tools.send("Performance.getMetrics"))["metrics"]
    found: float = next(each["value"] for each in metrics if each["name"] == "TaskDuration")
    return found


async def test_a_thousand_updates_a_second_are_all_accounted_for(visitors: Visitors, quiet_nodes: Nodes) -> None:
    """That no number is lost is asserted. Frames are told (`--log-cli-level=INFO`): a loaded machine drops its own."""
    page = await watching(await visitors.visit(f"{quiet_nodes.url(0)}/trading", "alice", size=(1440, 900)))
    publisher = token("desk", roles=["publisher"])
    async with running(
        sys.executable, "-m", "tests.pages.ticking", quiet_nodes.url(1), publisher, "1000", "5"
    ) as process:
        await process.read_until("publishing")
        await expect(quote(page, SYMBOLS[-1])).to_be_visible()
        await page.get_by_role("button", name="Count anew").click()
        tools = await page.context.new_cdp_session(page)
        await cpu_seconds(tools)
        assert await process.finish() == 0
        busy = await cpu_seconds(tools)
    told = json.loads(process.output.splitlines()[-1])
    tallies = [await until_tallied(page, f"ticks:{symbol}", told["seq"][symbol]) for symbol in SYMBOLS]
    frames = await page.locator(".trading-frames").evaluate("figures => ({...figures.dataset})")
    received, conflated = (sum(int(each[name]) for each in tallies) for name in ("received", "conflated"))
    log.info("%s", {**told, "received": received, "conflated": conflated, "cpu": busy, **frames})
    assert sum(told["seq"].values()) == told["published"] == received + conflated
    assert [each["gaps"] for each in tallies] == ["0"] * len(SYMBOLS)
    assert int(frames["frames"]) > 0


async def test_what_a_stalled_network_held_back_is_conflated_not_lost(
    visitors: Visitors, quiet_nodes: Nodes, proxy: Proxy
) -> None:
    page = await watching(await visitors.visit(f"http://127.0.0.1:{proxy.port}/trading", "alice", size=(1600, 1000)))
    url = quiet_nodes.url(0)
    await published(url, "ticks:S", tick("S", 1))
    await until_tallied(page, "ticks:S", 1)
    proxy.black_hole(True)
    for batch in range(30):  # more than the sockets on the way hold
        await published(url, "ticks:S", *(tick("S", 2 + batch, pad=secrets.token_urlsafe(6000)) for _ in range(60)))
    proxy.black_hole(False)
    await published(url, "ticks:S", tick("S", 99))
    told = await until_tallied(page, "ticks:S", 1802)
    assert int(told["conflated"]) > 0
    assert int(told["received"]) + int(told["conflated"]) == 1802
    assert told["gaps"] == "0"
    await expect(quote(page, "S").get_by_role("cell").nth(2)).to_have_text("99")


async def test_what_was_said_while_the_network_was_gone_arrives_once_and_lost_ticks_are_counted(
    visitors: Visitors, quiet_nodes: Nodes, proxy: Proxy
) -> None:
    page = await watching(await visitors.visit(f"http://127.0.0.1:{proxy.port}/trading", "alice", size=(1600, 1000)))
    url = quiet_nodes.url(1)
    await published(url, "ticks:S", tick("S", 1))
    await published(url, "alerts", {"type": "halt", "data": {"text": "before"}})
    await until_tallied(page, "alerts", 1)
    await until_tallied(page, "ticks:S", 1)
    proxy.refuse()
    await proxy.cut()
    await expect(page.locator("[data-state=reconnecting]")).to_be_visible()
    await published(url, "ticks:S", *(tick("S", price) for price in (2, 3, 4)))
    await published(url, "alerts", {"type": "halt", "data": {"text": "meanwhile"}})
    await proxy.accept()
    await expect(page.locator("[data-state=connected]")).to_be_visible()
    alerts = await until_tallied(page, "alerts", 2)
    assert (alerts["received"], alerts["recovered"], alerts["gaps"]) == ("2", "1", "0")
    ticks = await until_tallied(page, "ticks:S", 4)
    assert (ticks["received"], ticks["gaps"]) == ("2", "2")  # the newest is kept, those before it are not
    await expect(quote(page, "S").get_by_role("cell").nth(2)).to_have_text("4")
    await expect(page.get_by_role("listitem").filter(has_text="meanwhile")).to_have_count(1)
    await expect(page.get_by_role("listitem").filter(has_text="before")).to_have_count(1)


async def test_a_killed_server_that_returns_goes_on_where_it_was(visitors: Visitors, quiet_nodes: Nodes) -> None:
    page = await watching(await visitors.visit(f"{quiet_nodes.url(0)}/trading", "alice", size=(1600, 1000)))
    url = quiet_nodes.url(1)
    await published(url, "alerts", {"type": "halt", "data": {"text": "first"}})
    await expect(page.get_by_role("listitem").filter(has_text="first")).to_be_visible()
    await quiet_nodes.kill(0)
    await expect(page.locator("[data-state=reconnecting]")).to_be_visible()
    await published(url, "alerts", {"type": "halt", "data": {"text": "second"}})
    await page.get_by_label("Message to everybody in general").fill("kept")
    await quiet_nodes.start(0)
    await expect(page.locator("[data-state=connected]")).to_be_visible()
    await expect(page.get_by_role("listitem").filter(has_text="second")).to_have_count(1)
    await page.get_by_role("button", name="Send").click()
    await expect(page.get_by_role("listitem").filter(has_text="kept")).to_have_count(1)
    await expect(page.get_by_role("listitem").filter(has_text="first")).to_have_count(1)


@pytest.mark.undeclared("Administrators may tell anything")
async def test_what_administrators_say_is_seen_over_a_dialog_and_why_one_ended_the_connection(
    visitors: Visitors, serve: Serve
) -> None:
    server = await serve()
    root = Rest(server.url, "root", roles=("admin",))
    page = await watching(await visitors.visit(f"{server.url}/trading", "alice", roles=["publisher"]))
    await page.get_by_role("button", name="Publish").click()
    # A publisher's event may have any name, and is no administrator's.
    await published(server.url, "alerts", {"type": "maintenance", "data": {"message": "forged"}})
    told = f"{NASTY} {'x' * 500}"
    for message in ({"message": 5}, {"text": "of another shape"}, {"message": told}):
        body = {"namespace": "/trading", "event": "maintenance", "data": message}
        assert (await root.post("/api/admin/broadcast", body)).body["members"] == 1
    dialog = page.get_by_role("dialog")
    toasts = dialog.get_by_role("log")  # what is not in the dialog is dimmed, and no screen reader says it
    await expect(toasts).to_have_text(told[:300] + "…")
    await page.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()
    await expect(page.get_by_role("log")).to_have_text(told[:300] + "…")

    await root.post("/api/admin/users/alice/disconnect", {"reason": "Please call the desk"})
    why = "An administrator ended the connection: Please call the desk"
    await expect(page.get_by_role("alert").filter(has_text=why)).to_be_visible()
    await expect(page.get_by_role("log").get_by_text(why)).to_be_visible()


async def test_what_was_said_before_is_in_its_order_across_channels(visitors: Visitors, serve: Serve) -> None:
    server = await serve()
    for number, channel in enumerate(["alerts", "user:alice", "alerts", "user:alice"]):
        await published(server.url, channel, {"type": "note", "data": {"text": f"number {number}"}})
    page = await watching(await visitors.visit(f"{server.url}/trading", "alice"))
    entries = page.get_by_role("listitem").filter(has_text="number")
    await expect(entries).to_contain_text([f"number {number}" for number in (3, 2, 1, 0)])


async def test_a_token_that_runs_out_is_said_and_what_to_do(visitors: Visitors, serve: Serve) -> None:
    server = await serve()
    page = await visitors.visit(f"{server.url}/trading", "alice", lifetime=4, size=(1600, 1000))
    await expect(page.locator("[data-state=connected]")).to_be_visible()
    await expect(page.get_by_text("Your sign-in has run out. Sign out, and in again.")).to_be_visible()
