"""A client that comes back to another node: nothing missed, nothing doubled."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from server.realtime import entrance
from server.realtime.cluster import returning
from server.realtime.cluster.address import connector
from server.realtime.connection import Connection
from server.realtime.rooms import room_name
from tests.support.client import PATIENCE
from tests.support.managers import (
    ROOM,
    Cluster,
    back,
    emit,
    gone,
    left,
    manager_of,
    node_of,
    proxied,
    reader,
    until,
    vanish,
)
from tests.support.raw import raw_socket
from tests.support.recovering import abort, auth
from tests.support.running import Running

OTHER = room_name(None, "numbered", "2")


# -- who comes back -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["its node died", "its connection broke"])
async def test_it_goes_on_at_another_node(servers: list[Running], ending: str) -> None:
    async with reader(servers[0]) as alice:
        await alice.enter(1, 2)
        emit(servers[0], 0)
        emit(servers[1], 1)
        await alice.until(0)
        await alice.until(1)
        await manager_of(servers[0]).flushed()
        if ending == "its node died":
            await vanish(servers[0])
        else:
            await abort(servers[0])
            await gone(servers[0], alice.id)
    emit(servers[1], 100, room="elsewhere")
    emit(servers[1], 101, volatile=True)
    emit(servers[1], 102, skip=[alice.id])
    emit(servers[1], 103, room=None, skip=[OTHER])
    emit(servers[1], 2)
    emit(servers[2], 3, room=[ROOM, OTHER])
    emit(servers[2], 4, room=None)
    await asyncio.gather(*(manager_of(each).flushed() for each in servers[1:]))
    emit(servers[2], 5, room=alice.id)
    await manager_of(servers[2]).flushed()
    async with back(servers[1], alice) as again:
        assert again.recovered
        missed = list(again.heard)
        for number, server in enumerate(servers[1:]):
            emit(server, 6 + 2 * number)
            emit(server, 7 + 2 * number, room=alice.id)
        for number in (7, 9):
            await again.until(number)
        assert (missed, sorted(again.heard)) == ([2, 3, 4, 5], [2, 3, 4, 5, 6, 7, 8, 9])


async def test_there_and_back_and_on(servers: list[Running]) -> None:
    """Each node says something before and after each move; its offset is that of whatever it heard last."""
    known = await left(servers[0], 1, 2)
    said = 0
    expected: list[int] = []
    heard: list[int] = []
    for place in (1, 0, 1, 2, 0, 0, 2):
        for server in servers:
            emit(server, said, room=(ROOM, OTHER, known.id, [ROOM, OTHER], None)[said % 5])
            expected.append(said)
            said += 1
            await manager_of(server).flushed()
        async with back(servers[place], known) as again:
            assert again.recovered
            for server in servers:
                emit(server, said, room=(ROOM, [OTHER, known.id])[said % 2])
                expected.append(said)
                said += 1
                await again.until(said - 1)
            heard += again.heard
        await gone(servers[place], again.id)
        known = again
    assert heard == expected


async def test_its_rooms_are_of_all_that_it_entered(servers: list[Running]) -> None:
    first = await left(servers[0], 1)
    async with back(servers[1], first) as second:
        await second.enter(2)
    await gone(servers[1], second.id)
    emit(servers[0], 1, room=OTHER)
    emit(servers[0], 2, room=ROOM)
    await manager_of(servers[0]).flushed()
    async with back(servers[2], second) as third:
        assert third.heard == [1, 2]
        emit(servers[1], 3, room=OTHER)
        emit(servers[1], 4, room=ROOM)
        assert await third.until(4) == [1, 2, 3, 4]


async def test_what_was_said_before_it_entered_a_room_is_not_for_it(servers: list[Running]) -> None:
    emit(servers[1], 1, room=OTHER)
    await manager_of(servers[1]).flushed()
    first = await left(servers[0], 1)
    emit(servers[1], 2, room=OTHER)
    await manager_of(servers[1]).flushed()
    async with back(servers[1], first) as second:
        await second.enter(2)
        assert second.heard == []
    await gone(servers[1], second.id)
    async with reader(servers[2], **first.known) as third:
        assert third.recovered, "with the older offset"
        assert third.heard == []


async def test_who_saw_only_its_greeting_and_who_saw_not_even_that(servers: list[Running]) -> None:
    for offset in (True, False):
        first = await left(servers[0], 1)
        emit(servers[0], 1)
        await manager_of(servers[0]).flushed()
        known = first.known if offset else {"pid": first.known["pid"]}
        async with reader(servers[1], **known) as again:
            assert again.id == first.id
            assert again.heard == [1]


async def test_attachments_are_replayed(servers: list[Running]) -> None:
    first = await left(servers[0], 1)
    manager_of(servers[1]).deliver("/echo", ["picture", {"a": b"\x00\n\xff"}], room=ROOM)
    await manager_of(servers[1]).flushed()
    async with raw_socket(servers[1].url) as raw:
        await raw.send(f"40/echo,{json.dumps(auth(**first.known))}")
        frame = await raw.expect("451-/echo,")
        assert frame.startswith('451-/echo,["picture",{"a":{"_placeholder":true,"num":0}},"')
        assert (await raw.socket.receive()).data == b"\x00\n\xff"


async def test_what_handlers_kept_of_it_comes_along(servers: list[Running]) -> None:
    async with reader(servers[0]) as first:
        await servers[0].realtime.save_session(first.id, {"cart": ["book"]}, namespace="/echo")
    await gone(servers[0], first.id)
    async with back(servers[1], first) as again:
        assert await servers[1].realtime.get_session(again.id, namespace="/echo") == {"cart": ["book"]}


async def test_what_is_said_while_it_is_admitted_follows_in_order(cluster: Cluster, servers: list[Running]) -> None:
    first = await left(servers[0], 1)
    emit(servers[2], 0)
    await manager_of(servers[2]).flushed()

    async def recovered(connection: Connection) -> None:
        for number in range(1, 5):
            emit(servers[1], number, room=(ROOM, connection.id)[number % 2])
        async with reader(servers[1], "bob") as other:
            await other.enter(1)
            for number in range(5, 9):
                emit(servers[0], number)
            await other.until(8)

    cluster.namespaces[1].recovered = recovered  # type: ignore[method-assign]
    async with back(servers[1], first) as again:
        emit(servers[1], 9)
        assert await again.until(9) == list(range(10))


async def test_rooms_that_it_has_to_leave_are_not_replayed(cluster: Cluster, servers: list[Running]) -> None:
    first = await left(servers[0], 1, 2)
    emit(servers[0], 1, room=ROOM)
    emit(servers[0], 2, room=OTHER)
    await manager_of(servers[0]).flushed()
    namespace = cluster.namespaces[1]

    async def leave(connection: Connection) -> None:
        await namespace.leave(connection, ROOM)

    namespace.recovered = leave  # type: ignore[method-assign]
    async with back(servers[1], first) as again:
        emit(servers[2], 3, room=ROOM)
        emit(servers[2], 4, room=OTHER)
        assert await again.until(4) == [2, 4]


# -- what its old node says before and after it moved ---------------------------------------------------------------


@pytest.mark.parametrize("asked", [True, False])
async def test_what_it_heard_before_redis_did_it_does_not_hear_again(
    cluster: Cluster, servers: list[Running], monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    """Its node delivered it at once. When Redis has it the client is elsewhere: its node was `asked` to yield, and said
    so behind it; or did not answer, and then it comes while the client is there."""
    monkeypatch.setattr(returning, "YIELD_SECONDS", PATIENCE if asked else 0.2)
    async with proxied(cluster.url) as (url, proxy):
        server = await cluster.add(url)
        async with reader(server) as alice:
            await alice.enter(1)
            proxy.black_hole(True)
            emit(server, 1, 2)
            await alice.until(2)
        emit(servers[0], 3)
        await gone(server, alice.id)
        emit(server, 4)
        await manager_of(servers[0]).flushed()
        if asked:
            asyncio.get_running_loop().call_later(0.1, proxy.black_hole, False)
        async with back(servers[0], alice) as again:
            assert again.recovered
            assert again.heard[0] == 3
            proxy.black_hole(False)
            await again.until(4)
            emit(server, 5)
            assert await again.until(5) == [3, 4, 5]


async def test_what_its_new_node_is_told_of_later_it_does_not_hear_again(
    cluster: Cluster, servers: list[Running]
) -> None:
    """It was in the log when it came; its node waits until it has heard as much itself."""
    async with proxied(cluster.url) as (url, proxy):
        deaf = await cluster.add()
        listener = node_of(deaf).listener
        listener._connect = connector(url)
        assert listener._connection is not None
        await listener._connection.disconnect()
        await until(lambda: not listener.ready)
        await until(lambda: listener.ready)
        async with reader(deaf) as other:  # all its rooms are heard there already
            await other.enter(1)
            first = await left(servers[0], 1)
            proxy.delay(0.2)
            emit(servers[0], 1, 2)
            await manager_of(servers[0]).flushed()
            async with back(deaf, first) as again:
                assert again.recovered
                emit(servers[0], 3)
                assert await again.until(3) == [1, 2, 3]
                assert await other.until(3) == [1, 2, 3]


async def test_volatile_ones_find_who_moved(servers: list[Running]) -> None:
    first = await left(servers[0], 1)
    async with back(servers[1], first) as again:
        for number, server in enumerate(servers):
            emit(server, number, room=first.id, volatile=True)
            emit(server, 10 + number, room=first.id)
            await again.until(10 + number)
        assert again.heard == [0, 10, 1, 11, 2, 12]


# -- whose old connection seems to be there -------------------------------------------------------------------------


async def test_who_does_not_answer_its_old_node_is_given_to_the_new_one(settled: None, servers: list[Running]) -> None:
    async with reader(servers[0]) as lost:
        await lost.enter(1)
        emit(servers[0], 1)  # into a connection that is dead, for all we know
        await manager_of(servers[0]).flushed()
        async with back(servers[1], lost) as again:
            assert again.recovered
            assert again.heard == [1]
            assert await lost.raw.closed() == 4009
            emit(servers[0], 2)
            emit(servers[1], 3, room=lost.id)
            await again.until(2)
            await again.until(3)
            assert sorted(again.heard) == [1, 2, 3]
        assert not manager_of(servers[0]).is_connected(lost.id, "/echo")


async def test_who_answers_keeps_its_session(
    settled: None, cluster: Cluster, servers: list[Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entrance, "ANSWER_SECONDS", PATIENCE)
    async with reader(servers[0]) as first:
        await first.enter(1)

        async def alive() -> None:
            while not first.raw.socket.closed:
                message = await first.raw.socket.receive()
                if message.data == "2":
                    await first.raw.send("3")
                    return

        answering = asyncio.create_task(alive())
        async with reader(servers[1], **first.known) as other:
            async with asyncio.timeout(PATIENCE):
                await answering
            assert not other.recovered
            assert other.id != first.id
        emit(servers[1], 1)
        assert await first.until(1) == [1]


async def test_a_node_that_was_cut_off_takes_no_session_back(cluster: Cluster, servers: list[Running]) -> None:
    """Not even one of which it has something to write."""
    async with proxied(cluster.url) as (url, proxy):
        server = await cluster.add(url)
        async with reader(server) as lost, cluster.redis() as redis:
            await lost.enter(1)
            member = manager_of(server).member(lost.id, "/echo")
            assert member is not None
            proxy.refuse()
            await proxy.cut()
            await until(lambda: not node_of(server).commands.ready and not node_of(server).listener.ready)
            manager_of(server).enter(member, OTHER)
            async with back(servers[0], lost) as again:
                assert again.recovered
                await proxy.accept()
                assert await lost.raw.closed() == 4009
                holder: Any = await redis.hget(node_of(server).keys.session("/echo", lost.known["pid"]), "holder")
                assert holder.startswith(node_of(servers[0]).id.encode())
                emit(servers[1], 1)
                assert await again.until(1) == [1]


async def test_of_two_at_once_on_two_nodes_one_has_it(servers: list[Running]) -> None:
    for _ in range(10):
        first = await left(servers[0], 1)
        async with reader(servers[1], **first.known) as one, reader(servers[2], **first.known) as other:
            assert sorted(each.id == first.id for each in (one, other)) == [False, True]


async def test_of_two_at_the_same_time_on_two_nodes_one_has_it(servers: list[Running]) -> None:
    first = await left(servers[0], 1)

    async def come(server: Running) -> bool:
        async with reader(server, **first.known) as found:
            both.append(server)
            await until(lambda: len(both) == 2)
            return found.recovered

    both: list[Running] = []
    assert sorted(await asyncio.gather(come(servers[1]), come(servers[2]))) == [False, True]


async def test_a_node_that_died_is_not_asked_for_long(servers: list[Running]) -> None:
    """Its client need not wait for it to be found dead."""
    async with reader(servers[0]) as alice:
        await alice.enter(1)
        await vanish(servers[0])
    async with back(servers[1], alice) as again:
        assert again.recovered
