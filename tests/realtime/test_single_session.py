"""One connection for each user: on one node alone and on one of a cluster alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio

from tests.conftest import Connect
from tests.support import managers
from tests.support.client import PATIENCE, Client
from tests.support.echo import EchoNamespace, serving
from tests.support.redis import RedisServer
from tests.support.running import Running

Served = tuple[Running, EchoNamespace]


@pytest_asyncio.fixture(params=["memory", "redis"])
async def served(request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    if request.param == "memory":
        async with serving(single_session=True, require_auth=False) as served:
            yield served
        return
    async with (
        RedisServer() as redis,
        managers.serving(redis.url, prefix="test", single_session=True, require_auth=False) as served,
    ):
        yield served


async def expect_replaced(client: Client) -> None:
    reason = await client.expect("disconnecting_reason")
    assert (reason["code"], reason["close_code"], reason["reconnect"]) == ("SESSION_REPLACED", 4009, False)
    await client.expect("disconnect")


async def all_but_one_replaced(clients: Sequence[Client]) -> Client:
    """The one."""
    replaced = {asyncio.create_task(expect_replaced(client)): client for client in clients}
    waiting = set(replaced)
    async with asyncio.timeout(PATIENCE):
        while len(waiting) > 1:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                each.result()
    [last] = waiting
    await replaced[last].settle()
    last.cancel()
    await asyncio.wait([last])
    assert last.cancelled()
    return replaced[last]


async def test_the_newest_stays(served: Served, connect: Connect) -> None:
    server, namespace = served
    clients = [await connect(server, "/echo", "alice") for _ in range(4)]
    for older in clients[:-1]:
        await expect_replaced(older)
    await clients[-1].settle()
    assert [each.id for each in namespace.connections] == [clients[-1].sio.get_sid("/echo")]


async def test_twenty_at_once_leave_one(served: Served, connect: Connect) -> None:
    server, namespace = served
    clients = await asyncio.gather(*[connect(server, "/echo", "alice") for _ in range(20)])
    await all_but_one_replaced(clients)
    assert len(namespace.connections) == 1


async def test_only_the_same_user_gives_way(served: Served, connect: Connect) -> None:
    server, namespace = served
    await connect(server, "/echo", "alice")
    await connect(server, "/echo", "bob")
    await connect(server, "/echo", "alice", tenant="other")
    for _ in range(3):
        await connect(server, "/echo")  # nobody, each of them another
    assert len(namespace.connections) == 6


async def test_who_left_makes_room(served: Served, connect: Connect) -> None:
    server, namespace = served
    for _ in range(3):
        client = await connect(server, "/echo", "alice")
        await client.settle()
        namespace.gone_event.clear()
        await client.close()
        await namespace.gone_event.wait()
        assert client.payloads("disconnecting_reason") == []
    await (await connect(server, "/echo", "alice")).settle()
    assert len(namespace.connections) == 1


async def test_who_left_while_it_was_welcomed_takes_nothing(served: Served, connect: Connect) -> None:
    server, namespace = served
    left = await connect(server, "/echo", "alice")
    [connection] = namespace.connections
    await left.close()
    await namespace.gone_event.wait()
    stays = await connect(server, "/echo", "alice")
    await namespace._single_session.claim(connection)
    await stays.settle()
    assert stays.payloads("disconnecting_reason") == []
    await connect(server, "/echo", "alice")
    await expect_replaced(stays)
