"""SPEC §8: a killed node's users are gone within 15 s, those who came back elsewhere were never away."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest

from tests.support.client import Client
from tests.support.cluster import Nodes
from tests.support.process import PATIENCE
from tests.support.redis import RedisServer
from tests.support.running import token

pytestmark = pytest.mark.e2e

WITHIN_SECONDS = 15


async def joined(url: str, user: str) -> Client:
    client = Client("/chat")
    await client.connect(url, token(user, roles=("operator",)))
    assert (await client.call("join", {"session_id": "s1"}))["ok"]
    return client


async def test_a_killed_nodes_users_are_gone_in_time(tmp_path: Path, sqlite_url: str) -> None:
    async with (
        RedisServer() as redis,
        redis.client() as client,
        Nodes(tmp_path, database_url=sqlite_url, redis_urls=[redis.url] * 3) as nodes,
    ):
        olga = await joined(nodes.url(0), "olga")
        others = [await joined(nodes.url(1), user) for user in ("alice", "bob")]
        while await client.zcard("atrium:{nodes}:alive") < len(nodes):  # noqa: ASYNC110 - Redis does not say
            await asyncio.sleep(0.05)
        await nodes.kill(1)
        killed_at = time.monotonic()
        back = await joined(nodes.url(2), "bob")
        async with asyncio.timeout(PATIENCE):
            while ("user_left", "alice") not in _told(olga):  # noqa: ASYNC110 - a client waits less long
                await asyncio.sleep(0.05)
        assert time.monotonic() - killed_at < WITHIN_SECONDS
        await olga.settle()
        assert _told(olga) == [("user_joined", "alice"), ("user_joined", "bob"), ("user_left", "alice")]
        assert _told(back) == [("user_left", "alice")]
        for _ in range(100):
            if await client.get("ws:connections:alice") is None:
                break
            await asyncio.sleep(0.05)  # Redis does not say when it changes
        assert await client.get("ws:connections:alice") is None
        assert json.loads(await client.get("ws:sessions:s1")) == ["olga", "bob"]
        for each in (olga, back, *others):
            await each.close()


def _told(client: Client) -> list[tuple[str, str]]:
    return [(each["event"], each["user_id"]) for each in client.payloads("system")]
