from __future__ import annotations

import asyncio

import aiohttp

from tests.conftest import Serve
from tests.support.client import PATIENCE
from tests.support.managers import proxied
from tests.support.redis import RedisServer


async def test_alive_and_ready(serve: Serve) -> None:
    server = await serve()
    async with aiohttp.ClientSession() as http:
        for path, status in (("/health", "healthy"), ("/healthz", "healthy"), ("/readyz", "ready")):
            async with http.get(server.url + path) as response:
                assert response.status == 200
                assert (await response.json())["status"] == status


async def test_a_lost_database_is_not_ready_but_alive(serve: Serve) -> None:
    server = await serve(DATABASE_URL="postgresql://nobody@127.0.0.1:9/none")
    async with aiohttp.ClientSession() as http:
        async with http.get(server.url + "/readyz") as response:
            assert response.status == 503
            assert (await response.json())["checks"] == {"database": "failed"}
        async with http.get(server.url + "/healthz") as response:
            assert response.status == 200


async def test_a_lost_redis_is_not_ready_but_alive(serve: Serve) -> None:
    async with RedisServer() as redis, proxied(redis.url) as (url, proxy), aiohttp.ClientSession() as http:
        server = await serve(REDIS_URL=url)

        async def says(wanted: tuple[int, str]) -> None:
            while True:
                async with http.get(server.url + "/readyz") as response:
                    if (response.status, (await response.json())["status"]) == wanted:
                        return

        async with asyncio.timeout(PATIENCE):
            await says((200, "ready"))
            proxy.refuse()
            await proxy.cut()
            await says((503, "degraded"))
            async with http.get(server.url + "/healthz") as response:
                assert response.status == 200
            await proxy.accept()
            await says((200, "ready"))
