"""One connection for each user over many nodes; what holds on each alone is in
`tests/realtime/test_single_session.py`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from server.realtime import recovery
from server.realtime.cluster import single_session
from server.realtime.cluster.single_session import ClusterSingleSession
from server.realtime.single_session import user_of
from tests.conftest import Connect, Serve
from tests.realtime.test_single_session import all_but_one_replaced, expect_replaced
from tests.support.client import PATIENCE, Client
from tests.support.echo import EchoNamespace
from tests.support.managers import node_of, serving, until_up
from tests.support.raw import raw_socket
from tests.support.recovering import raw_connect
from tests.support.redis import RedisServer
from tests.support.running import Running

Served = tuple[Running, EchoNamespace]


@asynccontextmanager
async def nodes(redis: RedisServer, count: int = 2) -> AsyncIterator[list[Served]]:
    async with AsyncExitStack() as stack:
        options: dict[str, Any] = {"prefix": "test", "recovery": recovery.Bounds(), "single_session": True}
        served = [await stack.enter_async_context(serving(redis.url, **options)) for _ in range(count)]
        await until_up(*(node_of(server) for server, _ in served))
        yield served


def ids(served: Sequence[Served]) -> list[str]:
    return [connection.id for _, namespace in served for connection in namespace.connections]


def id_of(client: Client) -> Any:
    return client.sio.get_sid(client.namespace)


async def expect_untouched(client: Client) -> None:
    await client.settle()
    assert client.payloads("disconnecting_reason") == []


async def look(server: Running, at: str, user: str = "user:0::alice") -> None:
    """Another node says that this one's connection gave way; returns when this one has looked."""
    await node_of(server).ask(at, "taken /echo", {"user": user})


async def test_twenty_logins_at_once_on_three_nodes_leave_one(serve: Serve, connect: Connect) -> None:
    async with RedisServer() as redis:
        servers = [await serve(REDIS_URL=redis.url, SINGLE_SESSION_PER_USER=True) for _ in range(3)]
        stranger = await connect(servers[0], "/chat", "alice", tenant="other")
        clients = await asyncio.gather(*[connect(servers[i % 3], "/chat", "alice") for i in range(20)])
        await all_but_one_replaced(clients)
        await expect_untouched(stranger)
        for server in servers:
            await server.runner.cleanup()


async def known(server: Running, client: Client) -> None:
    """Redis knows of it."""
    [connection] = [each for each in server.realtime._served["/echo"].connections if each.id == id_of(client)]
    single = server.realtime._served["/echo"]._single_session
    assert isinstance(single, ClusterSingleSession)
    place = single._places[user_of(connection)]
    async with asyncio.timeout(PATIENCE):
        while place.since is None:  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.01)


@pytest.fixture
def word_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes look at their connections only when another says so."""

    async def nothing(self: ClusterSingleSession) -> None: ...

    monkeypatch.setattr(ClusterSingleSession, "_pulse", nothing)
    monkeypatch.setattr(ClusterSingleSession, "_renew", nothing)


@pytest.mark.usefixtures("word_alone")
async def test_the_newest_stays_wherever_it_is(connect: Connect) -> None:
    async with RedisServer() as redis, nodes(redis, 3) as served:
        older = await connect(served[0][0], "/echo", "alice")
        for i in (1, 2, 2, 0, 1):
            newer = await connect(served[i][0], "/echo", "alice")
            await expect_replaced(older)
            await expect_untouched(newer)
            assert ids(served) == [id_of(newer)]
            older = newer


async def test_who_left_and_who_is_on_a_dead_node_make_room(connect: Connect) -> None:
    async with RedisServer() as redis, nodes(redis, 1) as served, redis.client() as client:
        (server, namespace), key = served[0], node_of(served[0][0]).keys.sole("/echo", "user:0::alice")
        first = await connect(server, "/echo", "alice")
        await first.settle()
        assert 0 < await client.pttl(key) <= 15_000
        await first.close()
        await namespace.gone_event.wait()
        await connect(server, "/echo", "bob")  # its command goes behind
        assert not await client.exists(key)
        await client.hset(key, mapping={"holder": "0123456789:dead", "since": 2**52})  # ahead of the clock, even
        second = await connect(server, "/echo", "alice")
        await expect_untouched(second)
        await look(server, node_of(server).id)
        await expect_untouched(second)


async def test_who_leaves_late_takes_nothing_from_who_came(connect: Connect) -> None:
    async with RedisServer() as redis, nodes(redis) as served:
        first = await connect(served[0][0], "/echo", "alice")
        [connection] = served[0][1].connections
        second = await connect(served[1][0], "/echo", "alice")
        await expect_replaced(first)
        served[0][1]._single_session.release(connection)
        third = await connect(served[0][0], "/echo", "alice")
        await expect_replaced(second)
        await expect_untouched(third)


async def test_a_word_that_was_lost_is_made_up_for(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    async def lost(*_: object) -> bool:
        return False

    async with RedisServer() as redis, nodes(redis) as served:
        older = await connect(served[0][0], "/echo", "alice")
        monkeypatch.setattr(node_of(served[1][0]), "tell", lost)
        newer = await connect(served[1][0], "/echo", "alice")
        await expect_replaced(older)
        await expect_untouched(newer)


async def test_a_word_that_is_not_true_any_more_closes_nobody(connect: Connect) -> None:
    async with RedisServer() as redis, nodes(redis) as served:
        (one, _), (other, _) = served
        client = await connect(one, "/echo", "alice")
        await look(other, node_of(one).id)
        await look(other, node_of(one).id, "user:0::nobody")
        await expect_untouched(client)


@pytest.mark.usefixtures("word_alone")
async def test_a_word_that_comes_before_redis_has_answered_is_heeded(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On one connection Redis's answer, on another what a node says that was faster."""
    async with RedisServer() as redis, nodes(redis) as served, redis.client() as raw:
        (one, _), (other, _) = served
        node = node_of(one)
        answered, go_on, patient = asyncio.Event(), asyncio.Event(), node.patient

        async def slow(answer: Any) -> Any:
            result = await patient(answer)
            if isinstance(result, list) and result and isinstance(result[-1], list) and not answered.is_set():
                answered.set()
                await go_on.wait()
            return result

        monkeypatch.setattr(node, "patient", slow)
        client = await connect(one, "/echo", "alice")
        await answered.wait()
        await raw.hset(node.keys.sole("/echo", "user:0::alice"), mapping={"holder": "0123456789:x", "since": 2**52})
        await look(other, node.id)
        go_on.set()
        await expect_replaced(client)


@pytest.mark.parametrize("outage", ["black hole", "empty after"])
async def test_without_redis_each_nodes_newest_stays_and_afterwards_the_newest_of_them(
    connect: Connect, outage: str
) -> None:
    async with RedisServer() as redis, nodes(redis, 3) as served:
        servers = [server for server, _ in served]
        before = await connect(servers[2], "/echo", "alice")
        await known(servers[2], before)
        if outage == "black hole":
            redis.pause()
        else:
            await redis.kill()
        await until_up(*map(node_of, servers), up=False)
        try:
            first = await connect(servers[0], "/echo", "alice")
            newest = await connect(servers[1], "/echo", "alice")
            second = await connect(servers[0], "/echo", "alice")
            await expect_replaced(first)
            last = await connect(servers[1], "/echo", "alice")
            await expect_replaced(newest)
            for each in (before, second, last):
                await expect_untouched(each)
        finally:
            if outage == "black hole":
                redis.resume()
            else:
                await redis.start()
        for each in (before, second):
            await expect_replaced(each)
        await expect_untouched(last)
        assert ids(served) == [id_of(last)]


@pytest.mark.usefixtures("word_alone")
@pytest.mark.parametrize("asks_first", [0, 1])
async def test_of_those_whom_redis_never_knew_the_newest_is_who_came_last(connect: Connect, asks_first: int) -> None:
    async with RedisServer() as redis, nodes(redis) as served:
        servers = [server for server, _ in served]
        await redis.kill()
        await until_up(*map(node_of, servers), up=False)
        older = await connect(servers[0], "/echo", "alice")
        newer = await connect(servers[1], "/echo", "alice")
        for each in (older, newer):
            await expect_untouched(each)
        await redis.start()
        await until_up(*map(node_of, servers), up=True)
        for i in (asks_first, 1 - asks_first):
            single = served[i][1]._single_session
            assert isinstance(single, ClusterSingleSession)
            await single._keep(list(single._places.values()))
        await expect_replaced(older)
        await expect_untouched(newer)


async def test_who_comes_while_redis_hangs_takes_its_place_all_the_same(connect: Connect) -> None:
    """It is not known yet to be away. What it is asked waits in it, and means nothing any more when it goes on."""
    async with RedisServer() as redis, nodes(redis, 2) as served:
        older = await connect(served[0][0], "/echo", "alice")
        for server, _ in served:
            await known(server, await connect(server, "/echo", "bob"))
        redis.pause()
        try:
            newer = await connect(served[0][0], "/echo", "alice")
            await expect_replaced(older)
            await until_up(*[node_of(server) for server, _ in served], up=False)
            elsewhere = await connect(served[1][0], "/echo", "alice")
        finally:
            redis.resume()
        await expect_replaced(newer)
        await expect_untouched(elsewhere)


async def test_a_session_that_is_resumed_elsewhere_is_the_same(connect: Connect) -> None:
    async with RedisServer() as redis, nodes(redis) as served:
        (one, there), (other, _) = served
        async with raw_socket(one.url) as raw:
            pid = (shake := await raw_connect(raw))["pid"]
            offset = (await raw.expect("42/echo,")).rpartition('"')[0].rpartition('"')[2]
            async with raw_socket(other.url) as back:
                raw.socket._response.connection.transport.abort()  # type: ignore[union-attr]
                await there.gone_event.wait()
                assert (await raw_connect(back, pid=pid, offset=offset))["sid"] == shake["sid"]
                await look(one, node_of(other).id)
                await look(other, node_of(one).id)
                await back.send('42/echo,1["echo",{"text":"still here"}]')
                assert '"ok":true' in await back.expect("43/echo,1")
                newer = await connect(one, "/echo", "alice")
                assert "SESSION_REPLACED" in await back.expect('42/echo,["disconnecting_reason"')
                await expect_untouched(newer)


async def test_many_are_looked_at_in_portions(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(single_session, "MAX_AT_ONCE", 2)
    async with RedisServer() as redis, nodes(redis, 1) as served, redis.client() as raw:
        [(server, namespace)] = served
        clients = [await connect(server, "/echo", f"user {i}") for i in range(5)]
        for client in clients:
            await client.settle()
        await raw.flushall()
        assert isinstance(namespace._single_session, ClusterSingleSession)
        await namespace._single_session._renew()
        assert len(await raw.keys("*sole*")) == 5
        for client in clients:
            await expect_untouched(client)
