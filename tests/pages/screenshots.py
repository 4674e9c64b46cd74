"""`make screenshots`: each page with something going on, as docs/images/ shows them, light and dark.

Wants fonts with Korean and emoji (Debian: fonts-noto-cjk, fonts-noto-color-emoji).
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
from playwright.async_api import Page

from server.migrations import upgrade
from tests.pages.browsing import Visitors, chromium
from tests.support.client import Client
from tests.support.cluster import Nodes
from tests.support.process import ROOT
from tests.support.redis import RedisServer
from tests.support.running import token

IMAGES = ROOT / "docs/images"
DESK, PHONE = (1440, 900), (390, 844)
ADA = {"roles": ("admin", "publisher", "operator")}
GOING_ON_SECONDS = 25  # for charts and plots to fill

Scene = Callable[[Page], Awaitable[None]]


async def nothing(page: Page) -> None:
    """What is there by itself is shown."""


async def crowd(urls: list[str]) -> list[Client]:
    """People who watch prices and talk."""
    clients = []
    for number in range(24):
        client = Client("/chat" if number % 2 else "/trading")
        await client.connect(urls[number % len(urls)], token(f"user-{number}"))
        if number % 2:
            await client.call("join", {"session_id": f"room-{number % 5}"})
        else:
            await client.call("subscribe", {"channel": "ticks:*"})
        clients.append(client)
    return clients


async def talk(clients: list[Client]) -> None:
    for count in range(10_000):
        client = clients[(count * 2 + 1) % len(clients)]
        await client.call("ping")
        await asyncio.sleep(0.05)


async def conversation(page: Page) -> None:
    await page.get_by_role("button", name="New conversation").click()
    await page.get_by_role("dialog").get_by_role("button", name="Start").click()
    for text in ("대출 금리가 얼마인가요?", "And which documents do I need?"):
        await page.get_by_role("textbox", name="Message").fill(text)
        await page.keyboard.press("Enter")
        await asyncio.sleep(5)


async def question(page: Page) -> None:
    await page.get_by_role("button", name="top 3 services by cost last month").click()
    await asyncio.sleep(1)
    ask = page.get_by_role("button", name="Ask", exact=True)
    if await ask.is_enabled():
        await ask.click()
    await asyncio.sleep(3)
    choice = page.get_by_role("dialog").get_by_role("button", name="aws_costs")
    if await choice.is_visible():
        await choice.click()
    await asyncio.sleep(3)


async def wall(page: Page) -> None:
    await page.get_by_role("button", name="Wall display").click()
    await asyncio.sleep(1)


async def alerts(url: str) -> None:
    headers = {"Authorization": f"Bearer {token('peter', roles=['publisher'])}"}
    async with aiohttp.ClientSession(headers=headers) as http:
        for message in (
            {"type": "halt", "data": {"symbol": "005930"}},
            {"type": "resume", "data": {"symbol": "005930"}},
        ):
            async with http.post(f"{url}/api/channels/alerts/messages", json=message) as response:
                assert response.status == 201, await response.text()


async def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        database = f"sqlite+aiosqlite:///{home / 'atrium.db'}"
        await asyncio.to_thread(upgrade, database)
        more = {"DEBUG": "true", "CHAT_DEFAULT_AGENT": "1", "TRADING_FEED": "random"}
        async with (
            RedisServer() as redis,
            Nodes(home, database_url=database, redis_urls=[redis.url] * 2, **more) as nodes,
            chromium() as browser,
        ):
            clients = await crowd(nodes.urls)
            talking = asyncio.create_task(talk(clients))
            await asyncio.sleep(GOING_ON_SECONDS)
            visitors = Visitors(browser)
            await shoot(visitors, nodes.urls)
            talking.cancel()
            for client in clients:
                await client.close()
            await visitors.leave()


async def shoot(visitors: Visitors, urls: list[str]) -> None:
    scenes: list[tuple[str, str, Scene, tuple[int, int], float]] = [
        ("home", "/", nothing, DESK, 2),
        ("chat", "/chat", conversation, DESK, 2),
        ("trading", "/trading", nothing, DESK, GOING_ON_SECONDS),
        ("monitor", "/monitor", nothing, DESK, 3),
        ("monitor-wall", "/monitor", wall, (1920, 1080), 2),
        ("copilot", "/copilot", question, DESK, 1),
        ("admin", "/admin", nothing, DESK, 5),
        ("chat-phone", "/chat", conversation, PHONE, 2),
        ("monitor-phone", "/monitor", nothing, PHONE, 3),
    ]
    for name, path, scene, size, seconds in scenes:
        for dark in (False, True):
            page = await visitors.visit(urls[0] + path, "ada", dark=dark, size=size, **ADA)
            if name == "trading":
                await alerts(urls[1])
            await scene(page)
            await asyncio.sleep(seconds)
            await page.screenshot(path=IMAGES / f"{name}-{'dark' if dark else 'light'}.png")
            await page.context.close()


if __name__ == "__main__":
    asyncio.run(main())
