"""Rooms that span nodes: who hears what, from where, and what it costs those who have nobody in them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio

from server.realtime.engine.frames import Packet
from server.realtime.rooms import ALL, room_name
from tests.support.client import PATIENCE
from tests.support.managers import (
    ROOM,
    Cluster,
    Reader,
    emit,
    gone,
    manager_of,
    node_of,
    proxied,
    reader,
    serving,
    until,
    until_up,
)
from tests.support.plain import Plain, plain
from tests.support.redis import RedisServer
from tests.support.running import Running

OTHER = room_name(None, "numbered", "2")


class Trio:
    """`a`, `b` and `c`, each on a node of its own: `a` and `b` in one room, `b` and `c` in another."""

    def __init__(self, servers: list[Running], readers: dict[str, Reader | Plain]) -> None:
        self.servers = servers
        self.readers = readers

    async def heard(self) -> dict[str, list[int]]:
        """By those who heard anything. It all came in the order of its sender."""
        for number, server in enumerate(self.servers):
            emit(server, 1000 + number, room=None)
        for each in self.readers.values():
            for number in range(3):
                await each.until(1000 + number)
        found = {id: [n for n in each.heard if n < 1000] for id, each in self.readers.items()}
        return {id: numbers for id, numbers in found.items() if numbers}


@pytest_asyncio.fixture(params=["forgotten", "recoverable", "mixed"])
async def trio(servers: list[Running], request: pytest.FixtureRequest) -> AsyncIterator[Trio]:
    """`a` and `b` may be plain WebSockets among others."""
    async with AsyncExitStack() as stack:
        rooms = {"a": (1,), "b": (1, 2), "c": (2,)}
        readers: dict[str, Reader | Plain] = {}
        for (id, numbers), server in zip(rooms.items(), servers, strict=True):
            if request.param == "mixed" and id != "c":
                readers[id] = await stack.enter_async_context(plain(server, id))
            else:
                recovery = request.param != "forgotten"
                readers[id] = await stack.enter_async_context(reader(server, id, recovery=recovery))
            await readers[id].enter(*numbers)
        yield Trio(servers, readers)


# -- who hears it ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("volatile", [False, True])
@pytest.mark.parametrize(
    ("room", "hear"),
    [
        (ROOM, "ab"),
        (OTHER, "bc"),
        ([ROOM, OTHER], "abc"),
        ([OTHER, ROOM, "nobody"], "abc"),
        ([ROOM, "b's"], "ab"),
        (["a's", "c's"], "ac"),
        ([ROOM, "c's"], "abc"),
        ("a's", "a"),
        ("b's", "b"),
        ("c's", "c"),
        (None, "abc"),
        ("nobody", ""),
    ],
    ids=str,
)
async def test_a_room_is_one_room_from_every_node(trio: Trio, room: Any, hear: str, volatile: bool) -> None:
    """Each hears each once."""
    ids = {f"{id}'s": each.id for id, each in trio.readers.items()}
    named = room if room is None else ids.get(room, room) if isinstance(room, str) else [ids.get(n, n) for n in room]
    for number, server in enumerate(trio.servers):
        emit(server, number, room=named, volatile=volatile)
    heard = await trio.heard()
    assert {id: sorted(numbers) for id, numbers in heard.items()} == {id: [0, 1, 2] for id in hear}


@pytest.mark.parametrize("volatile", [False, True])
@pytest.mark.parametrize("skip", ["a", "b", "c", "ab"])
async def test_who_is_left_out(trio: Trio, skip: str, volatile: bool) -> None:
    for number, server in enumerate(trio.servers):
        emit(server, number, room=[ROOM, OTHER], skip=[trio.readers[id].id for id in skip], volatile=volatile)
    assert {id: sorted(heard) for id, heard in (await trio.heard()).items()} == {
        id: [0, 1, 2] for id in "abc" if id not in skip
    }


@pytest.mark.parametrize("volatile", [False, True])
async def test_a_room_may_be_left_out(trio: Trio, volatile: bool) -> None:
    for number, server in enumerate(trio.servers):
        emit(server, number, room=[ROOM, OTHER], skip=[OTHER], volatile=volatile)
        emit(server, 3 + number, room=None, skip=[ROOM, trio.readers["c"].id], volatile=volatile)
    assert {id: sorted(heard) for id, heard in (await trio.heard()).items()} == {"a": [0, 1, 2]}


async def test_what_one_node_says_comes_in_its_order_whatever_room_it_is_for(trio: Trio) -> None:
    for number in range(300):
        for sender, server in enumerate(trio.servers):
            room = (ROOM, [ROOM, OTHER], None, trio.readers["b"].id)[number % 4]
            emit(server, sender * 300 + number, room=room, volatile=number % 7 == 0)
    heard = (await trio.heard())["b"]
    for sender in range(3):
        mine = range(sender * 300, (sender + 1) * 300)
        assert [number for number in heard if number in mine] == list(mine)


async def test_attachments_cross_nodes(servers: list[Running]) -> None:
    async with reader(servers[0]) as here, reader(servers[1], "bob") as there:
        for each in (here, there):
            await each.enter(1)
        manager_of(servers[0]).deliver("/echo", ["picture", {"a": b"\x00\n\xff", "b": b""}], room=ROOM)
        for each in (here, there):
            head = await each.raw.expect("452-/echo,")
            assert head.startswith('452-/echo,["picture",{"a":{"_placeholder":true,"num":0},')
            async with asyncio.timeout(PATIENCE):
                assert [(await each.raw.socket.receive()).data for _ in range(2)] == [b"\x00\n\xff", b""]


async def test_text_of_any_kind_crosses_nodes(servers: list[Running]) -> None:
    async with reader(servers[1]) as there:
        await there.enter(1)
        text = '안녕\n"\u2028\x00 🙂' + "x" * 100_000
        manager_of(servers[0]).deliver("/echo", ["said", {"text": text}], room=ROOM)
        frame = await there.raw.expect('42/echo,["said"')
        assert json.loads(frame.partition(",")[2])[1] == {"text": text}


async def test_of_volatile_ones_the_newest_is_enough_on_other_nodes_too(
    servers: list[Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = []
    outlet = servers[1].realtime.eio.outlet
    broadcast = outlet.broadcast

    def watched(packet: Packet, outboxes: Any) -> None:
        if packet.volatile:
            keys.append(packet.key)
        broadcast(packet, outboxes)

    monkeypatch.setattr(outlet, "broadcast", watched)
    async with reader(servers[1]) as there:
        await there.enter(1)
        for number in range(3):
            emit(servers[0], number, volatile=True, conflate=("price", number % 2))
        await there.until(2)
    first, second, third = keys
    assert None is not first == third != second


async def test_a_namespace_hears_only_its_own(cluster: Cluster, servers: list[Running]) -> None:
    async with reader(servers[1]) as there:
        await there.enter(1)
        manager_of(servers[0]).deliver("/other", ["news", {"n": 1}], room=ROOM)
        manager_of(servers[0]).deliver("/other", ["news", {"n": 2}], room=None)
        emit(servers[0], 3)
        assert await there.until(3) == [3]


# -- interest -------------------------------------------------------------------------------------------------------


async def channels(cluster: Cluster) -> dict[str, int]:
    """Of numbered rooms and of the one that all are in, with how many nodes hear each."""
    start = f"{cluster.prefix}:/echo:"
    async with cluster.redis() as redis:
        names = await redis.pubsub_channels(f"{start}*")
        counted = await redis.pubsub_numsub(*names)
    found = {name.decode().removeprefix(start): count for name, count in counted if isinstance(name, bytes)}
    return {room: count for room, count in found.items() if count and (room == ALL or room.startswith("numbered"))}


async def test_only_nodes_with_members_hear_a_room(cluster: Cluster, servers: list[Running]) -> None:
    assert await channels(cluster) == {}
    async with reader(servers[0], "a") as a:
        await a.enter(1)
        assert await channels(cluster) == {ALL: 1, ROOM: 1}
        async with reader(servers[1], "b") as b, reader(servers[1], "c") as c:
            await b.enter(1, 2)
            await c.enter(1)
            assert await channels(cluster) == {ALL: 2, ROOM: 2, OTHER: 1}
        for each in (b, c):
            await gone(servers[1], each.id)
        async with reader(servers[2], "d"):
            async with asyncio.timeout(PATIENCE):
                while await channels(cluster) != {ALL: 2, ROOM: 1}:  # noqa: ASYNC110 - what nobody is in goes with a pulse
                    await asyncio.sleep(0.05)


async def test_a_connections_room_is_routed_by_its_id(cluster: Cluster, servers: list[Running]) -> None:
    """It has no channel, and costs other nodes nothing."""
    told: list[tuple[int, bytes]] = []
    for number, server in enumerate(servers):
        node = node_of(server)

        def direct(message: bytes, number: int = number, real: Any = node.direct) -> None:
            if not message.startswith(b"pulse"):
                told.append((number, message))
            real(message)

        node.direct = direct
    async with reader(servers[1]) as there:
        assert await channels(cluster) == {ALL: 1}
        emit(servers[0], 1, room=there.id)
        assert await there.until(1) == [1]
    assert [number for number, _ in told] == [1]


async def test_nobody_else_is_told_what_is_for_one_that_is_here_and_cannot_come_back(
    cluster: Cluster, servers: list[Running]
) -> None:
    async with reader(servers[0], recovery=False) as here, cluster.redis() as redis:
        before = await redis.keys(f"{cluster.prefix}:*:log:*")
        emit(servers[0], 1, room=here.id)
        assert await here.until(1) == [1]
        assert await redis.keys(f"{cluster.prefix}:*:log:*") == before


async def test_volatile_ones_are_in_no_log(cluster: Cluster, servers: list[Running]) -> None:
    async with reader(servers[1]) as there, cluster.redis() as redis:
        await there.enter(1)
        emit(servers[0], 1, volatile=True)
        await there.until(1)
        assert not await redis.exists(node_of(servers[0]).keys.log("/echo", ROOM))
        emit(servers[0], 2)
        await there.until(2)
        assert await redis.xlen(node_of(servers[0]).keys.log("/echo", ROOM)) == 1


async def test_who_enters_and_leaves_at_once_hears_the_right_things(servers: list[Running]) -> None:
    """Subscriptions are confirmed in the end whatever was asked meanwhile."""
    async with reader(servers[1]) as there:
        manager = manager_of(servers[1])
        member = manager.member(there.id, "/echo")
        assert member is not None
        for _ in range(50):
            manager.enter(member, ROOM)
            manager.leave(member, ROOM)
        manager.enter(member, ROOM)
        await manager.settled(member)
        emit(servers[0], 1)
        assert await there.until(1) == [1]
        manager.leave(member, ROOM)
        emit(servers[0], 2)
        emit(servers[0], 3, room=there.id)
        assert await there.until(3) == [1, 3]


async def test_nothing_is_left_when_all_are_gone(servers: list[Running]) -> None:
    async with reader(servers[0]) as here:
        await here.enter(1, 2)
    manager = manager_of(servers[0])
    await gone(servers[0], here.id)
    await until(lambda: manager._feeds.get("/echo") is None)
    assert (manager._rooms, manager._namespaces, manager._subscriptions._unsettled) == ({}, {}, {})
    assert list(manager.node.listener._wanted) == [manager.node.channel]


# -- what a node that died should have said -------------------------------------------------------------------------


async def test_what_is_missing_is_said_once_by_whoever_says_so_first(trio: Trio) -> None:
    emit(trio.servers[0], 1)
    await manager_of(trio.servers[0]).flushed()
    managers = [manager_of(server) for server in trio.servers]
    for number, said in ((1, [False] * 3), (2, [False, False, True]), (2, [False] * 3), (22, [False, False, True])):
        payload = {"n": number, "more": number}
        tries = [manager.emit_missing("/echo", "news", payload, ROOM) for manager in managers]
        assert sorted(await asyncio.gather(*tries)) == said
    assert await trio.heard() == {"a": [1, 2, 22], "b": [1, 2, 22]}


async def test_without_redis_nothing_is_known_to_be_missing(redis_server: RedisServer) -> None:
    async with proxied(redis_server.url) as (url, proxy), serving(url) as (server, _):
        await until_up(node_of(server))
        proxy.refuse()
        await proxy.cut()
        assert not await manager_of(server).emit_missing("/echo", "news", {"n": 1}, ROOM)
