"""Sessions as a real Redis keeps them: whose they are, who holds them, and for how long."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from server.identity import Identity
from server.realtime.cluster.node import Node
from server.realtime.cluster.sessions import MAX_PID_CHARS, Found, Held, Sessions
from server.realtime.link import Member
from tests.support.managers import clustered
from tests.support.redis import RedisServer
from tests.support.rooms import Session

ALICE = Identity("alice")


@pytest_asyncio.fixture
async def nodes(redis_server: RedisServer) -> AsyncIterator[list[Node]]:
    prefix = secrets.token_hex(4)
    nodes = [clustered(redis_server.url, prefix=prefix).node for _ in range(2)]
    for node in nodes:
        await node.start()
    yield nodes
    for node in nodes:
        await node.stop()


@pytest.fixture
def stores(nodes: list[Node]) -> list[Sessions]:
    return [Sessions(node, seconds=100, unnoticed=50) for node in nodes]


@pytest_asyncio.fixture
async def client(redis_server: RedisServer) -> AsyncIterator[Redis]:
    async with redis_server.client() as client:
        yield client


def member(sid: str = "sid") -> Member:
    return Member(sid, "/x", Session(secrets.token_hex(4)).state)


async def written(store: Sessions, identity: Identity = ALICE, *rooms: str) -> tuple[Member, str]:
    one, pid = member(), store.new_pid()
    await store.write(one, pid, identity, rooms, 0)
    return one, pid


async def test_what_is_written_is_found_elsewhere(stores: list[Sessions]) -> None:
    here, there = stores
    one, pid = await written(here, ALICE, "", "sid", "a:b\nc")
    await here.enter(one, pid, "later")
    await here.leave(one, pid, "a:b\nc")
    await here.enter(one, pid, "later")
    await here.drop(one, pid, {"cart": [1]}, resumable=True)
    found = await there.take(member("new"), pid, ALICE)
    assert isinstance(found, Found)
    assert (found.sid, found.data, set(found.rooms)) == ("sid", {"cart": [1]}, {"", "sid", "later"})
    assert found.start == found.rooms[""] == found.rooms["sid"] < found.rooms["later"]


async def test_up_to_where_its_client_had_all_when_redis_forgot_comes_along(stores: list[Sessions]) -> None:
    one, pid = member(), stores[0].new_pid()
    await stores[0].write(one, pid, ALICE, ["r"], 1_700_000_000_000_000)
    await stores[0].drop(one, pid, None, resumable=True)
    found = await stores[1].take(member("new"), pid, ALICE)
    assert isinstance(found, Found)
    assert found.before == 1_700_000_000_000_000 < found.start


async def test_what_is_no_json_does_not_travel(stores: list[Sessions]) -> None:
    one, pid = await written(stores[0])
    await stores[0].drop(one, pid, {"thing": object()}, resumable=True)
    found = await stores[1].take(member(), pid, ALICE)
    assert isinstance(found, Found)
    assert found.data is None


async def test_written_whole_again_it_keeps_when_it_entered_and_forgets_what_it_left(stores: list[Sessions]) -> None:
    one, pid = await written(stores[0], ALICE, "a", "b")
    await stores[0].write(one, pid, ALICE, ["b", "c"], 0)
    await stores[0].drop(one, pid, None, resumable=True)
    found = await stores[1].take(member(), pid, ALICE)
    assert isinstance(found, Found)
    assert set(found.rooms) == {"b", "c"}
    assert found.start == found.rooms["b"] < found.rooms["c"]


async def test_who_holds_it_has_it_until_it_drops_it(stores: list[Sessions]) -> None:
    here, there = stores
    one, pid = await written(here)
    other = member("other")
    held = await there.take(other, pid, ALICE)
    assert held == Held(here.holder(one))
    assert isinstance(held, Held)
    assert f"{held.node}:{held.link}" == here.holder(one)
    assert await there.take(other, pid, ALICE, "somebody:else") == held
    assert isinstance(await there.take(other, pid, ALICE, held.holder), Found), "it is taken from whom it was asked of"
    assert [await here.keep(one, pid), await there.keep(other, pid)] == [-1, 1]
    assert await here.enter(one, pid, "r") == await here.write(one, pid, ALICE, ["r"], 0) == -1, "nor to write"
    await here.drop(one, pid, None, resumable=False)
    assert await there.keep(other, pid) == 1, "it is not its any more to end"
    await there.drop(other, pid, None, resumable=False)
    assert await there.keep(other, pid) == 0
    assert await here.take(member(), pid, ALICE) is None


async def test_of_many_at_once_one_has_it(stores: list[Sessions]) -> None:
    one, pid = await written(stores[0])
    await stores[0].drop(one, pid, None, resumable=True)
    taken = await asyncio.gather(*(store.take(member(), pid, ALICE) for store in stores * 10))
    assert sorted(type(each).__name__ for each in taken) == ["Found"] + ["Held"] * 19


@pytest.mark.parametrize(
    ("owner", "comer", "may"),
    [
        (Identity("alice"), Identity("alice"), True),
        (Identity("alice"), Identity("alice", roles=frozenset({"operator"})), True),
        (Identity("alice"), Identity("bob"), False),
        (Identity("alice"), Identity("alice", tenant="t"), False),
        (Identity("alice", tenant="t"), Identity("alice", tenant="t"), True),
        (Identity("alice", tenant="t"), Identity("alice", tenant="u"), False),
        (Identity("guest-1", anonymous=True), Identity("guest-2", anonymous=True), True),
        (Identity("guest-1", anonymous=True), Identity("guest-1"), True),
        (Identity("guest-1", anonymous=True), Identity("alice"), False),
        (Identity("alice"), Identity("guest-1", anonymous=True), False),
    ],
)
async def test_whose_it_is(stores: list[Sessions], owner: Identity, comer: Identity, may: bool) -> None:
    one, pid = await written(stores[0], owner)
    assert (await stores[1].take(member(), pid, comer) is not None) is may, "whether it learns that it is held"
    await stores[0].drop(one, pid, None, resumable=True)
    assert (await stores[1].take(member(), pid, comer) is not None) is may


@pytest.mark.parametrize("pid", ["", "unknown", "x" * (MAX_PID_CHARS + 1), None, 5, ["x"], {"a": 1}, True])
async def test_what_is_no_pid(stores: list[Sessions], pid: Any) -> None:
    assert await stores[0].take(member(), pid, ALICE) is None


async def test_how_long_it_lasts(stores: list[Sessions], nodes: list[Node], client: Redis) -> None:
    one, pid = await written(stores[0])
    keys = nodes[0].keys
    session, home = keys.session("/x", pid), keys.home("/x", "sid")
    held = stores[0].lifetime * 1000
    assert held - 10_000 < await client.pttl(session) <= held == 300_000
    await client.pexpire(session, 60_000)
    assert await stores[0].keep(one, pid) == 1
    assert held - 10_000 < await client.pttl(session) <= held
    await stores[0].drop(one, pid, None, resumable=True)
    assert 90_000 < await client.pttl(session) <= 100_000
    await stores[1].take(member(), pid, ALICE)
    for key in (session, home):
        assert held - 10_000 < await client.pttl(key) <= held
    assert await client.get(home) == nodes[1].channel.encode()


async def test_a_room_entered_where_the_session_is_gone_brings_nothing_back(
    stores: list[Sessions], nodes: list[Node], client: Redis
) -> None:
    one, pid = await written(stores[0])
    await client.delete(nodes[0].keys.session("/x", pid))
    await stores[0].enter(one, pid, "r")
    assert not await client.exists(nodes[0].keys.session("/x", pid))


def test_a_pid_is_not_to_be_guessed(stores: list[Sessions]) -> None:
    pids = {stores[0].new_pid() for _ in range(1000)}
    assert len(pids) == 1000
    assert {len(pid) for pid in pids} == {24}
