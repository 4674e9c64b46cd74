"""What a node hears after it could not: the gap from the logs, each event once; and what it says when Redis forgot."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from server.realtime.cluster import commands, feeds, wire
from server.realtime.cluster.keys import NODES
from server.realtime.cluster.letters import Letter
from tests.support.echo import EchoNamespace
from tests.support.managers import ROOM, Cluster, Reader, back, emit, gone, manager_of, node_of, proxied, reader, until
from tests.support.proxy import Proxy
from tests.support.redis import RedisServer
from tests.support.running import Running


@pytest_asyncio.fixture
async def redis() -> AsyncIterator[RedisServer]:
    """Of the test's own: it is killed and emptied."""
    async with RedisServer() as server:
        yield server


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "DEAD_SECONDS", 0.5)
    monkeypatch.setattr(wire, "LAST_BACKOFF", 0.1)


class Pair:
    def __init__(self, one: Running, other: Running, proxy: Proxy) -> None:
        self.one = one
        self.other = other  # behind the proxy
        self.proxy = proxy

    async def outage(self) -> None:
        self.proxy.refuse()
        await self.proxy.cut()
        await until(lambda: not node_of(self.other).listener.ready and not node_of(self.other).commands.ready)

    async def over(self) -> None:
        await self.proxy.accept()
        await until(lambda: node_of(self.other).up)


@pytest_asyncio.fixture
async def cluster(redis: RedisServer) -> AsyncIterator[Cluster]:
    cluster = Cluster(redis.url)
    yield cluster
    await cluster.close()


@pytest_asyncio.fixture
async def pair(redis: RedisServer, cluster: Cluster) -> AsyncIterator[Pair]:
    async with proxied(redis.url) as (url, proxy):
        yield Pair(await cluster.add(), await cluster.add(url), proxy)
        await cluster.close()


def epochs(pair: Pair) -> list[bytes | None]:
    return [manager_of(each)._feeds["/echo"].epoch for each in (pair.one, pair.other)]


# -- the gap --------------------------------------------------------------------------------------------------------


async def test_what_was_said_while_it_did_not_listen_is_read(pair: Pair) -> None:
    async with AsyncExitStack() as stack:
        readers = []
        for number in range(3):
            found = await stack.enter_async_context(reader(pair.other, f"user-{number}"))
            await found.enter(*range(number, 3))
            readers.append(found)
        for number in range(10):
            emit(pair.one, number, room=None)
        for each in readers:
            await each.until(9)
        await pair.outage()
        rooms = [f"numbered:0::{number}" for number in range(4)]
        for number in range(10, 50):
            emit(pair.one, number, room=(rooms[number % 4], rooms, None, readers[0].id)[number // 10 - 1])
        await manager_of(pair.one).flushed()
        await pair.over()
        emit(pair.one, 50, room=None)
        expected = [
            [n for n in range(10, 20) if n % 4 < 3] + [*range(20, 50)],
            [n for n in range(10, 20) if n % 4 in (1, 2)] + [*range(20, 40)],
            [n for n in range(10, 20) if n % 4 == 2] + [*range(20, 40)],
        ]
        for each, numbers in zip(readers, expected, strict=True):
            assert await each.until(50) == [*range(10), *numbers, 50]


async def test_who_enters_a_room_in_an_outage_hears_it_after(pair: Pair) -> None:
    """From when it entered; but not what was said before."""
    async with reader(pair.other) as alice:
        await pair.outage()
        await alice.enter(1)
        emit(pair.other, 1)
        assert await alice.until(1) == [1]
        await pair.over()
        emit(pair.one, 2)
        assert await alice.until(2) == [1, 2]


async def test_what_comes_while_the_gap_is_read_comes_behind_it(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    async with reader(pair.other) as alice:
        await alice.enter(1)
        emit(pair.one, 0)
        await alice.until(0)
        await pair.outage()
        emit(pair.one, *range(1, 50))
        await manager_of(pair.one).flushed()
        found = manager_of(pair.other)._feeds
        newest, read = found.newest, found.read
        said = iter(range(50, 100))

        async def then_newest(namespace: str) -> int:
            emit(pair.one, next(said))
            await manager_of(pair.one).flushed()
            offset = await newest(namespace)
            emit(pair.one, next(said))
            await manager_of(pair.one).flushed()
            return offset

        async def then_read(*arguments: object) -> object:
            emit(pair.one, next(said))
            await manager_of(pair.one).flushed()
            return await read(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(found, "newest", then_newest)
        monkeypatch.setattr(found, "read", then_read)
        await pair.over()
        monkeypatch.undo()
        last = next(said)
        emit(pair.one, last)
        assert await alice.until(last) == list(range(last + 1))


async def test_a_repair_that_breaks_is_begun_anew(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all namespaces: those that were read already have a new gap."""
    other = EchoNamespace()
    other.path = "/other"
    pair.other.realtime.add(other)

    def say(number: int) -> None:
        for namespace in ("/echo", "/other"):
            manager_of(pair.one).deliver(namespace, ["news", {"n": number}], room=None)

    async with reader(pair.other) as alice, reader(pair.other, "bob", namespace="/other") as bob:
        say(0)
        for each in (alice, bob):
            await each.until(0)
        await pair.outage()
        say(1)
        found = manager_of(pair.other)._feeds
        newest = found.newest
        asked: list[str] = []

        async def then_breaks(namespace: str) -> int:
            asked.append(namespace)
            if len(asked) == 2:
                await pair.outage()
            return await newest(namespace)

        monkeypatch.setattr(found, "newest", then_breaks)
        await pair.proxy.accept()
        await until(lambda: len(asked) == 2 and not node_of(pair.other).commands.ready)
        say(2)
        await manager_of(pair.one).flushed()
        await pair.over()
        say(3)
        for each in (alice, bob):
            assert await each.until(3) == [0, 1, 2, 3]
    assert set(asked[:2]) == {"/echo", "/other"}


async def test_more_rooms_than_are_read_at_once(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "LOGS_A_TURN", 2)
    async with reader(pair.other) as alice:
        await alice.enter(*range(10))
        emit(pair.one, 0, room=None)
        await alice.until(0)
        await pair.outage()
        for number in range(1, 31):
            emit(pair.one, number, room=f"numbered:0::{number * 7 % 10}")
        await manager_of(pair.one).flushed()
        await pair.over()
        assert await alice.until(30) == list(range(31)), "in the order in which it was said"


# -- what Redis knows no more ---------------------------------------------------------------------------------------


async def dropped(server: Running, *rooms: int) -> Reader:
    async with reader(server) as alice:
        await alice.enter(*rooms)
        emit(server, 1)
        await alice.until(1)
    await gone(server, alice.id)
    return alice


async def test_a_redis_that_came_back_empty_ends_an_epoch(pair: Pair, redis: RedisServer) -> None:
    """Who was gone is somebody new; who was there stays, and can come back to either node afterwards."""
    alice = await dropped(pair.one, 1)
    async with reader(pair.other, "bob") as bob:
        await bob.enter(1)
        emit(pair.one, 2)
        await bob.until(2)
        await until(lambda: None not in epochs(pair))
        before = epochs(pair)
        await redis.kill()
        await until(lambda: not node_of(pair.other).commands.ready)
        await redis.start()
        await until(lambda: all(node_of(each).up for each in (pair.one, pair.other)))
        async with reader(pair.one, **alice.known) as again:
            assert not again.recovered
            assert again.heard == []
        await until(lambda: not set(epochs(pair)) & {*before, None})
        emit(pair.one, 3)
        assert await bob.until(3) == [2, 3]
    await gone(pair.other, bob.id)
    emit(pair.other, 4)
    await manager_of(pair.other).flushed()
    async with reader(pair.one, "bob", **bob.known) as again:
        assert again.recovered
        assert again.heard == [4]


async def test_a_redis_that_was_emptied_is_noticed_at_a_pulse(pair: Pair, redis: RedisServer) -> None:
    async with reader(pair.one) as alice, reader(pair.other, "bob") as bob:
        for each in (alice, bob):
            await each.enter(1)
        await until(lambda: None not in epochs(pair))
        before = epochs(pair)
        assert before[0] == before[1]
        async with redis.client() as client:
            await client.flushall()
            await until(lambda: not set(epochs(pair)) & set(before))
            assert len(set(epochs(pair))) == 1
            keys = node_of(pair.one).keys
            for each in (alice, bob):
                session = keys.session("/echo", each.known["pid"])
                while not await client.exists(session):
                    pass
            assert await client.zcard(keys.key(NODES, "alive")) in (1, 2)
        emit(pair.one, 1)
        emit(pair.other, 2)
        for each in (alice, bob):
            await each.until(1)
            await each.until(2)
            assert sorted(each.heard) == [1, 2]
    for server, each in ((pair.one, alice), (pair.other, bob)):
        await gone(server, each.id)
    async with reader(pair.other, **alice.known) as again:
        assert again.recovered


async def test_what_is_said_again_is_not_for_who_came_after_it(cluster: Cluster, redis: RedisServer) -> None:
    one = await cluster.add()
    async with reader(one) as alice:
        await alice.enter(1)
        emit(one, 1, 2)
        await manager_of(one).flushed()
        late = await cluster.add()
        async with reader(late, "bob") as bob:
            await bob.enter(1)
            await emptied(redis, one, late)
            emit(one, 3)
            assert await bob.until(3) == [3]


async def test_what_is_said_again_is_replayed_to_who_missed_it_only(cluster: Cluster, redis: RedisServer) -> None:
    one, other = await cluster.add(), await cluster.add()
    node = node_of(one)
    async with reader(one) as alice, redis.client() as client:
        await alice.enter(1)
        emit(one, 1)
        await alice.until(1)
        await emptied(redis, one)
        feed = manager_of(one)._feeds["/echo"]
        before = feed.before
        session = node.keys.session("/echo", alice.known["pid"])
        while not (start := int(await client.hget(session, "start") or 0)):  # type: ignore[misc]
            pass
        await until(lambda: feed.newest >= start)  # from here on she is told offsets of this Redis
        emit(one, 2)
        await alice.until(2)
        await manager_of(one).flushed()
        offset = int(await client.get(node.keys.offset("/echo")) or 0)
        for number, was in ((8, before), (9, before + 1)):
            offset += 1
            text = f'2/echo,["news",{{"n":{number}}}]'
            said = Letter("0123456789", number, "/echo", [ROOM], [], (text,), was=was).encode()
            await client.xadd(node.keys.log("/echo", ROOM), {"m": said}, id=f"{offset}-0")
        await client.set(node.keys.offset("/echo"), offset)
    await gone(one, alice.id)
    async with back(other, alice) as again:
        assert again.recovered
        assert again.heard == [9]


async def emptied(redis: RedisServer, *servers: Running) -> None:
    """And they have noticed."""
    feeds = [manager_of(server)._feeds["/echo"] for server in servers]
    await until(lambda: all(feed.epoch is not None for feed in feeds))
    before = {feed.epoch for feed in feeds}
    async with redis.client() as client:
        await client.flushall()
    await until(lambda: not before & {feed.epoch for feed in feeds})
    for server in servers:
        await manager_of(server).flushed()


async def test_after_redis_forgot_nobody_is_told_that_all_is_there(pair: Pair, redis: RedisServer) -> None:
    """Whose offset is from before, and who missed something since."""
    async with reader(pair.one) as alice:
        await alice.enter(1)
        emit(pair.one, 1)
        await alice.until(1)
        known = alice.known
        emit(pair.one, 2)  # into a connection that is dead, for all we know
        await manager_of(pair.one).flushed()
        session = node_of(pair.one).keys.session("/echo", known["pid"])
        async with redis.client() as client:
            await client.flushall()
            while not await client.exists(session):
                pass
    await gone(pair.one, alice.id)
    async with reader(pair.other, **known) as again:
        assert (again.recovered, again.heard) in [(False, []), (True, [2])]


async def test_a_redis_that_knows_less_than_its_nodes_ends_an_epoch(pair: Pair, redis: RedisServer) -> None:
    """It was restarted with what it had saved some time before."""
    async with reader(pair.one) as alice:
        await alice.enter(1)
        emit(pair.one, 1)
        await alice.until(1)
        await until(lambda: manager_of(pair.one)._feeds["/echo"].newest > 0)
        keys = node_of(pair.one).keys
        async with redis.client() as client:
            epoch, offset = await client.mget(keys.epoch("/echo"), keys.offset("/echo"))
            for key in await client.keys("*"):
                if b":log:" in key:
                    await client.delete(key)
            await client.set(keys.offset("/echo"), int(offset or 0) - 60_000_000)
            await client.client_kill_filter(_type="normal", skipme=True)
        await until(lambda: manager_of(pair.one)._feeds["/echo"].epoch not in (None, epoch))
        emit(pair.one, 2)
        emit(pair.other, 3)
        await alice.until(2)
        await alice.until(3)
        assert sorted(alice.heard) == [1, 2, 3]


async def test_offsets_never_go_back(pair: Pair, redis: RedisServer) -> None:
    """Not even when Redis comes back empty: clients keep theirs."""
    async with reader(pair.one) as alice:
        await alice.enter(1)
        found = []
        for number in range(4):
            emit(pair.other, number)
            await alice.until(number)
            found.append(int(str(alice.known["offset"]).partition("-")[0]))
            if number == 1:
                await redis.kill()
                await until(lambda: not node_of(pair.one).commands.ready)
                await redis.start()
                await until(lambda: all(node_of(each).up for each in (pair.one, pair.other)))
        assert found == sorted(set(found))


async def test_a_namespace_that_nobody_is_in_any_more_is_left(pair: Pair) -> None:
    async with reader(pair.one) as alice:
        assert manager_of(pair.one)._feeds.get("/echo") is not None
    await gone(pair.one, alice.id)
    await until(lambda: manager_of(pair.one)._feeds.get("/echo") is None)
    async with reader(pair.one) as alice:
        await alice.enter(1)
        emit(pair.other, 1, room=ROOM)
        assert await alice.until(1) == [1]
