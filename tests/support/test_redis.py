from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio.sentinel import Sentinel
from redis.exceptions import AuthenticationError, RedisError

from tests.support.redis import SERVICE, RedisServer

KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "a database": {"database": 3},
    "a password": {"password": "s3cret"},
    "tls": {"tls": True},
    "a cluster": {"cluster": True},
}


@pytest.mark.parametrize("kind", KINDS)
async def test_it_answers_and_is_empty_after_a_restart(kind: str) -> None:
    async with RedisServer(**KINDS[kind]) as server:
        url = server.url
        async with server.client() as client:
            await client.set("key", 1)
            assert await client.get("key") == b"1"
        await server.kill()
        async with server.client() as client:
            with pytest.raises((RedisError, OSError)):
                await client.ping()
        await server.start()
        assert server.url == url
        async with server.client() as client:
            assert await client.get("key") is None


async def test_a_stopped_one_tells_its_clients() -> None:
    async with RedisServer() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        await server.stop()
        assert await reader.read() == b""
        writer.close()


async def test_a_password_is_needed() -> None:
    async with RedisServer(password="s3cret") as server, server.client() as client:
        with pytest.raises(AuthenticationError):
            await client.execute_command("AUTH", "another")  # type: ignore[no-untyped-call]


async def test_a_paused_one_answers_when_it_goes_on() -> None:
    async with RedisServer() as server, server.client() as client:
        await client.ping()
        server.pause()
        answer = asyncio.ensure_future(client.ping())
        done, _ = await asyncio.wait([answer], timeout=0.1)
        assert not done
        server.resume()
        assert await answer


async def test_sentinel_knows_the_master() -> None:
    async with RedisServer(sentinel=True, password="s3cret") as server:
        assert server.sentinel_port is not None
        sentinels = [("127.0.0.1", server.sentinel_port)]
        sentinel = Sentinel(sentinels, password="s3cret")  # type: ignore[no-untyped-call]
        assert await sentinel.discover_master(SERVICE) == ("127.0.0.1", server.port)
        async with sentinel.master_for(SERVICE) as client:
            assert await client.ping()
        for each in sentinel.sentinels:
            await each.aclose()
