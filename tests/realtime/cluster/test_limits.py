"""Uses that nodes count together, and what becomes of them without Redis; what all counters do is in
`tests/realtime/test_limits.py`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from server.errors import RateLimited
from server.realtime.cluster import limits
from server.realtime.cluster.address import connector
from server.realtime.cluster.limits import ClusterCounter
from server.realtime.cluster.node import Node
from server.realtime.limits import Rate
from tests.conftest import Connect, Serve
from tests.support.managers import until_up
from tests.support.redis import RedisServer

DAY = 24 * 3600
RATE = Rate(3, DAY)


@asynccontextmanager
async def a_node(redis: RedisServer) -> AsyncIterator[Node]:
    node = Node(connector(redis.url), "test")
    await node.start()
    await until_up(node, up=True)
    yield node
    await node.stop()


async def use_up(counter: ClusterCounter) -> None:
    assert [await counter.use("alice", RATE) for _ in range(3)] == [2, 1, 0]
    with pytest.raises(RateLimited):
        await counter.use("alice", RATE)


async def test_nodes_count_together() -> None:
    async with RedisServer() as redis, a_node(redis) as one, a_node(redis) as other:
        counters = [ClusterCounter(one), ClusterCounter(other)]
        assert [await counters[i % 2].use("alice", RATE) for i in range(3)] == [2, 1, 0]
        for counter in counters:
            with pytest.raises(RateLimited):
                await counter.use("alice", RATE)


async def test_what_is_not_used_any_more_is_forgotten() -> None:
    async with RedisServer() as redis, a_node(redis) as node, redis.client() as client:
        await ClusterCounter(node).use("alice", Rate(3, 60))
        [key] = await client.keys("*rate*")
        assert 0 < await client.pttl(key) <= 120_000


@pytest.mark.parametrize(
    ("passed", "before", "wait"),
    [(0, 8, 1), (1, 7, 250_000), (600_000, 5, 150_001), (1_000_000, 4, 1), (1_999_000, 0, 1001)],
)
async def test_of_the_period_before_as_many_count_as_are_still_in_reach(
    monkeypatch: pytest.MonkeyPatch, passed: int, before: int, wait: int
) -> None:
    """8 were in that period; the clock is the test's own."""
    period, rate = 2_000_000, Rate(10, 2000)
    now = 1000 * period + passed
    text = limits.USE.text.replace("redis.call('TIME')", f"{{{now // 1000}, {now % 1000 * 1000}}}")
    assert text != limits.USE.text
    async with RedisServer() as redis, a_node(redis) as node, redis.client() as client:
        monkeypatch.setattr(limits, "USE", limits.script(text))
        await client.script_load(text)
        await client.hset(node.keys.rate("alice"), mapping={"window": 999, "current": 8, "previous": 0})
        counter = ClusterCounter(node)
        assert [await counter.use("alice", rate) for _ in range(10 - before)] == list(range(9 - before, -1, -1))
        with pytest.raises(RateLimited) as caught:
            await counter.use("alice", rate)
        assert caught.value.retry_after == wait


async def test_without_redis_each_node_counts_for_itself_and_afterwards_again_with_the_others() -> None:
    async with RedisServer() as redis, a_node(redis) as node:
        counter = ClusterCounter(node)
        await use_up(counter)
        redis.pause()
        try:
            assert await counter.use("alice", RATE) == 2  # after the second that it may take to find out
            await until_up(node, up=False)
            assert [await counter.use("alice", RATE) for _ in range(2)] == [1, 0]
            with pytest.raises(RateLimited):
                await counter.use("alice", RATE)
        finally:
            redis.resume()
        await until_up(node, up=True)
        with pytest.raises(RateLimited) as caught:
            await counter.use("alice", RATE)
        assert caught.value.limit == 3
        await redis.kill()
        await until_up(node, up=False)
        with pytest.raises(RateLimited):
            await counter.use("alice", RATE)
        await redis.start()
        await until_up(node, up=True)
        await use_up(counter)


async def test_nobody_waits_for_a_redis_that_is_known_to_be_away(monkeypatch: pytest.MonkeyPatch) -> None:
    async with RedisServer() as redis, a_node(redis) as node:
        await redis.kill()
        await until_up(node, up=False)
        monkeypatch.setattr(node, "run", None)  # not to be called
        await use_up(ClusterCounter(node))


async def test_a_users_messages_count_on_every_node(serve: Serve, connect: Connect) -> None:
    async with RedisServer() as redis:
        servers = [await serve(REDIS_URL=redis.url, RATE_LIMIT_QUERIES_PER_MINUTE=3) for _ in range(3)]
        clients = [await connect(server, "/copilot", "alice") for server in servers]
        asked = {"text": "cost"}
        acks = [await client.call("query", asked) for client in clients]
        assert [ack["remaining"] for ack in acks] == [2, 1, 0], acks
        for client in clients:
            ack = await client.call("query", asked)
            assert (ack["error"]["code"], ack["error"]["limit"], ack["error"]["remaining"]) == ("RATE_LIMITED", 3, 0)
        stranger = await connect(servers[0], "/copilot", "alice", tenant="other")
        assert (await stranger.call("query", asked))["remaining"] == 2
        for server in servers:
            await server.runner.cleanup()


async def test_each_connection_counts_alone_where_limits_are_not_shared(serve: Serve, connect: Connect) -> None:
    async with RedisServer() as redis:
        server = await serve(REDIS_URL=redis.url, RATE_LIMIT_QUERIES_PER_MINUTE=3, SHARE_RATE_LIMIT=False)
        for _ in range(2):
            client = await connect(server, "/copilot", "alice")
            assert (await client.call("query", {"text": "cost"}))["remaining"] == 2
        await server.runner.cleanup()
