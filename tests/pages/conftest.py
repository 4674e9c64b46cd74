from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.pages.browsing import Visitors, chromium
from tests.support.cluster import Nodes
from tests.support.redis import RedisServer


@pytest_asyncio.fixture
async def visitors() -> AsyncIterator[Visitors]:
    async with chromium() as browser:
        everybody = Visitors(browser)
        yield everybody
        await everybody.leave()


@pytest_asyncio.fixture
async def nodes(tmp_path: Path, sqlite_url: str) -> AsyncIterator[Nodes]:
    """Two nodes that share a Redis and a database file, with the feeds and the agent that are there by default."""
    async with RedisServer() as redis:
        more = {"DEBUG": "true", "CHAT_DEFAULT_AGENT": "1", "TRADING_FEED": "random"}
        async with Nodes(tmp_path, database_url=sqlite_url, redis_urls=[redis.url, redis.url], **more) as started:
            yield started
