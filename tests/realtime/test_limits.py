"""What counts uses: in memory and in Redis alike; and windows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from server.errors import RateLimited
from server.realtime.cluster.address import connector
from server.realtime.cluster.limits import ClusterCounter
from server.realtime.cluster.node import Node
from server.realtime.limits import Counter, MemoryCounter, Rate, RateLimits, Window
from tests.support.managers import until_up
from tests.support.redis import RedisServer

DAY = 24 * 3600


@pytest_asyncio.fixture(params=["memory", "redis"])
async def counter(request: pytest.FixtureRequest) -> AsyncIterator[Counter]:
    if request.param == "memory":
        yield MemoryCounter()
        return
    async with RedisServer() as redis:
        node = Node(connector(redis.url), "test")
        await node.start()
        await until_up(node, up=True)
        yield ClusterCounter(node)
        await node.stop()


async def test_counts_down_and_then_refuses_with_when_to_come_back(counter: Counter) -> None:
    assert [await counter.use("alice", Rate(10, DAY)) for _ in range(10)] == list(range(9, -1, -1))
    with pytest.raises(RateLimited) as caught:
        await counter.use("alice", Rate(10, DAY))
    assert (caught.value.limit, caught.value.remaining) == (10, 0)
    assert 0 < caught.value.retry_after <= DAY * 1000 + 1


async def test_keys_count_apart(counter: Counter) -> None:
    for key in ("x", "y", "x:y", "{x}", "가"):
        assert await counter.use(key, Rate(1, DAY)) == 0


async def test_uses_at_once_are_all_counted(counter: Counter) -> None:
    rate = Rate(10, DAY)
    uses = await asyncio.gather(*[counter.use("alice", rate) for _ in range(30)], return_exceptions=True)
    assert sorted(use for use in uses if isinstance(use, int)) == list(range(10))
    assert sum(isinstance(use, RateLimited) for use in uses) == 20


async def test_who_comes_back_when_told_to_is_let_in(counter: Counter) -> None:
    """Three periods, which begin anywhere in one: with and without uses in the one before."""
    rate = Rate(3, 1)
    waits = []
    while len(waits) < 6:
        try:
            await counter.use("alice", rate)
        except RateLimited as limited:
            waits.append(limited.retry_after)
            await asyncio.sleep(limited.retry_after / 1000)
            await counter.use("alice", rate)
    assert all(0 < wait <= 1001 for wait in waits), waits


async def test_who_was_refused_too_often_has_used_nothing(counter: Counter) -> None:
    rate = Rate(1, 1)
    await counter.use("alice", rate)
    for _ in range(100):
        try:
            await counter.use("alice", rate)
        except RateLimited as limited:
            wait = limited.retry_after
    await asyncio.sleep(wait / 1000)
    await counter.use("alice", rate)


async def test_names_count_apart() -> None:
    limits = RateLimits({"a": Rate(1, DAY), "b": Rate(1, DAY)})
    for name, key in (("a", "x"), ("a", "y"), ("b", "x")):
        assert await limits.hit(name, key) == 0
    assert await limits.hit("a", "x:y", "z") == 0
    assert await limits.hit("a", "x", "y:z") == 0


async def test_what_is_shared_counts_where_all_nodes_see_it() -> None:
    class Everywhere:
        async def use(self, key: str, rate: Rate) -> int:
            return 1000

    limits = RateLimits({"a": Rate(5, DAY)}, shared=Everywhere())
    assert await limits.hit("a", "x") == 1000
    assert await limits.hit("a", "x", shared=False) == 4


async def test_no_rate_and_not_enabled_are_unlimited() -> None:
    assert await RateLimits({}).hit("queries", "alice") is None
    limits = RateLimits({"queries": Rate(1, 60)}, enabled=False)
    assert [await limits.hit("queries", "alice") for _ in range(3)] == [None] * 3


async def test_millions_are_as_good_as_none() -> None:
    limits = RateLimits({"events": Rate(5_000_000, 1)})
    for _ in range(1000):
        await limits.hit("events", "load")


def hits(window: Window, rate: Rate, now: float, count: int) -> None:
    for _ in range(count):
        window.hit(rate, now)


def test_a_window_takes_so_many_and_then_says_when_it_ends() -> None:
    window, rate = Window(), Rate(3, 10)
    window.hit(rate, 100.0)
    hits(window, rate, 104.0, 2)
    for now, wait in ((104.0, 6000), (109.9995, 1)):
        with pytest.raises(RateLimited) as caught:
            window.hit(rate, now)
        assert (caught.value.retry_after, caught.value.limit, caught.value.remaining) == (wait, 3, 0)


def test_a_window_begins_anew_with_the_first_use_after_its_end() -> None:
    window, rate = Window(), Rate(2, 10)
    hits(window, rate, 100.0, 2)
    hits(window, rate, 115.0, 2)
    with pytest.raises(RateLimited) as caught:
        window.hit(rate, 124.0)
    assert caught.value.retry_after == 1000
    hits(window, rate, 125.0, 2)


def test_who_was_refused_has_used_nothing() -> None:
    window, rate = Window(), Rate(1, 1)
    window.hit(rate, 0.0)
    for _ in range(100):
        with pytest.raises(RateLimited):
            window.hit(rate, 0.5)
    window.hit(rate, 1.0)


def test_windows_are_apart() -> None:
    one, other = Window(), Window()
    one.hit(Rate(1, 60), 0.0)
    other.hit(Rate(1, 60), 0.0)


def test_what_is_spared_does_not_count() -> None:
    window, rate = Window(), Rate(2, 1)
    for _ in range(10):
        window.hit(rate, 0.0)
        window.spare()
    window.spare()  # of nothing
    window.hit(rate, 0.0)
    window.hit(rate, 0.0)
    with pytest.raises(RateLimited):
        window.hit(rate, 0.0)
