"""What a node says while Redis is away: at once to its own, and to others when it is back, each once and in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from server.realtime.cluster import commands, wire
from server.realtime.cluster.address import RedisAway, connector
from server.realtime.cluster.commands import Commands
from server.realtime.cluster.dispatch import Bounds, Dispatch
from server.realtime.cluster.keys import Keys
from server.realtime.cluster.letters import Letter
from tests.support.client import PATIENCE
from tests.support.managers import Cluster, Reader, emit, manager_of, node_of, proxied, reader, until
from tests.support.proxy import Proxy
from tests.support.redis import RedisServer
from tests.support.running import Running

Fault = Callable[[Proxy, RedisServer], Awaitable[None]]


@pytest_asyncio.fixture
async def redis() -> AsyncIterator[RedisServer]:
    """Of the test's own: it is killed and emptied."""
    async with RedisServer() as server:
        yield server


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection is given up soon, and made again soon."""
    monkeypatch.setattr(commands, "DEAD_SECONDS", 0.5)
    monkeypatch.setattr(wire, "LAST_BACKOFF", 0.1)


class Pair:
    """`far` has a bad way to Redis, `near` a good one; each has a reader in the same room."""

    def __init__(self, proxy: Proxy, near: Running, far: Running, readers: dict[str, Reader]) -> None:
        self.proxy = proxy
        self.near = near
        self.far = far
        self.readers = readers

    async def hear(self, far: range, near: range) -> None:
        """That each heard all of it, once, and what each node said in its order."""
        for each in self.readers.values():
            for numbers in (far, near):
                await each.until(numbers[-1])
        for each in self.readers.values():
            assert [n for n in each.heard if n in far] == list(far)
            assert [n for n in each.heard if n in near] == list(near)


@asynccontextmanager
async def paired(redis: RedisServer, **options: Any) -> AsyncIterator[Pair]:
    cluster = Cluster(redis.url)
    async with proxied(redis.url) as (url, proxy):
        near, far = await cluster.add(**options), await cluster.add(url, **options)
        async with reader(near) as one, reader(far, "bob") as other:
            for each in (one, other):
                await each.enter(1)
            yield Pair(proxy, near, far, {"near": one, "far": other})
        await cluster.close()


# -- outages --------------------------------------------------------------------------------------------------------


async def refused(proxy: Proxy, redis: RedisServer) -> None:
    proxy.refuse()
    await proxy.cut()


async def cut(proxy: Proxy, redis: RedisServer) -> None:
    await proxy.cut()


async def black_hole(proxy: Proxy, redis: RedisServer) -> None:
    proxy.black_hole(True)


async def slow(proxy: Proxy, redis: RedisServer) -> None:
    proxy.delay(0.2)


async def frozen(proxy: Proxy, redis: RedisServer) -> None:
    redis.pause()


async def killed(proxy: Proxy, redis: RedisServer) -> None:
    await redis.kill()


async def emptied(proxy: Proxy, redis: RedisServer) -> None:
    async with redis.client() as client:
        await client.flushall()


async def scripts_gone(proxy: Proxy, redis: RedisServer) -> None:
    async with redis.client() as client:
        await client.script_flush()


async def clients_killed(proxy: Proxy, redis: RedisServer) -> None:
    async with redis.client() as client:
        for kind in ("normal", "pubsub"):
            await client.client_kill_filter(_type=kind, skipme=True)


async def mended(fault: Fault, proxy: Proxy, redis: RedisServer) -> None:
    if fault is killed:
        await redis.start()
    redis.resume()
    proxy.black_hole(False)
    proxy.delay(0)
    await proxy.accept()


EVERY_FAULT = [refused, cut, black_hole, slow, frozen, killed, emptied, scripts_gone, clients_killed]


@pytest.mark.parametrize("long", [False, True], ids=["short", "long"])
@pytest.mark.parametrize("fault", EVERY_FAULT, ids=lambda fault: fault.__name__)
async def test_what_is_said_in_an_outage_arrives_in_the_end(
    redis: RedisServer, impatient: None, fault: Fault, long: bool
) -> None:
    """Local delivery goes on meanwhile, as nothing waits."""
    async with paired(redis) as pair:
        for number in range(10):
            emit(pair.far, number)
            emit(pair.near, 1000 + number)
        await pair.hear(range(10), range(1000, 1010))
        await fault(pair.proxy, redis)
        for number in range(10, 20):
            emit(pair.far, number)
            emit(pair.near, 1000 + number)
        await pair.readers["far"].until(19)
        await pair.readers["near"].until(1019)
        if long and fault in (refused, black_hole, frozen, killed):
            await until(lambda: not node_of(pair.far).up)
            await until(lambda: not node_of(pair.far).commands.ready)
        for number in range(20, 30):
            emit(pair.far, number)
            emit(pair.near, 1000 + number)
        await pair.readers["far"].until(29)
        await mended(fault, pair.proxy, redis)
        for number in range(30, 40):
            emit(pair.far, number)
            emit(pair.near, 1000 + number)
        await pair.hear(range(40), range(1000, 1040))
        await until(lambda: node_of(pair.far).up and node_of(pair.near).up)
        await node_of(pair.far).check()
        assert len(manager_of(pair.far)._dispatch) == 0
        assert not manager_of(pair.far)._dispatch.counters


@pytest.mark.parametrize("fault", [refused, black_hole, slow, killed], ids=lambda fault: fault.__name__)
async def test_a_node_that_starts_in_an_outage_serves_its_own_and_the_others_later(
    redis: RedisServer, impatient: None, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    monkeypatch.setattr("server.realtime.cluster.node.START_SECONDS", 0.1)
    cluster = Cluster(redis.url)
    async with proxied(redis.url) as (url, proxy):
        near = await cluster.add()
        await fault(proxy, redis)
        far = await cluster.add(url)
        async with reader(near) as one, reader(far, "bob") as other:
            for each in (one, other):
                await each.enter(1)
            for number in range(10):
                emit(far, number)
            await other.until(9)
            await mended(fault, proxy, redis)
            await one.until(9)
            await until(lambda: node_of(far).up)
            emit(near, 10)
            emit(far, 11)
            for each in (one, other):
                await each.until(10)
                await each.until(11)
                assert sorted(each.heard) == list(range(12))
        await cluster.close()


async def test_what_waits_longer_than_there_is_room_is_given_up_the_oldest_first(redis: RedisServer) -> None:
    """And counted. Nobody is told then that it missed nothing."""
    async with paired(redis, dispatch=Bounds(messages=10)) as pair:
        dispatch = manager_of(pair.far)._dispatch
        pair.proxy.refuse()
        await pair.proxy.cut()
        await until(lambda: not node_of(pair.far).commands.ready)
        for number in range(25):
            emit(pair.far, number)
        assert (len(dispatch), dispatch.counters["lost"]) == (10, 15)
        assert await pair.readers["far"].until(24) == list(range(25))
        await pair.proxy.accept()
        assert await pair.readers["near"].until(24) == list(range(15, 25))
        before = pair.readers["near"].known
        async with reader(pair.near, pid=before["pid"], offset=before["offset"]) as again:
            assert not again.recovered


async def test_bytes_are_bounded_too(redis: RedisServer) -> None:
    async with paired(redis, dispatch=Bounds(bytes=1000)) as pair:
        pair.proxy.refuse()
        await pair.proxy.cut()
        dispatch = manager_of(pair.far)._dispatch
        await until(lambda: not node_of(pair.far).commands.ready)
        for number in range(100):
            emit(pair.far, number)
        assert 0 < len(dispatch) < 20
        assert len(dispatch) + dispatch.counters["lost"] == 100
        assert dispatch._bytes == sum(len(sent.letter) for sent in dispatch._held) <= 1000
        await pair.proxy.accept()
        assert (await pair.readers["near"].until(99))[-1] == 99
        await until(lambda: not len(dispatch))
        assert dispatch._bytes == 0


async def test_what_a_full_redis_refuses_is_held_until_it_has_room(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody tells when it has: it is tried at each pulse."""
    monkeypatch.setattr("server.realtime.cluster.node.PULSE_SECONDS", 0.1)
    async with paired(redis) as pair, redis.client() as client:
        for number in range(10):
            emit(pair.far, number)
            emit(pair.near, 1000 + number)
        await pair.hear(range(10), range(1000, 1010))
        await client.config_set("maxmemory", 1)
        for number in range(10, 30):
            emit(pair.far, number)
            emit(pair.near, 1000 + number)
        await pair.readers["far"].until(29)
        both = [manager_of(each)._dispatch for each in (pair.far, pair.near)]
        await until(lambda: not any(each._flowing for each in both))
        assert [len(each) for each in both] == [20, 20]
        await client.config_set("maxmemory", 0)
        for number in range(30, 40):
            emit(pair.far, number)
            emit(pair.near, 1000 + number)
        await pair.hear(range(40), range(1000, 1040))
        assert not any(each.counters or each.gave_up for each in both)
        await until(lambda: not any(map(len, both)))


async def test_volatile_ones_are_not_held(redis: RedisServer) -> None:
    async with paired(redis) as pair:
        pair.proxy.refuse()
        await pair.proxy.cut()
        await until(lambda: not node_of(pair.far).commands.ready)
        emit(pair.far, 1, volatile=True)
        emit(pair.far, 2)
        assert await pair.readers["far"].until(2) == [1, 2]
        assert manager_of(pair.far)._dispatch.counters == {"volatile_dropped": 1}
        await pair.proxy.accept()
        assert await pair.readers["near"].until(2) == [2]


async def test_more_than_may_wait_at_once_is_not_lost(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "MAX_WAITING", 50)
    async with paired(redis) as pair:
        emit(pair.far, *range(200))
        await manager_of(pair.far).flushed()
        emit(pair.far, 200)
        assert await pair.readers["near"].until(200) == list(range(201))


# -- by itself ------------------------------------------------------------------------------------------------------


class Sender:
    """A dispatch on a connection of its own."""

    def __init__(self, url: str, bounds: Bounds, prefix: str = "t") -> None:
        self.now = 0.0
        self.commands = Commands(connector(url), opened=self._opened, closed=self._closed)
        self.dispatch = Dispatch("a" * 10, Keys(prefix), self.commands, bounds, clock=lambda: self.now)

    async def _opened(self) -> None:
        self.dispatch.resume()

    def _closed(self) -> None:
        self.dispatch.stop()

    def put(self, text: str = "x", namespace: str = "/x") -> None:
        number = self.dispatch.next_number(namespace)
        self.dispatch.put(Letter("a" * 10, number, namespace, ["r"], [], (text,)), ["channel"])


@asynccontextmanager
async def sender(url: str, bounds: Bounds | None = None) -> AsyncIterator[Sender]:
    found = Sender(url, bounds or Bounds())
    serving = asyncio.create_task(found.commands.serve())
    await until(lambda: found.commands.ready)
    yield found
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


async def logged(client: Redis) -> str:
    """The text of each, which is a character long."""
    entries: Any = await client.xrange(Keys("t").log("/x", "r"))
    return "".join(chr(fields[b"m"][-1]) for _, fields in entries)


async def test_what_redis_forgot_is_sent_again_if_it_is_remembered(redis: RedisServer) -> None:
    """For some seconds, and within the bounds of what may wait."""
    async with sender(redis.url, Bounds(memory=30, messages=5)) as one, redis.client() as client:
        for number in range(8):
            one.put(str(number))
            await one.dispatch.flushed()
        one.now = 29
        one.put("8", "/other")
        await one.dispatch.flushed()
        assert await logged(client) == "01234567"
        await client.flushall()
        one.dispatch.again("/x")
        await one.dispatch.flushed()
        assert await logged(client) == "4567"
        await client.flushall()
        one.now = 31 + 30
        one.put("9")
        await one.dispatch.flushed()
        one.dispatch.again("/x")
        await one.dispatch.flushed()
        assert await logged(client) == "9"
        assert one.dispatch._kept_bytes == sum(len(sent.letter) for sent in one.dispatch._kept)


async def test_many_small_ones_make_room_for_large_ones(redis: RedisServer) -> None:
    """As many as it takes, of those that wait and of those that are remembered."""
    async with sender(redis.url, Bounds(bytes=2000)) as one, redis.client() as client:
        dispatch = one.dispatch

        def held() -> str:
            assert dispatch._bytes == sum(len(sent.letter) for sent in dispatch._held) <= 2000
            return "".join(chr(sent.letter[-1]) for sent in dispatch._held)

        def kept() -> str:
            assert dispatch._kept_bytes == sum(len(sent.letter) for sent in dispatch._kept) <= 2000
            return "".join(chr(sent.letter[-1]) for sent in dispatch._kept)

        async def put(*texts: str) -> None:
            for text in texts:
                one.put(text)
                held()
                if dispatch._flowing:
                    await dispatch.flushed()
                    kept()

        await put(*"a" * 50, *["B" * 400] * 10, "c")
        assert kept() == "BBBBc"
        assert (await logged(client))[-12:] == "aBBBBBBBBBBc"
        dispatch.stop()
        await put(*"d" * 50, *["E" * 400] * 2)
        waited = held()
        assert (waited[0], waited[-3:]) == ("d", "dEE")
        dispatch.again("/x")
        assert held() == waited, "those that Redis had are the older ones"
        assert len(dispatch) + dispatch.counters["lost"] == 52 + 5
        dispatch.resume()
        await dispatch.flushed()
        assert (await logged(client)).endswith(f"c{waited}")


async def test_an_event_that_redis_refuses_is_counted_and_holds_up_no_other(redis: RedisServer) -> None:
    async with sender(redis.url) as one, redis.client() as client:
        log = Keys("t").log("/x", "r")
        await client.set(log, "no stream")
        one.put()
        with pytest.raises(RedisAway):
            await one.dispatch.flushed()
        assert (one.dispatch.gave_up, one.dispatch.counters["lost"]) == ({"/x"}, 1)
        await client.delete(log)
        one.put()
        await one.dispatch.flushed()
        assert await client.xlen(log) == 1


async def test_flushed_waits_for_what_was_put_before_it(redis: RedisServer) -> None:
    async with sender(redis.url) as one, redis.client() as client:
        await one.dispatch.flushed()
        for _ in range(100):
            one.put()
        await one.dispatch.flushed()
        assert (await client.xlen(Keys("t").log("/x", "r")), len(one.dispatch)) == (100, 0)
        await redis.kill()
        await until(lambda: not one.commands.ready)
        one.put()
        with pytest.raises(RedisAway):
            async with asyncio.timeout(PATIENCE):
                await one.dispatch.flushed()
